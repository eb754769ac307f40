//! The cost of the batcher for each record, decoding included. It takes full chunks and gives batches of the shipped size.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use footprint::batch::batcher::Batcher;
use footprint::batch::under_way::UnderWay;
use footprint::read::chunk::Chunk;
use footprint_service::limits::MESSAGES_TAKEN_MAX;

use support::{Copied, Log, scaled};

/// Chunks in each run: a little more than one batch.
const CHUNKS: usize = 600;

fn batch(criterion: &mut Criterion) {
    let route = Arc::new(support::route());
    let chunk_count = scaled(CHUNKS);
    let record_count = chunk_count * MESSAGES_TAKEN_MAX;
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(record_count as u64));
    for (name, bad_share, partitions) in
        [("one partition", 0.0, 1), ("one bad in a thousand", 0.001, 1), ("16 partitions in turn", 0.0, 16)]
    {
        let (chunks, budget) = (support::chunks(record_count, bad_share), support::budget());
        let mut logs: Vec<Log> = (0..partitions).map(|partition| Log::new(partition, &chunks, &budget)).collect();
        let mut batcher = Batcher::new(&support::definition(&route), support::limits(), &UnderWay::default());
        let mut turn = 0;
        let mut read = || -> Vec<Chunk<Copied>> {
            let next = |_| {
                turn += 1;
                let log = turn % logs.len();
                logs[log].read()
            };
            (0..chunk_count).map(next).collect()
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                &mut read,
                |chunks| {
                    let (now, mut full) = (Instant::now(), Vec::new());
                    chunks.into_iter().for_each(|chunk| batcher.add(chunk, now, &mut full));
                    full
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = batch }
criterion_main!(benches);
