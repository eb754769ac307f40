//! What decoding costs a record: the whole decoder over generated page moves, and the normalizer alone for each spelling.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use footprint::batch::Rows;
use footprint::chunk::{Record, Records};
use footprint::decode::Decoder;
use footprint::generate::{GenerateOptions, Generator};
use footprint::normalize::{Zone, instant_of_integer, instant_of_text};
use footprint::route::{Column, Kind, Presence, Route};
use std::hint::black_box;

const RECORDS: usize = 10_000;

fn footprint_route() -> Route {
    let column = |name: &str, field: &str, kind| Column {
        name: name.into(),
        field: field.into(),
        kind,
        presence: Presence::Required,
        low_cardinality: false,
    };
    Route {
        name: "user_footprint".into(),
        topic: "footprint".into(),
        postgres_table: "user_footprint".into(),
        clickhouse_table: "user_footprint".into(),
        timezone: "UTC".into(),
        columns: vec![
            column("request", "method", Kind::Text),
            column("link", "link", Kind::Text),
            column("footprint_time", "footprint_time", Kind::Timestamp),
        ],
    }
}

fn generated(bad_share: f64) -> Records {
    let mut generator = Generator::new(1, GenerateOptions { bad_share, ..GenerateOptions::default() });
    let mut records = Records::default();
    for offset in 0..RECORDS as i64 {
        let made = generator.generate();
        records.push(Record { offset, timestamp_ms: 0, key: made.key, payload: made.payload, headers: b"" });
    }
    records
}

fn decode(criterion: &mut Criterion) {
    let route = footprint_route();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, bad_share) in [("good", 0.0), ("one bad in a thousand", 0.001)] {
        let records = generated(bad_share);
        let Ok(mut decoder) = Decoder::new(&route) else { return };
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || Rows::empty(&route),
                |rows| records.iter().filter(|record| decoder.decode(*record, rows).is_ok()).count(),
                BatchSize::LargeInput,
            );
        });
    }
}

fn normalize(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("normalize");
    let seoul: Zone = "Asia/Seoul".parse().unwrap_or(Zone::UTC);
    for (name, text, zone) in [
        ("zulu", "2024-05-06T07:08:09.123Z", Zone::UTC),
        ("offset, nine digits", "2024-05-06T07:08:09.123456789+09:00", Zone::UTC),
        ("no offset, UTC", "2024-05-06T07:08:09", Zone::UTC),
        ("no offset, Asia/Seoul", "2024-05-06T07:08:09", seoul),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| instant_of_text(black_box(text), black_box(zone))));
    }
    group.bench_function("integer", |bencher| bencher.iter(|| instant_of_integer(black_box(1_714_979_289_123))));
}

fn generate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generate");
    group.throughput(Throughput::Elements(1));
    let mut generator = Generator::new(1, GenerateOptions::default());
    group.bench_function("one in a thousand bad", |bencher| {
        bencher.iter(|| generator.generate().payload.map(<[u8]>::len));
    });
}

criterion_group!(benches, decode, normalize, generate);
criterion_main!(benches);
