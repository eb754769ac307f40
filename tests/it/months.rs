//! Records whose producers' clocks span decades.
//!
//! The story: such a batch became thousands of parts of ClickHouse in one insert, and each was synced.

use footprint::limits::BATCH_MONTHS_MAX;

use crate::support::prove::prove;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

const MONTHS: usize = 300;
const MONTH_MS: i64 = 31 * 86_400_000;

#[test]
fn an_insert_makes_no_more_parts_than_the_months_of_a_batch_may_be() {
    let _calm = calm();
    let mut world = World::new("months", 1, 0.0);
    world.set("pipeline.linger_ms", "1000");
    let clickhouse = stack().clickhouse().unwrap();
    clickhouse.query(&format!("system stop merges {}.user_footprint", world.database)).unwrap();
    let record = r#"{"link":"/a","method":"GET","footprint_time":"2026-01-02T03:04:05Z"}"#.to_owned();
    let source = world.source();
    let sent = world.feed.send_at(0, &vec![record; MONTHS], |number| 1 + number as i64 * MONTH_MS);
    world.oracle.note(source, sent);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);

    // merges are stopped, so each part belongs to one month and one insert
    let parts: usize = clickhouse
        .query(&format!("select uniqExact(_part) from {}.user_footprint", world.database))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_eq!(parts, MONTHS, "one part a month");
    let log = consumer.log();
    let ranges =
        log.lines().filter(|line| line.contains("stored") && line.contains("sink=\"clickhouse\"")).map(|line| {
            let range = line.split("range=[").nth(1).unwrap().split(')').next().unwrap();
            let (start, end) = range.split_once(", ").unwrap();
            end.parse::<usize>().unwrap() - start.parse::<usize>().unwrap()
        });
    let ranges: Vec<usize> = ranges.collect();
    // every record is of another month
    assert!(
        ranges.iter().sum::<usize>() == MONTHS && ranges.iter().all(|&count| count <= BATCH_MONTHS_MAX),
        "{ranges:?}"
    );
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
