//! The whole pipeline without servers: a source in memory, the real batcher stage, both encoders behind the real writer loop, and sinks
//! that throw the bytes away. The bounded channels and the byte budget between them are the real ones. Kafka, the ledger and the databases
//! are left out, and so is the wait for them. In place of the coordinator, a task passes batches on and counts acknowledgements.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use footprint::batch::Batch;
use footprint::batch::assemble::assemble;
use footprint::batch::batcher::Batcher;
use footprint::batch::budget::Budget;
use footprint::batch::under_way::UnderWay;
use footprint::limits::{
    BLOCK_PIECE_BYTES, CHUNK_CHANNEL_CAPACITY, COORDINATOR_CHANNEL_CAPACITY, COPY_CHUNK_BYTES, WRITER_CHANNEL_CAPACITY,
};
use footprint::paused::Paused;
use footprint::read::chunk::Chunk;
use footprint::store::clickhouse::native;
use footprint::store::postgres::copy;
use footprint::store::sink::{Ack, Sink, SinkError, Verdict};
use footprint::store::writer::{Patience, Watched, serve};
use footprint_event::route::Route;
use footprint_protocol::ledger::SinkName;
use footprint_service::health::{Component, Health};
use footprint_service::metrics::Meters;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use support::{Copied, Log, scaled};

const PARTITIONS: i32 = 4;
/// Batches of each partition in a run. They are full, so that no run waits for the linger.
const BATCHES: usize = 2;
/// How long the source waits for room in the budget before it looks again.
const ROOM_TIMEOUT: Duration = Duration::from_millis(100);

/// Encodes as PostgreSQL's lane does, and stores nothing.
struct CopySink {
    buffer: BytesMut,
}

impl Sink for CopySink {
    fn name(&self) -> SinkName {
        SinkName::Postgres
    }

    fn joins(&self, _group: &[Arc<Batch>], _next: &Batch) -> bool {
        false
    }

    async fn write(&mut self, group: &[Arc<Batch>], _uncertain: bool) -> Result<Vec<Verdict>, SinkError> {
        for batch in group {
            let (source, partition) = (batch.ownership.source, batch.ownership.partition);
            copy::header(&mut self.buffer);
            let mut next = 0;
            while next < batch.rows.len() {
                next = copy::rows(&batch.rows, next, source, partition, &mut self.buffer, COPY_CHUNK_BYTES);
                drop(black_box(self.buffer.split().freeze()));
            }
        }
        Ok(vec![Verdict::Stored; group.len()])
    }
}

/// Encodes as ClickHouse's lane does, and stores nothing.
struct NativeSink {
    route: Arc<Route>,
    piece: Vec<u8>,
}

impl Sink for NativeSink {
    fn name(&self) -> SinkName {
        SinkName::ClickHouse
    }

    fn joins(&self, _group: &[Arc<Batch>], _next: &Batch) -> bool {
        false
    }

    async fn write(&mut self, group: &[Arc<Batch>], _uncertain: bool) -> Result<Vec<Verdict>, SinkError> {
        for batch in group {
            let (source, partition) = (batch.ownership.source, batch.ownership.partition);
            let mut block = native::block(&self.route, &batch.rows, source, partition, None);
            loop {
                self.piece.clear();
                block.put(BLOCK_PIECE_BYTES, &mut self.piece);
                if black_box(&self.piece).is_empty() {
                    break;
                }
            }
        }
        Ok(vec![Verdict::Stored; group.len()])
    }
}

/// The substitute for the reader: a thread that copies every partition's records into chunks, as long as the budget has room.
fn read(chunks: &Arc<[Copied]>, budget: &Arc<Budget>, to: &mpsc::Sender<Chunk<Copied>>) {
    let mut logs: Vec<Log> = (0..PARTITIONS).map(|partition| Log::new(partition, chunks, budget)).collect();
    for _ in 0..chunks.len() {
        for log in &mut logs {
            while !budget.wait_for_room(ROOM_TIMEOUT) {}
            if to.blocking_send(log.read()).is_err() {
                return;
            }
        }
    }
}

/// The substitute for the coordinator: gives each batch to both lanes, until both have acknowledged `wanted` records.
async fn coordinate(
    mut batches: mpsc::Receiver<Batch>,
    lanes: [mpsc::Sender<Arc<Batch>>; 2],
    mut acks: mpsc::Receiver<Ack>,
    wanted: u64,
) {
    let mut acknowledged = [0, 0];
    while acknowledged != [wanted; 2] {
        tokio::select! {
            biased;
            Some(ack) = acks.recv() => acknowledged[usize::from(ack.sink == SinkName::ClickHouse)] += ack.range.len(),
            Some(batch) = batches.recv() => {
                let batch = Arc::new(batch);
                for lane in &lanes {
                    lane.send(Arc::clone(&batch)).await.expect("the lane serves");
                }
            }
        }
    }
}

/// Moves every record of every partition from the source to both acknowledgements.
fn run(runtime: &Runtime, route: &Arc<Route>, chunks: &Arc<[Copied]>, budget: &Arc<Budget>, wanted: u64) {
    // the last stage is built first, as in the pipeline
    let (ack_sender, acks) = mpsc::channel(COORDINATOR_CHANNEL_CAPACITY);
    let (postgres, postgres_batches) = mpsc::channel(WRITER_CHANNEL_CAPACITY);
    let (clickhouse, clickhouse_batches) = mpsc::channel(WRITER_CHANNEL_CAPACITY);
    let (batch_sender, batches) = mpsc::channel(WRITER_CHANNEL_CAPACITY);
    let (chunk_sender, chunk_receiver) = mpsc::channel(CHUNK_CHANNEL_CAPACITY);
    let copied = CopySink { buffer: BytesMut::with_capacity(COPY_CHUNK_BYTES) };
    let blocked = NativeSink { route: Arc::clone(route), piece: Vec::new() };
    let under_way = UnderWay::default();
    let (_interval, cut_interval) = watch::channel(Duration::ZERO);
    let batcher = Batcher::new(&support::definition(route), support::limits(), &under_way);
    let health = Health::new("visits", Vec::new(), Instant::now());
    let (_pause, paused) = watch::channel(Paused::default());
    let watched = |sink, component| Watched {
        health: health.reporter(component),
        meters: Meters::new("visits").sink(sink),
        patience: Patience::None,
        paused: paused.clone(),
    };
    let waits = Meters::new("visits").blocked("batcher");
    let lanes = [
        runtime.spawn(serve(
            copied,
            postgres_batches,
            ack_sender.clone(),
            watched(SinkName::Postgres, Component::Postgres),
        )),
        runtime.spawn(serve(
            blocked,
            clickhouse_batches,
            ack_sender,
            watched(SinkName::ClickHouse, Component::ClickHouse),
        )),
    ];
    let assembling = runtime.spawn(assemble(batcher, chunk_receiver, batch_sender, under_way, cut_interval, waits));
    thread::scope(|scope| {
        scope.spawn(|| read(chunks, budget, &chunk_sender));
        runtime.block_on(coordinate(batches, [postgres, clickhouse], acks, wanted));
    });
    drop(chunk_sender);
    runtime.block_on(async {
        assembling.await.expect("the batcher does not panic");
        for lane in lanes {
            lane.await.expect("the lane does not panic").expect("a sink that stores nothing does not stop");
        }
    });
}

fn pipeline(criterion: &mut Criterion) {
    let route = Arc::new(support::route());
    let budget = support::budget();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    let partition_records = BATCHES * support::limits().rows_max;
    let wanted = partition_records as u64 * u64::from(PARTITIONS.unsigned_abs());
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(wanted));
    group.sample_size(20).measurement_time(Duration::from_secs(scaled(10) as u64));
    for (name, bad_share) in [("all good", 0.0), ("one bad in a thousand", 0.001)] {
        let chunks = support::chunks(partition_records, bad_share);
        group.bench_function(name, |bencher| bencher.iter(|| run(&runtime, &route, &chunks, &budget, wanted)));
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = pipeline }
criterion_main!(benches);
