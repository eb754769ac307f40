//! Another process finishes the claims of one that died, or of one that is only frozen and wakes too late.

use std::time::Duration;

use crate::support::calm;
use crate::support::consumer::Consumer;
use crate::support::prove::prove_within;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};

fn world(name: &str) -> (World, i64) {
    let mut world = World::new(name, 1, 0.005);
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(60_000);
    (world, source)
}

/// Waits until another process than `before` owns the partition.
fn wait_other_owner(world: &mut World, source: i64, before: u64, consumer: &Consumer) {
    let other = || world.owners(source).iter().all(|&owner| owner != before).then_some(());
    until_or("another owner", STORED, other, || consumer.tail());
}

#[test]
fn a_waiting_consumer_finishes_the_claims_of_one_that_died() {
    let _calm = calm();
    let (mut world, source) = world("died");
    let mut first = world.consumer();
    world.wait_some(source, 1_000, &first);
    let owner = *world.owners(source).first().unwrap();
    // there is one partition, so the second has none until the first is gone
    let mut second = world.consumer();
    let pending = world.wait_claimed(source, &first);
    first.kill();
    let row = world.ledger(source).remove(0);
    println!("killed with {pending} claims pending, now {}", row.pending());
    assert!(row.pending() > 0 && row.claimed < 60_000, "killed in mid-batch: {row:?}");
    wait_other_owner(&mut world, source, owner, &second);
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut second]);
    second.stop();
}

#[test]
fn a_frozen_consumer_that_comes_back_is_fenced() {
    let _calm = calm();
    let (mut world, source) = world("frozen");
    let mut first = world.consumer();
    world.wait_some(source, 1_000, &first);
    world.wait_claimed(source, &first);
    first.signal(libc::SIGSTOP);
    let row = world.ledger(source).remove(0);
    assert!(row.pending() > 0 && row.claimed < 60_000, "frozen in mid-batch: {row:?}");
    let owner = *world.owners(source).first().unwrap();
    let mut second = world.consumer();
    wait_other_owner(&mut world, source, owner, &second);
    let at = world.stored(source);
    world.wait_some(source, at + 1_000, &second);

    let before = first.log().len();
    first.signal(libc::SIGCONT);
    let fenced = || {
        let log = first.log();
        let said = &log[before..];
        ["fenced", "lost=true", "taking over again"].iter().any(|word| said.contains(word)).then_some(())
    };
    until_or("the frozen consumer is fenced", STORED, fenced, || first.tail());
    // the old owner can come back only by a new take-over
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut first, &mut second]);
    let epoch = world.ledger(source)[0].epoch;
    assert!(epoch > row.epoch, "taken over: {epoch}");
    first.stop();
    second.stop();
}
