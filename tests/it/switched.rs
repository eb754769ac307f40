//! One sink is switched off for a while. Switched on again, it is filled, or skips what it missed and says so.

use std::time::Duration;

use crate::support::calm;
use crate::support::prove::prove_within;
use crate::support::world::{STORED, World};

/// `sink` is off while the second of three parts is stored.
fn off_and_on(name: &str, sink: &'static str, fills: bool) {
    let (enabled, when) = match sink {
        "postgres" => ("postgres.enabled", "postgres.when_switched_on"),
        _ => ("clickhouse.enabled", "clickhouse.when_switched_on"),
    };
    let mut world = World::new(name, 2, 0.005);
    let source = world.send(20_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();

    world.set(enabled, "false");
    world.send(20_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    let table = if sink == "postgres" {
        world.eye.query("select count(*) from user_footprint")[0].get::<_, i64>(0)
    } else {
        let sql = format!("select count() from {}.user_footprint", world.database);
        crate::support::stack().clickhouse().unwrap().query(&sql).unwrap().trim().parse().unwrap()
    };
    assert!(table <= 20_000, "off means off: {table} rows");

    world.set(enabled, "true");
    world.set(when, if fills { "\"fill\"" } else { "\"skip\"" });
    world.send(20_000);
    if !fills {
        let left_out = (0..2).flat_map(|partition| (10_000..20_000).map(move |offset| (source, partition, offset)));
        match sink {
            "postgres" => world.oracle.not_in_postgres.extend(left_out),
            _ => world.oracle.not_in_clickhouse.extend(left_out),
        }
    }
    let mut consumer = world.consumer();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
    consumer.stop();
    let gaps = world.eye.query("select sink, start_offset, end_offset from footprint_gap order by partition");
    let gaps: Vec<(String, i64, i64)> = gaps.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let expected = if fills { 0 } else { 2 };
    assert_eq!(gaps, vec![(sink.to_owned(), 10_000, 20_000); expected]);
}

#[test]
fn clickhouse_off_and_filled() {
    let _calm = calm();
    off_and_on("off_clickhouse_fill", "clickhouse", true);
}

#[test]
fn clickhouse_off_and_skipped() {
    let _calm = calm();
    off_and_on("off_clickhouse_skip", "clickhouse", false);
}

#[test]
fn postgresql_off_and_filled() {
    let _calm = calm();
    off_and_on("off_postgres_fill", "postgres", true);
}

#[test]
fn postgresql_off_and_skipped() {
    let _calm = calm();
    off_and_on("off_postgres_skip", "postgres", false);
}
