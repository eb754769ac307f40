//! The cost of PostgreSQL's binary COPY for each row. Columns become wire bytes, as in a lane, and the bytes are thrown away.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use footprint::limits::COPY_CHUNK_BYTES;
use footprint::store::postgres::copy;
use footprint_event::rows::Rows;
use footprint_protocol::ledger::SourceId;

use support::scaled;

const ROWS: usize = 100_000;

/// Makes the COPY data of one batch in chunks, and counts its bytes.
fn encode(rows: &Rows, chunk_bytes: usize) -> usize {
    let (mut out, mut next, mut bytes) = (BytesMut::with_capacity(chunk_bytes), 0, 0);
    copy::header(&mut out);
    while next < rows.len() {
        next = copy::rows(rows, next, SourceId(5), 3, &mut out, chunk_bytes);
        bytes += black_box(out.split().freeze()).len();
    }
    bytes
}

fn copy(criterion: &mut Criterion) {
    let count = scaled(ROWS);
    let shipped = support::rows(&support::route(), count);
    let nullable = support::rows(&support::nullable(support::route()), count);
    let mut group = criterion.benchmark_group("copy");
    group.throughput(Throughput::Elements(count as u64));
    for (name, rows, chunk_bytes) in [
        ("chunks of 64 KiB", &shipped, 64 << 10),
        ("chunks of 256 KiB, as shipped", &shipped, COPY_CHUNK_BYTES),
        ("chunks of 1 MiB", &shipped, 1 << 20),
        ("a quarter of the links null", &nullable, COPY_CHUNK_BYTES),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| encode(black_box(rows), chunk_bytes)));
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = copy }
criterion_main!(benches);
