//! Two consumers of one group: partitions move from one to the other and back while batches are in flight.

use std::time::Duration;

use crate::support::calm;
use crate::support::consumer::Consumer;
use crate::support::prove::prove_within;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};

/// The number of records that always remain to be stored while consumers come and go.
const BACKLOG: usize = 20_000;

/// Waits until that many processes own partitions. Meanwhile sends more records, however fast the consumers are. Returns how many
/// were left to store then.
fn wait_owners(world: &mut World, source: i64, count: usize, consumers: &[&Consumer]) -> i64 {
    let owned = || {
        let is_owned = world.owners(source).len() == count;
        let left = world.sent(source) - world.stored(source);
        if !is_owned && left < i64::try_from(BACKLOG).unwrap() {
            world.send(BACKLOG);
        }
        is_owned.then_some(left)
    };
    until_or(&format!("{count} consumers own partitions"), STORED, owned, || {
        consumers.iter().map(|consumer| consumer.tail()).collect()
    })
}

fn join_and_leave(name: &str, protocol: &str) {
    let mut world = World::new(name, 4, 0.005);
    world.set("kafka.group_protocol", &format!("{protocol:?}"));
    world.set("pipeline.batch_rows_max", "250");
    let source = world.send(BACKLOG);
    let mut first = world.consumer();
    world.wait_some(source, 1_000, &first);
    world.wait_claimed(source, &first);

    // joins while batches are in flight
    let mut second = world.consumer();
    let left = wait_owners(&mut world, source, 2, &[&first, &second]);
    assert!(left > 0, "joined in the middle");

    // leaves in order, while more records come
    world.send(BACKLOG);
    first.stop();
    wait_owners(&mut world, source, 1, &[&second]);

    // another joins, and the one that stayed dies
    let mut third = world.consumer();
    world.send(BACKLOG);
    wait_owners(&mut world, source, 2, &[&second, &third]);
    second.kill();
    world.send(5_000);
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut third]);
    assert_eq!(world.owners(source).len(), 1);
    third.stop();
}

#[test]
fn consumers_join_and_leave() {
    let _calm = calm();
    join_and_leave("group_classic", "classic");
}

#[test]
fn consumers_join_and_leave_under_the_new_protocol() {
    let _calm = calm();
    join_and_leave("group_consumer", "consumer");
}
