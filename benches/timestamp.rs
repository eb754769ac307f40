//! The cost of a timestamp in each spelling: the normalizer, compared with chrono's parsers over the same texts. Each run
//! takes a thousand different instants, so that the processor cannot learn the branches.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on panics")]
#![allow(missing_docs, unreachable_pub, reason = "nothing else uses it")]

mod support;

use std::hint::black_box;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeZone};
use chrono_tz::Tz;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use footprint_event::normalize::{Zone, instant_of_integer, instant_of_text};

use support::scaled;

const INSTANTS: usize = 1_000;
/// Instants over some twenty years, to the microsecond.
const STEP_US: i64 = 600_000_123_457;
const SEOUL_S: i32 = 9 * 3_600;

fn instants() -> impl Iterator<Item = DateTime<chrono::Utc>> {
    (0..scaled(INSTANTS) as i64)
        .filter_map(|number| DateTime::from_timestamp_micros(1_100_000_000_000_000 + number * STEP_US))
}

/// The sum of the normalizer's results.
fn normalized(texts: &[String], zone: Zone) -> i64 {
    texts.iter().filter_map(|text| instant_of_text(black_box(text), zone).ok()).sum()
}

/// The sum of chrono's results, for texts with an offset.
fn with_offset_by_chrono(texts: &[String]) -> i64 {
    let parsed = texts.iter().filter_map(|text| DateTime::parse_from_rfc3339(black_box(text)).ok());
    parsed.map(|at| at.timestamp_micros()).sum()
}

/// The sum of chrono's results, for texts in `zone`.
fn without_offset_by_chrono(texts: &[String], zone: Tz) -> i64 {
    let parsed = texts.iter().filter_map(|text| black_box(text).parse::<NaiveDateTime>().ok());
    parsed.filter_map(|local| zone.from_local_datetime(&local).earliest()).map(|at| at.timestamp_micros()).sum()
}

fn with_offset(criterion: &mut Criterion) {
    let seoul = chrono::FixedOffset::east_opt(SEOUL_S).expect("an offset below 24:00");
    let zulu = |format| instants().map(|at| at.to_rfc3339_opts(format, true)).collect();
    let nanos = instants().map(|at| at.with_timezone(&seoul).to_rfc3339_opts(SecondsFormat::Nanos, true)).collect();
    let spellings: [(&str, Vec<String>); 3] = [
        ("Z", zulu(SecondsFormat::Secs)),
        ("milliseconds, Z", zulu(SecondsFormat::Millis)),
        ("nanoseconds, +09:00", nanos),
    ];
    let mut group = criterion.benchmark_group("timestamp/with offset");
    group.throughput(Throughput::Elements(scaled(INSTANTS) as u64));
    for (name, texts) in spellings {
        assert_eq!(normalized(&texts, Zone::UTC), with_offset_by_chrono(&texts), "both read {name}");
        group.bench_function(name, |bencher| bencher.iter(|| normalized(&texts, Zone::UTC)));
        group.bench_function(format!("{name}, chrono"), |bencher| bencher.iter(|| with_offset_by_chrono(&texts)));
    }
}

fn without_offset(criterion: &mut Criterion) {
    let texts: Vec<String> = instants().map(|at| at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()).collect();
    let mut group = criterion.benchmark_group("timestamp/without offset");
    group.throughput(Throughput::Elements(scaled(INSTANTS) as u64));
    for name in ["UTC", "Asia/Seoul", "Europe/Berlin"] {
        let (ours, theirs): (Zone, Tz) = (name.parse().expect("a zone"), name.parse().expect("a zone"));
        assert_eq!(normalized(&texts, ours), without_offset_by_chrono(&texts, theirs), "both read {name}");
        group.bench_function(name, |bencher| bencher.iter(|| normalized(&texts, ours)));
        group.bench_function(format!("{name}, chrono"), |bencher| {
            bencher.iter(|| without_offset_by_chrono(&texts, theirs));
        });
    }
}

fn integers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timestamp/integer");
    group.throughput(Throughput::Elements(scaled(INSTANTS) as u64));
    for (name, unit_us) in [("seconds", 1_000_000), ("milliseconds", 1_000), ("microseconds", 1)] {
        let epochs: Vec<i64> = instants().map(|at| at.timestamp_micros() / unit_us).collect();
        group.bench_function(name, |bencher| {
            bencher.iter(|| epochs.iter().filter_map(|&epoch| instant_of_integer(black_box(epoch)).ok()).sum::<i64>());
        });
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = with_offset, without_offset, integers }
criterion_main!(benches);
