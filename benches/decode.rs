//! The cost of decoding a record. The whole decoder turns JSON bytes into one row of columns. There is one figure for each shape of record.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use footprint_event::decode::Decoder;
use footprint_event::record::Records as _;
use footprint_event::rows::Rows;

use support::{picked, records, scaled};

const RECORDS: usize = 10_000;

fn decode(criterion: &mut Criterion) {
    let route = support::route();
    let count = scaled(RECORDS);
    let is_plain = |payload: &[u8]| payload.starts_with(b"{\"link\"") && !payload.contains(&b'\\');
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(count as u64));
    for (name, records) in [
        ("generated, all good", records(count, 0.0)),
        ("generated, one bad in a thousand", records(count, 0.001)),
        ("generated, all bad", records(count, 1.0)),
        ("as the site's script writes it", picked(count, 0.0, is_plain)),
        ("with an escape", picked(count, 0.0, |payload| payload.contains(&b'\\'))),
        (
            "another order, spaces, a field that the route does not name",
            picked(count, 0.0, |payload| payload.starts_with(b"{\"method\": ")),
        ),
    ] {
        let mut decoder = Decoder::new(&route).expect("the route can be decoded");
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || Rows::empty(&route),
                |rows| records.iter().filter(|record| decoder.decode(*record, rows).is_ok()).count(),
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = decode }
criterion_main!(benches);
