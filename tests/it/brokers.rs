//! Several brokers: one goes away, and some do not know of a topic's new life.

use std::time::Duration;

use crate::support::prove::{prove, prove_tables, prove_within};
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, cluster};

/// The story: any broker was asked for the topic's id. One that did not know of the new life let its records be stored as records
/// of the previous life, and then once more as what they are.
#[test]
fn records_of_a_new_life_are_never_taken_for_the_old_ones_whatever_other_brokers_say() {
    let (cluster, proxy, _turn) = cluster();
    let _calm = calm();
    let mut world = World::at(&cluster.bootstrap(), "heldback", 1, 0.0);
    world.command(&["migrate"]);
    cluster.create_topic_at(1, &world.topic, &[vec![1]]).unwrap();
    let old = world.source_known_to(Some(1));
    world.send_to(old, 1_000);
    let mut consumer = world.consumer();
    world.wait_stored(old, STORED, &mut [&mut consumer]);

    proxy.hold();
    cluster.delete_topic_at(1, &world.topic).unwrap();
    cluster.create_topic_at(1, &world.topic, &[vec![1]]).unwrap();
    let known = [1, 2, 3].map(|broker| world.source_known_to(Some(broker)));
    let new = known[0];
    assert!(new != old && known[1..] == [old, old], "two of three have not heard: {known:?}");
    // more than in the previous life, because the reader continues at its position; by the same producer, because a new one needs
    // the controller
    world.send_to(new, 3_000);
    world.wait_stored(new, STORED, &mut [&mut consumer]);
    prove_tables(&mut world);

    proxy.release();
    until_or(
        "every broker knows the new life",
        STORED,
        // a broker that was without the controller for too long is not known for a while
        || [2, 3].iter().all(|&broker| world.source_said_by(broker) == Some(new)).then_some(()),
        || consumer.tail(),
    );
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn a_broker_that_goes_and_comes_back_costs_nothing() {
    let (cluster, _proxy, _turn) = cluster();
    let _calm = calm();
    let mut world = World::at(&cluster.bootstrap(), "brokers", 3, 0.0);
    world.command(&["migrate"]);
    cluster.create_topic_at(1, &world.topic, &[vec![1, 2, 3], vec![2, 3, 1], vec![3, 1, 2]]).unwrap();
    world.set("pipeline.batch_rows_max", "400");
    let source = world.send(30_000);
    let mut consumer = world.consumer();
    world.wait_some(source, 1_000, &consumer);
    world.wait_claimed(source, &consumer);
    cluster.broker(3).stop().unwrap();
    assert!(cluster.broker(3).pid().is_err(), "it is gone");
    world.send_to(source, 10_000);
    world.wait_stored(source, Duration::from_secs(90), &mut [&mut consumer]);
    prove_tables(&mut world);
    cluster.broker(3).restart().unwrap();
    prove_within(&mut world, STORED, &mut [&mut consumer]);
    consumer.stop();
}

/// The story: a broker was restarted, so the leader epochs of its partitions grew. Then the topic was deleted and created again, and its
/// epochs began at 0. librdkafka took the new metadata for older ones, fetched with the old epoch, and was refused for ever, without a word.
#[test]
fn a_partition_whose_leader_had_changed_is_read_after_its_topic_is_replaced() {
    let (cluster, _proxy, _turn) = cluster();
    let _calm = calm();
    let mut world = World::at(&cluster.bootstrap(), "epochs", 2, 0.0);
    world.command(&["migrate"]);
    // librdkafka forgets the epochs if it believes for this long that the topic is gone
    world.set("kafka.properties", r#"{ "topic.metadata.propagation.max.ms" = "600000" }"#);
    let topic = world.topic.clone();
    let create = || cluster.create_topic_at(1, &topic, &[vec![1], vec![3]]).unwrap();
    create();
    let mut consumer = world.consumer();
    cluster.broker(3).stop().unwrap();
    cluster.broker(3).restart().unwrap();
    let old = world.source_known_to(Some(1));
    world.send_to(old, 1_000);
    world.wait_stored(old, STORED, &mut [&mut consumer]);

    cluster.delete_topic_at(1, &topic).unwrap();
    create();
    let new = world.source_known_to(Some(1));
    assert_ne!(old, new);
    world.send_to(new, 1_000);
    world.wait_stored(new, STORED, &mut [&mut consumer]);
    let joins_again = |line: &str| line.contains("joining the group again") && line.ends_with("partition=1");
    assert!(consumer.log().lines().any(joins_again), "{}", consumer.tail());
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
