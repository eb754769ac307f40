//! A topic gets more partitions under a running consumer.

use crate::support::calm;
use crate::support::kafka::add_partitions;
use crate::support::prove::prove;
use crate::support::world::{STORED, World};

#[test]
fn partitions_that_are_added_under_load_are_stored_whole() {
    let _calm = calm();
    let mut world = World::new("grown", 2, 0.005);
    world.set("pipeline.batch_rows_max", "400");
    // how soon the group learns of new partitions
    world.set("kafka.properties", r#"{ "topic.metadata.refresh.interval.ms" = "500" }"#);
    let source = world.send(20_000);
    let mut consumer = world.consumer();
    world.wait_some(source, 1_000, &consumer);
    world.wait_claimed(source, &consumer);
    add_partitions(&world.topic, 5);
    assert!(world.stored(source) < 20_000, "they are added in the middle");
    world.grow(5);
    // the first of these records are there before the consumer knows of their partitions
    world.send_to(source, 10_000);
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let rows = world.ledger(source);
    let ends: Vec<(i32, i64)> = rows.iter().map(|row| (row.partition, row.lowest())).collect();
    let expected: Vec<(i32, i64)> = (0..5).map(|partition| (partition, world.oracle.end(source, partition))).collect();
    assert_eq!(ends, expected);
    assert!(expected.iter().all(|&(_, end)| end >= 2_000), "each has its share: {expected:?}");
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
