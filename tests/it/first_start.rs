//! Where a route starts on a topic that another consumer has read before. Each partition starts where it would have started at
//! the route's first start, whoever takes it over and when. The story: once one partition had a ledger row, all others ignored
//! the old consumer's commit, and `latest`. The old rows were stored again, and `verify` found no fault.

use std::time::Duration;

use crate::support::consumer::Consumer;
use crate::support::kafka::{Stranger, add_partitions, commit_as_another};
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// A partition's number, rows, different offsets and the lowest of them.
type Held = Vec<(i32, i64, i64, i64)>;

fn in_postgres(world: &mut World, source: i64) -> Held {
    let sql = format!(
        "select kafka_partition, count(*), count(distinct kafka_offset), min(kafka_offset) from user_footprint \
         where kafka_source = {source} group by 1 order by 1"
    );
    world.eye.query(&sql).iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

fn in_clickhouse(world: &World, source: i64) -> Held {
    let sql = format!(
        "select kafka_partition, count(), uniqExact(kafka_offset), min(kafka_offset) from {}.user_footprint \
         where kafka_source = {source} group by 1 order by 1",
        world.database
    );
    let answer = stack().clickhouse().unwrap().query(&sql).unwrap();
    let held = answer.lines().map(|line| {
        let values: Vec<i64> = line.split('\t').map(|value| value.parse().unwrap()).collect();
        (values[0] as i32, values[1], values[2], values[3])
    });
    held.collect()
}

/// Every partition holds each record from its start on once, in both databases, and `verify` finds no fault.
fn assert_started_at(world: &mut World, source: i64, starts: &[i64]) -> String {
    let expected: Held = starts
        .iter()
        .zip(0..)
        .map(|(&start, partition)| (partition, world.oracle.end(source, partition) - start, start))
        .filter(|(_, count, _)| *count > 0)
        .map(|(partition, count, start)| (partition, count, count, start))
        .collect();
    assert_eq!(in_postgres(world, source), expected, "postgresql");
    assert_eq!(in_clickhouse(world, source), expected, "clickhouse");
    world.command(&["verify", "--strict"])
}

/// Commits for the old consumer, the same offset in each partition.
fn old_commits(world: &World, offset: i64) {
    commit_as_another(
        &world.topic,
        &world.topic,
        (0..i32::from(world.partitions)).map(|partition| (partition, offset)),
    );
}

fn wait_rows(world: &mut World, source: i64, count: usize, consumer: &Consumer) {
    let eye = &mut world.eye;
    let rows = || {
        let rows = eye.ledger().into_iter().filter(|row| row.source == source).count();
        (rows >= count).then_some(())
    };
    until_or("partitions are taken over", STORED, rows, || consumer.tail());
}

/// Warnings of the log that hold `text`.
fn warnings(consumer: &Consumer, text: &str) -> usize {
    consumer.log().lines().filter(|line| line.contains("WARN") && line.contains(text)).count()
}

/// Our member beside another program's member, which keeps two of four partitions.
fn beside_a_stranger(world: &mut World, source: i64) -> (Consumer, Stranger) {
    let stranger = Stranger::join(&world.topic, &world.topic, "old-consumer", "cooperative-sticky");
    until_or("the stranger has it all", STORED, || (stranger.partitions() == 4).then_some(()), String::new);
    let consumer = world.consumer();
    wait_rows(world, source, 2, &consumer);
    until_or("it keeps two", STORED, || (stranger.partitions() == 2).then_some(()), || consumer.tail());
    (consumer, stranger)
}

#[test]
fn every_partition_starts_where_the_old_consumer_stopped_though_another_member_keeps_two() {
    let _calm = calm();
    let mut world = World::new("start_shared", 4, 0.0);
    let source = world.send(8_000);
    old_commits(&world, 1_000);
    let (mut consumer, stranger) = beside_a_stranger(&mut world, source);
    let named = || (warnings(&consumer, "client \"old-consumer\" on 127.0.0.1; stop it") == 1).then_some(());
    until_or("the stranger is named", STORED, named, || consumer.tail());
    assert_eq!(world.ledger(source).len(), 2, "two partitions are the stranger's");
    drop(stranger);
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let report = assert_started_at(&mut world, source, &[1_000; 4]);
    assert!(report.contains("partition 3 starts at 1000"), "{report}");
    consumer.kill();
    // the next take-over looks for rows that ClickHouse has lost
    let mut next = world.consumer();
    world.send(200);
    world.wait_stored(source, STORED, &mut [&mut next]);
    assert_eq!(warnings(&next, "it lost some"), 0, "{}", next.tail());
    assert_started_at(&mut world, source, &[1_000; 4]);
}

#[test]
fn latest_is_the_end_as_of_the_first_start_whoever_takes_a_partition_over_and_when() {
    let _calm = calm();
    let mut world = World::new("start_latest", 4, 0.0);
    world.set("kafka.offset_reset", "\"latest\"");
    let source = world.send(8_000);
    let (mut consumer, stranger) = beside_a_stranger(&mut world, source);
    // these come after the first start, on partitions that none of our members has yet
    world.send(800);
    assert_eq!(world.ledger(source).len(), 2, "two partitions are the stranger's");
    drop(stranger);
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    assert_started_at(&mut world, source, &[2_000; 4]);
}

#[test]
fn one_process_starts_each_of_64_partitions_at_its_commit() {
    let _calm = calm();
    let mut world = World::new("start_64", 64, 0.0);
    let source = world.send(64 * 1_200);
    old_commits(&world, 1_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    assert_started_at(&mut world, source, &[1_000; 64]);
}

#[test]
fn two_processes_started_together_start_at_the_commits() {
    let _calm = calm();
    let mut world = World::new("start_two", 8, 0.0);
    let source = world.send(8 * 1_200);
    old_commits(&world, 1_000);
    let (mut one, mut other) = (world.consumer(), world.consumer());
    world.wait_stored(source, STORED, &mut [&mut one, &mut other]);
    assert_started_at(&mut world, source, &[1_000; 8]);
}

/// Seen: exit status 3 with 2,000 "missing" in each database. These records had never been footprint's.
#[test]
fn verify_starts_where_the_partition_did_and_takes_what_lies_below_for_a_fault() {
    let _calm = calm();
    let mut world = World::new("start_verify", 2, 0.0);
    let source = world.send(3_000);
    old_commits(&world, 1_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    let report = assert_started_at(&mut world, source, &[1_000; 2]);
    for partition in 0..2 {
        assert!(report.contains(&format!("partition {partition} starts at 1000")), "{report}");
    }
    world.eye.query(&format!(
        "insert into user_footprint (request, link, footprint_time, kafka_source, kafka_partition, kafka_offset, \
         received_at) values ('GET', '/', now(), {source}, 1, 999, now()) returning 1"
    ));
    let (status, report, _) = world.outcome(&["verify"]);
    assert!(status == 3 && report.contains("unexpected (1)") && report.contains("offset 999"), "{report}");
}

#[test]
fn a_partition_that_was_added_later_starts_at_the_logs_start() {
    let _calm = calm();
    let mut world = World::new("start_added", 2, 0.0);
    world.set("kafka.offset_reset", "\"latest\"");
    let source = world.send(2_000);
    let mut consumer = world.consumer();
    wait_rows(&mut world, source, 2, &consumer);
    add_partitions(&world.topic, 3);
    world.grow(3);
    // some records are there before any of our members knows of the partition
    world.send(300);
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    assert_started_at(&mut world, source, &[1_000, 1_000, 0]);
}

/// Seen: two warnings every two seconds for ever. They named neither the old consumer nor what to do.
fn beside_an_old_consumer(name: &str, protocol: &str) {
    let mut world = World::new(name, 2, 0.0);
    world.set("kafka.group_protocol", &format!("{protocol:?}"));
    let source = world.send(3_000);
    old_commits(&world, 1_000);
    let stranger = Stranger::join(&world.topic, &world.topic, "old-consumer", "range");
    until_or("the old consumer has it all", STORED, || (stranger.partitions() == 2).then_some(()), String::new);
    let mut consumer = world.consumer();
    let what = "client \"old-consumer\" on 127.0.0.1; stop it";
    until_or("it is named", STORED, || (warnings(&consumer, what) > 0).then_some(()), || consumer.tail());
    let (status, report, _) = world.outcome(&["check"]);
    let line = report.lines().find(|line| line.contains("old-consumer")).unwrap_or_default();
    assert!(status == 3 && line.starts_with("FAULT") && line.contains(what), "{report}");
    if protocol == "classic" {
        // it was refused several times more
        let refused = |consumer: &Consumer| consumer.log().matches("nconsistent group protocol").count();
        until_or("it is refused again", STORED, || (refused(&consumer) > 5).then_some(()), || consumer.tail());
    }
    assert_eq!(warnings(&consumer, "group"), 1, "once until it changes: {}", consumer.tail());
    drop(stranger);
    let joined = || (world.eye.ledger().len() == 2).then_some(());
    until_or("all is ours seconds after its end", Duration::from_secs(10), joined, || consumer.tail());
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    assert_started_at(&mut world, source, &[1_000; 2]);
    let left = || consumer.log().contains("the other consumers have left the group").then_some(());
    until_or("its end is reported", STORED, left, || consumer.tail());
    assert_eq!(world.outcome(&["check"]).0, 0);
}

#[test]
fn an_old_consumer_that_still_polls_is_named_once_with_what_to_do() {
    let _calm = calm();
    beside_an_old_consumer("start_range", "classic");
}

#[test]
fn an_old_consumer_is_named_under_the_new_protocol_too() {
    let _calm = calm();
    beside_an_old_consumer("start_range_new", "consumer");
}
