//! What the benches share: generated page moves as raw records, as chunks and as rows, and the smaller amount of work of a `--test` run.

#![allow(dead_code, reason = "each bench uses its part")]

mod copied;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use footprint::batch::batcher::Limits;
use footprint::batch::budget::Budget;
use footprint::ledger::ownership::{LeftOut, Ownership};
use footprint::ledger::proof::{Proof, Proofs};
use footprint::limits::{BATCH_MONTHS_MAX, BATCHES_KEPT_BYTES_MAX, CHUNKS_KEPT_BYTES_MAX, RECORD_OVERHEAD_BYTES};
use footprint::read::chunk::Chunk;
use footprint_event::decode::Decoder;
use footprint_event::definition::Definition;
use footprint_event::generate::{GenerateOptions, Generator};
use footprint_event::record::{Record, Records as _};
use footprint_event::recycle::Pool;
use footprint_event::route::{Presence, Route};
use footprint_event::rows::Rows;
use footprint_protocol::ledger::{Frontiers, LedgerId, OwnerId, SourceId};
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::take_over::Plan;
use footprint_service::config::Config;
use footprint_service::limits::MESSAGES_TAKEN_MAX;
use tokio_util::sync::CancellationToken;

pub use self::copied::Copied;

/// Kafka's timestamp of every record, milliseconds.
const TIMESTAMP_MS: i64 = 1_760_000_000_000;
/// The route's column that [`nullable`] changes.
const LINK: usize = 1;

/// Whether this is `cargo test --benches`, which only checks that everything runs.
pub fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// `full`, or a hundredth of it in a test.
pub fn scaled(full: usize) -> usize {
    if is_test() { (full / 100).max(1) } else { full }
}

/// Settings of every bench: one second to warm up, three to measure.
pub fn criterion() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(50)
}

fn config() -> Config {
    Config::load(None, &[]).expect("the shipped configuration loads")
}

/// The shipped route `user_footprint`.
pub fn route() -> Route {
    config().routes.swap_remove(0)
}

/// The same route with a link that may be null.
pub fn nullable(mut route: Route) -> Route {
    route.columns[LINK].presence = Presence::Optional;
    route
}

/// The shipped limits of a batch.
pub fn limits() -> Limits {
    let pipeline = config().pipeline;
    Limits {
        rows_max: scaled(pipeline.batch_rows_max),
        bytes_max: pipeline.batch_bytes_max,
        linger: Duration::from_millis(pipeline.linger_ms),
        months_max: BATCH_MONTHS_MAX,
        kept_bytes_max: BATCHES_KEPT_BYTES_MAX,
    }
}

/// The shipped byte budget.
pub fn budget() -> Arc<Budget> {
    Budget::new(config().pipeline.budget_bytes)
}

/// Generated page moves, from offset 0 on. The share `bad_share` of them is bad.
pub fn records(count: usize, bad_share: f64) -> Copied {
    picked(count, bad_share, |_| true)
}

/// Does the same as [`records`], but keeps only records whose payload is `wanted`.
pub fn picked(count: usize, bad_share: f64, wanted: impl Fn(&[u8]) -> bool) -> Copied {
    let mut generator = Generator::new(1, GenerateOptions { bad_share, ..GenerateOptions::default() });
    let mut records = Copied::default();
    while records.len() < count {
        let made = generator.generate();
        if made.payload.is_none_or(&wanted) {
            records.push(record(records.len() as Offset, made.key, made.payload));
        }
    }
    records
}

fn record<'a>(offset: Offset, key: Option<&'a [u8]>, payload: Option<&'a [u8]>) -> Record<'a> {
    Record { offset, timestamp_ms: TIMESTAMP_MS, key, payload, headers: None }
}

/// Good page moves as the decoder makes them. If the route's link may be null, every fourth one is.
pub fn rows(route: &Route, count: usize) -> Rows {
    let mut decoder = Decoder::new(route).expect("the route can be decoded");
    let mut rows = Rows::empty(route);
    let mut payload = Vec::new();
    for made in records(count, 0.0).iter() {
        payload.clear();
        payload.extend_from_slice(made.payload.unwrap_or_default());
        if route.columns[LINK].is_nullable() && made.offset % 4 == 0 {
            hide_link(&mut payload);
        }
        decoder.decode(Record { payload: Some(&payload), ..made }, &mut rows).expect("a good record");
    }
    rows
}

/// Gives the link's field another name, so that the decoder finds none.
fn hide_link(payload: &mut [u8]) {
    let name = payload.windows(7).position(|window| window == b"\"link\":").expect("a page move has a link");
    payload[name + 1] = b'-';
}

/// The definition that decides a record's row.
pub fn definition(route: &Arc<Route>) -> Arc<Definition> {
    Arc::new(Definition::of(route).expect("the route can be decoded"))
}

/// An ownership that starts at offset 0 and found nothing claimed.
pub fn ownership(partition: Partition) -> Arc<Ownership> {
    let proofs = Arc::new(Proofs::default());
    let sighting = proofs.before_sending();
    Arc::new(Ownership {
        ledger: LedgerId(1),
        left_out: LeftOut::default(),
        source: SourceId(1),
        partition,
        epoch: 1,
        owner: OwnerId(0),
        plan: Plan {
            start: 0,
            read_from: 0,
            claimed: 0,
            cuts: Vec::new(),
            claims: Vec::new(),
            frontiers: Frontiers { dead_letters: 0, postgres: Some(0), clickhouse: Some(0) },
            uncertain_through: None,
            doubtful_below: None,
            birth: 0,
        },
        proof: Proof::new(proofs, sighting),
        earlier: Vec::new(),
        skips: Vec::new(),
        ended: CancellationToken::new(),
    })
}

/// A partition in memory: the same records again and again, with rising offsets, copied into chunks.
pub struct Log {
    chunks: Arc<[Copied]>,
    ownership: Arc<Ownership>,
    budget: Arc<Budget>,
    pool: Arc<Pool<Copied>>,
    turn: usize,
    next: Offset,
}

impl Log {
    /// A log of `partition` whose chunks are copies of `chunks`, in turn. After the last of `chunks` it says that there are no more
    /// records.
    pub fn new(partition: Partition, chunks: &Arc<[Copied]>, budget: &Arc<Budget>) -> Self {
        let ownership = ownership(partition);
        Self {
            chunks: Arc::clone(chunks),
            ownership,
            budget: Arc::clone(budget),
            pool: Pool::new(CHUNKS_KEPT_BYTES_MAX),
            turn: 0,
            next: 0,
        }
    }

    /// The next chunk.
    pub fn read(&mut self) -> Chunk<Copied> {
        let first_read_at = Instant::now();
        let mut records = self.pool.take(Copied::default);
        for copied in self.chunks[self.turn].iter() {
            records.push(Record { offset: self.next, ..copied });
            self.next += 1;
        }
        self.turn = (self.turn + 1) % self.chunks.len();
        let permit = self.budget.take(records.byte_len() + records.len() * RECORD_OVERHEAD_BYTES);
        Chunk {
            ownership: Arc::clone(&self.ownership),
            records,
            position: self.next,
            is_behind: self.turn != 0,
            first_read_at,
            read_at: Instant::now(),
            brokers: footprint_service::kafka::brokers::Brokers::default(),
            permit,
        }
    }
}

/// `count` generated records, in chunks as large as the reader makes them.
pub fn chunks(count: usize, bad_share: f64) -> Arc<[Copied]> {
    let mut chunks = vec![Copied::default()];
    for made in records(count, bad_share).iter() {
        if chunks.last().is_none_or(|chunk| chunk.len() == MESSAGES_TAKEN_MAX) {
            chunks.push(Copied::default());
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(made);
        }
    }
    chunks.into()
}
