//! Both encoders over a batch of page moves, per row: the columns are in memory, the bytes go nowhere.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use footprint::batch::{Rows, Values};
use footprint::config::Config;
use footprint::ledger::SourceId;
use footprint::limits::COPY_CHUNK_BYTES;
use footprint::route::Route;
use footprint::sink::clickhouse::native;
use footprint::sink::postgres::copy;

const ROWS: usize = 100_000;
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

/// Page moves with links of some 30 bytes.
fn page_moves(route: &Route) -> Rows {
    let mut rows = Rows::empty(route);
    for number in 0..ROWS as i64 {
        rows.offsets.push(number);
        rows.received_at_us.push(1_700_000_000_000_000 + number * 10);
        let drawn = number.wrapping_mul(0x5851_f42d_4c95_7f2d) >> 33;
        let texts = [METHODS[(drawn & 3) as usize].to_owned(), format!("/page/{drawn}/a/somewhat/long")];
        for (column, text) in rows.columns.iter_mut().zip(texts) {
            if let Values::Text { bytes, ends } = &mut column.values {
                bytes.extend_from_slice(text.as_bytes());
                ends.push(bytes.len() as u32);
            }
        }
        if let Values::Timestamp(values) = &mut rows.columns[2].values {
            values.push(1_700_000_000_000_000 + number * 10);
        }
    }
    rows
}

fn encode(criterion: &mut Criterion) {
    let Ok(config) = Config::load(None, &[]) else { return };
    let route = &config.routes[0];
    let rows = page_moves(route);
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("copy", |bencher| {
        bencher.iter(|| {
            let (mut out, mut next) = (BytesMut::new(), 0);
            while next < rows.len() {
                next = copy::rows(&rows, next, SourceId(5), 3, &mut out, COPY_CHUNK_BYTES);
                black_box(out.split().freeze());
            }
        });
    });
    group.bench_function("native", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            native::block(route, &rows, SourceId(5), 3, None, &mut out);
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
