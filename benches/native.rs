//! The cost of ClickHouse's Native format for each row. Columns become one block, in a buffer that is used again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use footprint::store::clickhouse::native;
use footprint_event::route::Route;
use footprint_protocol::ledger::SourceId;

use support::scaled;

const ROWS: usize = 100_000;
/// The column for which the shipped route uses a dictionary. Its texts are `GET` and seven others.
const REQUEST: usize = 0;

/// The shipped route with its short text as a plain `String`.
fn plain(mut route: Route) -> Route {
    route.columns[REQUEST].low_cardinality = false;
    route
}

fn native(criterion: &mut Criterion) {
    let count = scaled(ROWS);
    let every_third: Vec<usize> = (0..count).step_by(3).collect();
    let mut group = criterion.benchmark_group("native");
    for (name, route, selection) in [
        ("a dictionary for the short text, as shipped", support::route(), None),
        ("a plain String for the short text", plain(support::route()), None),
        ("a quarter of the links null", support::nullable(support::route()), None),
        ("a repair of every third row", support::route(), Some(every_third.as_slice())),
    ] {
        let rows = support::rows(&route, count);
        group.throughput(Throughput::Elements(selection.map_or(count, <[usize]>::len) as u64));
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                native::block(&route, black_box(&rows), SourceId(5), 3, selection).put(usize::MAX, &mut out);
                black_box(out.len())
            });
        });
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = native }
criterion_main!(benches);
