//! Proves that no event causes an allocation on its way from a raw record to both wire formats. Every stage handles some events, and then
//! the same number again. In the second half, a stage may make only a few allocations for each batch. Otherwise this program fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use footprint::batch::Batch;
use footprint::batch::batcher::Batcher;
use footprint::batch::under_way::UnderWay;
use footprint::limits::{BLOCK_PIECE_BYTES, COPY_CHUNK_BYTES, PIECES_KEPT_BYTES_MAX};
use footprint::store::clickhouse::native;
use footprint::store::postgres::copy;
use footprint_event::recycle::Pool;
use footprint_event::route::Route;
use footprint_service::limits::MESSAGES_TAKEN_MAX;

use support::{Copied, Log};

/// Batches of each half.
const BATCHES: usize = 1;
/// The most allocations that one stage may make for each batch. Columns and the pieces of blocks are recycled, but not COPY's buffer and
/// the heads of a block's columns.
const BATCH_ALLOCATIONS_MAX: f64 = 32.0;
/// The most allocations that one stage may make for each event.
const EVENT_ALLOCATIONS_MAX: f64 = 0.001;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with counts. A reallocation counts as one more allocation of its new size.
struct Counting;

impl Counting {
    fn count(bytes: usize) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller promises all that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Self::count(bytes);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one stage allocated.
#[derive(Clone, Copy, Default)]
struct Counted {
    allocations: u64,
    bytes: u64,
}

impl Counted {
    /// Adds what `work` allocates.
    fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        let done = work();
        self.allocations += ALLOCATIONS.load(Ordering::Relaxed) - before.0;
        self.bytes += BYTES.load(Ordering::Relaxed) - before.1;
        done
    }
}

/// The stages, in a record's order.
#[derive(Clone, Copy, Default)]
struct Stages {
    batcher: Counted,
    copy: Counted,
    native: Counted,
}

/// Makes COPY data as PostgreSQL's lane does: one buffer for each batch, sent one chunk at a time.
fn copy(batch: &Batch) {
    let mut buffer = BytesMut::with_capacity(COPY_CHUNK_BYTES);
    copy::header(&mut buffer);
    let mut next = 0;
    while next < batch.rows.len() {
        next = copy::rows(
            &batch.rows,
            next,
            batch.ownership.source,
            batch.ownership.partition,
            &mut buffer,
            COPY_CHUNK_BYTES,
        );
        drop(black_box(buffer.split().freeze()));
    }
}

/// Makes a block as ClickHouse's lane does: the request returns each piece's memory to the pool.
fn native(route: &Route, batch: &Batch, pool: &Arc<Pool<Vec<u8>>>) {
    let mut block = native::block(route, &batch.rows, batch.ownership.source, batch.ownership.partition, None);
    loop {
        let mut piece = pool.take(Vec::new);
        block.put(BLOCK_PIECE_BYTES, &mut piece);
        if black_box(piece).is_empty() {
            break;
        }
    }
}

/// Sends all of `chunks` through every stage, `rounds` times, and counts the allocations.
fn measure(route: &Arc<Route>, chunks: &Arc<[Copied]>, rounds: usize) -> Stages {
    let mut log = Log::new(0, chunks, &support::budget());
    let mut batcher = Batcher::new(&support::definition(route), support::limits(), &UnderWay::default());
    let pool = Pool::new(PIECES_KEPT_BYTES_MAX);
    let (mut stages, mut full, now) = (Stages::default(), Vec::new(), Instant::now());
    for _ in 0..chunks.len() * rounds {
        let chunk = log.read();
        stages.batcher.during(|| batcher.add(chunk, now, &mut full));
        for batch in full.drain(..) {
            assert!(batch.dead_letters.is_empty(), "the events are good");
            stages.copy.during(|| copy(&batch));
            stages.native.during(|| native(route, &batch, &pool));
        }
    }
    stages
}

/// Checks that the counter counts: otherwise any result would pass.
fn assert_that_it_counts() {
    let mut counted = Counted::default();
    counted.during(|| (0..1_000_u64).for_each(|number| drop(black_box(Box::new(number)))));
    assert_eq!((counted.allocations, counted.bytes), (1_000, 8_000));
}

fn main() -> ExitCode {
    assert_that_it_counts();
    let route = Arc::new(support::route());
    let events = BATCHES * support::limits().rows_max;
    let chunks = support::chunks(events, 0.0);
    let (once, twice) = (measure(&route, &chunks, 1), measure(&route, &chunks, 2));

    println!(
        "of {events} events in {BATCHES} batches, after as many before them; {MESSAGES_TAKEN_MAX} records a chunk"
    );
    println!("stage      allocations  an event   a batch   per million events: allocations        bytes");
    let mut is_kept = true;
    for (name, once, twice) in [
        ("batcher", once.batcher, twice.batcher),
        ("copy", once.copy, twice.copy),
        ("native", once.native, twice.native),
    ] {
        let allocations = twice.allocations.saturating_sub(once.allocations);
        let an_event = allocations as f64 / events as f64;
        let a_batch = allocations as f64 / BATCHES as f64;
        let million = 1e6 / events as f64;
        let bytes = twice.bytes.saturating_sub(once.bytes) as f64 * million;
        // in a test, a batch has too few events for the limit of one event
        let is_within = a_batch <= BATCH_ALLOCATIONS_MAX && (an_event <= EVENT_ALLOCATIONS_MAX || support::is_test());
        is_kept &= is_within;
        println!(
            "{name:<10} {allocations:>11}  {an_event:>8.5}  {a_batch:>8.1}   {:>31.0} {bytes:>12.0}{}",
            allocations as f64 * million,
            if is_within { "" } else { "   TOO MANY" }
        );
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
