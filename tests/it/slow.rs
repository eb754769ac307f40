//! A slow database. A large batch takes longer than the limit in all, and one attempt stores it, since something always moves. A
//! database that falls silent is given up when the limit is over.
//!
//! The story: a write had 60 seconds in all, so a database that needed longer received the same 500,000 rows for ever.

use std::time::Duration;

use footprint_trials::trial::Proxy;

use crate::support::consumer::Consumer;
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// How long a database may be silent.
const LIMIT_MS: u64 = 2_000;
/// At this rate a batch of the test takes about three times the limit.
const SLOW: usize = 2 << 20;
const FAST: usize = 1 << 30;
const RECORD_BYTES: usize = 100_000;

/// A world of one partition and one lane, whose records become one batch.
fn world(name: &str) -> World {
    let mut world = World::new(name, 1, 0.0);
    world.set("pipeline.sink_timeout_ms", &LIMIT_MS.to_string());
    world.set("pipeline.lanes", "1");
    world.set("pipeline.linger_ms", "1000");
    world
}

fn send_large(world: &mut World, count: usize) -> i64 {
    let link = "x".repeat(RECORD_BYTES);
    let record = format!(r#"{{"link":"{link}","method":"GET","footprint_time":"2026-01-02T03:04:05Z"}}"#);
    world.send_these(0, &vec![record; count])
}

/// The longest write of a sink in the log, milliseconds.
fn longest_write_ms(log: &str, sink: &str) -> u64 {
    let of_sink = |line: &&str| line.contains("stored") && line.contains(&format!("sink=\"{sink}\""));
    let took = |line: &str| line.split("took_ms=").nth(1)?.split_whitespace().next()?.parse().ok();
    log.lines().filter(of_sink).filter_map(took).max().unwrap_or(0)
}

fn takes_longer_than_the_limit(name: &str, sink: &str) {
    let _calm = calm();
    let mut world = world(name);
    let server_port =
        if sink == "postgres" { stack().postgres().unwrap().port() } else { stack().clickhouse().unwrap().http_port() };
    let proxy = Proxy::slow(server_port, SLOW, None).unwrap();
    let setting = if sink == "postgres" { "postgres.port" } else { "clickhouse.port" };
    world.set(setting, &proxy.port().to_string());
    let source = send_large(&mut world, 160);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let log = consumer.log();
    let longest = longest_write_ms(&log, sink);
    assert!(longest > 2 * LIMIT_MS, "a batch takes longer than the limit: {longest} ms\n{log}");
    assert!(!log.contains("no answer"), "{log}");
    assert_eq!(
        consumer.metric(&format!("footprint_sink_retries_total{{route=\"user_footprint\",sink=\"{sink}\"}}")),
        Some(0.0),
        "one attempt"
    );
    assert_eq!(world.ledger(source)[0].epoch, 1, "one ownership");
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn postgresql_that_takes_a_batch_slower_than_the_limit_stores_it_at_once() {
    takes_longer_than_the_limit("slow_postgres", "postgres");
}

#[test]
fn clickhouse_that_takes_a_batch_slower_than_the_limit_stores_it_at_once() {
    takes_longer_than_the_limit("slow_clickhouse", "clickhouse");
}

/// PostgreSQL works long after the last byte: a deferred trigger sleeps.
#[test]
fn postgresql_that_works_longer_than_the_limit_after_the_last_byte_stores_the_batch_at_once() {
    let _calm = calm();
    let mut world = world("slow_commit");
    world.eye.query(
        "create function late() returns trigger language plpgsql as $$ begin perform pg_sleep(5); return null; end $$",
    );
    world.eye.query(
        "create constraint trigger late after insert on user_footprint deferrable initially deferred \
         for each row when (new.link = '/slow') execute function late()",
    );
    let record = r#"{"link":"/slow","method":"GET","footprint_time":"2026-01-02T03:04:05Z"}"#.to_owned();
    let source = world.send_these(0, &[record]);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let log = consumer.log();
    assert!(longest_write_ms(&log, "postgres") >= 5_000, "{log}");
    assert!(!log.contains("no answer") && world.ledger(source)[0].epoch == 1, "{log}");
    consumer.stop();
}

/// ClickHouse works long after the last byte: two materialized views sleep, one after the other.
#[test]
fn clickhouse_that_works_longer_than_the_limit_after_the_last_byte_stores_the_batch_at_once() {
    let _calm = calm();
    let mut world = world("slow_view");
    let clickhouse = stack().clickhouse().unwrap();
    for sql in [
        "create table {db}.slept (a UInt8) engine = Null",
        "create materialized view {db}.one to {db}.slept as select sleepEachRow(2.5) as a from {db}.user_footprint",
        "create materialized view {db}.two to {db}.slept as select sleepEachRow(2.5) as a from {db}.user_footprint",
    ] {
        clickhouse.query(&sql.replace("{db}", &world.database)).unwrap();
    }
    let record = r#"{"link":"/slow","method":"GET","footprint_time":"2026-01-02T03:04:05Z"}"#.to_owned();
    let source = world.send_these(0, &[record]);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let log = consumer.log();
    assert!(longest_write_ms(&log, "clickhouse") >= 2 * LIMIT_MS, "{log}");
    assert!(!log.contains("no answer") && world.ledger(source)[0].epoch == 1, "{log}");
    consumer.stop();
}

fn given_up_in_the_limit(consumer: &Consumer, proxy: &Proxy, sink: &str) {
    let said = || {
        let log = consumer.log();
        let line = log.lines().find(|line| line.contains(sink) && line.contains("pipeline.sink_timeout_ms"));
        line.map(|_| proxy.silent_since().expect("the proxy fell silent").elapsed())
    };
    let after = until_or("the silent database is given up", STORED, said, || consumer.tail());
    let limit = Duration::from_millis(LIMIT_MS);
    assert!(after >= limit && after < 4 * limit, "given up after {after:?}:\n{}", consumer.log());
}

#[test]
fn postgresql_that_falls_silent_is_given_up_in_the_limit_and_the_batch_is_stored_when_it_talks() {
    let _calm = calm();
    let mut world = world("silent_postgres");
    let proxy = Proxy::slow(stack().postgres().unwrap().port(), FAST, Some(2 << 20)).unwrap();
    world.set("postgres.port", &proxy.port().to_string());
    let source = send_large(&mut world, 160);
    let mut consumer = world.consumer();
    given_up_in_the_limit(&consumer, &proxy, "postgres");
    proxy.end_silence();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn clickhouse_that_falls_silent_is_given_up_in_the_limit_and_the_batch_is_stored_when_it_talks() {
    let _calm = calm();
    let mut world = world("silent_clickhouse");
    let proxy = Proxy::slow(stack().clickhouse().unwrap().http_port(), FAST, Some(2 << 20)).unwrap();
    world.set("clickhouse.port", &proxy.port().to_string());
    let source = send_large(&mut world, 300);
    let mut consumer = world.consumer();
    given_up_in_the_limit(&consumer, &proxy, "clickhouse");
    proxy.end_silence();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
