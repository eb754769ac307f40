//! ClickHouse is away for a while under load. Memory stays within the budget, reading pauses and continues, and nothing is lost.

use std::time::{Duration, Instant};

use crate::support::consumer::Consumer;
use crate::support::prove::prove_within;
use crate::support::wait::{until, until_or};
use crate::support::world::{STORED, World};
use crate::support::{alone, stack};

/// Peak resident memory at the default budget, KiB.
const PEAK_KIB_MAX: u64 = 300 << 10;
/// How long a page may take at the 99th percentile.
const PAGE_MAX: Duration = Duration::from_millis(50);
/// More than the default budget holds.
const RECORDS: usize = 1_500_000;

/// The time of a page at the 99th percentile, from the connection to the last byte, over all pages in turn.
fn p99(consumer: &Consumer, lasts: Duration) -> Duration {
    let (began, mut times) = (Instant::now(), Vec::new());
    for path in ["/metrics", "/readyz", "/status", "/livez"].into_iter().cycle() {
        if began.elapsed() >= lasts && times.len() >= 400 {
            break;
        }
        let asked = Instant::now();
        assert!(consumer.page(path).is_some_and(|(_, body)| !body.is_empty()));
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn clickhouse_away_under_load_costs_no_more_than_the_budget() {
    let _alone = alone();
    let seconds =
        std::env::var("FOOTPRINT_OUTAGE_SECONDS").map_or(15, |text| text.parse().expect("a number of seconds"));
    let mut world = World::new("outage", 4, 0.000_5);
    let source = world.send(RECORDS);
    let mut consumer = world.consumer();
    world.wait_some(source, 1, &consumer);
    let saturated = p99(&consumer, Duration::from_secs(1));
    let server = stack().clickhouse().unwrap();
    server.kill().unwrap();
    let down = Instant::now();
    let at = world.stored(source);
    assert!(at < RECORDS as i64 / 2, "killed in the middle: {at}");

    let paused =
        |consumer: &Consumer, value: f64| (consumer.metric("footprint_reader_paused") == Some(value)).then_some(());
    until_or("reading pauses", STORED, || paused(&consumer, 1.0), || consumer.tail());
    until("the outage lasts", Duration::from_secs(seconds + 1), || {
        (down.elapsed() >= Duration::from_secs(seconds)).then_some(())
    });
    assert_eq!(consumer.ended(), None, "it waits: {}", consumer.tail());
    assert_eq!(consumer.metric("footprint_reader_paused"), Some(1.0));
    let blocked = p99(&consumer, Duration::from_secs(1));
    server.restart().unwrap();
    until_or("reading continues", STORED, || paused(&consumer, 0.0), || consumer.tail());
    prove_within(&mut world, Duration::from_secs(120), &mut [&mut consumer]);
    let peak = consumer.peak_memory_kib();
    println!(
        "peak {} MiB; a page takes {saturated:?} at the 99th percentile, {blocked:?} while nothing is stored",
        peak >> 10
    );
    assert!(saturated.max(blocked) <= PAGE_MAX, "{saturated:?} {blocked:?}");
    assert!(peak < PEAK_KIB_MAX, "peak {peak} KiB");
    consumer.stop();
}
