//! Two consumer groups on one ledger. The story: each took every partition from the other, for ever and without a pause, and
//! neither log named the other. Another story: one row was locked, and every connection of its owner was ended, for all routes.

use std::time::Duration;

use crate::support::calm;
use crate::support::prove::prove_within;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};

#[test]
fn the_second_group_waits_and_names_the_first_until_that_is_gone() {
    let _calm = calm();
    let mut world = World::new("two_groups", 2, 0.005);
    let source = world.send(5_000);
    let mut first = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut first]);
    let epochs = |world: &mut World| world.ledger(source).iter().map(|row| row.epoch).collect::<Vec<_>>();
    let before = epochs(&mut world);

    let group = format!("{}_other", world.database);
    world.set("kafka.group_id", &format!("{group:?}"));
    let mut second = world.consumer();
    let named = format!("process {} on ", first.pid());
    let waits = || {
        let log = second.log();
        (log.contains(&named) && log.contains("two groups must not share a route's ledger")).then_some(())
    };
    until_or("the second names the first", STORED, waits, || second.tail());
    // the first group stores records that come meanwhile, because nobody has taken anything from it
    world.send(5_000);
    world.wait_stored(source, STORED, &mut [&mut first, &mut second]);
    assert_eq!(epochs(&mut world), before, "nothing was taken over");
    assert!(!first.log().contains("fenced"), "{}", first.tail());

    first.kill();
    world.send(5_000);
    prove_within(&mut world, Duration::from_secs(60), &mut [&mut second]);
    second.stop();
}

/// Another program's session locks one partition's row. It is named, it lives on, and so does every other connection.
#[test]
fn a_row_that_somebody_locks_is_named_and_nothing_else_is_ended() {
    let _calm = calm();
    let mut world = World::new("locked_row", 2, 0.0);
    let source = world.send(2_000);
    let mut first = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut first]);
    first.kill();
    world.eye.query("begin");
    world.eye.query(&format!("select from footprint_ledger where source = {source} and partition = 0 for update"));
    let mut second = world.consumer();
    let reported = || second.log().contains("the row is locked by a session that is not footprint's").then_some(());
    until_or("the session that holds the lock is named", STORED, reported, || second.tail());
    // the other partition continues
    let next = |world: &mut World| world.ledger(source).iter().find(|row| row.partition == 1).map(|row| row.lowest());
    let before = next(&mut world);
    world.send(2_000);
    let goes_on = || (next(&mut world) > before).then_some(());
    until_or("partition 1 is stored", STORED, goes_on, || second.tail());
    world.eye.query("commit");
    prove_within(&mut world, Duration::from_secs(60), &mut [&mut second]);
    second.stop();
}
