//! The lanes write side by side: a stuck transaction of one partition delays no partition of another lane.

use crate::support::calm;
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};

/// Rows of partition 0 wait as long as the test holds the lock.
const HOLD: &str = "create function hold() returns trigger language plpgsql as $$ begin \
                    if new.kafka_partition = 0 then perform pg_advisory_xact_lock_shared(1); end if; return new; end $$";

#[test]
fn a_transaction_that_is_held_up_holds_up_its_own_lane_alone() {
    let _calm = calm();
    let mut world = World::new("lanes", 2, 0.0);
    world.set("pipeline.lanes", "2");
    let source = world.send(1_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);

    world.eye.query(HOLD);
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    world.send(10_000);
    let ends = [0, 1].map(|partition| world.oracle.end(source, partition));
    let held = |world: &mut World| {
        let waits = !world.eye.query("select 1 from pg_locks where locktype = 'advisory' and not granted").is_empty();
        let nexts: Vec<Option<i64>> = world.ledger(source).iter().map(|row| row.postgres_next).collect();
        (waits && nexts[0] < Some(ends[0]) && nexts[1] == Some(ends[1])).then_some(())
    };
    until_or("partition 1 is stored while 0 is stuck", STORED, || held(&mut world), || consumer.tail());

    world.eye.query("select pg_advisory_unlock(1)");
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// The story: a lane's partitions were claimed all together or not at all. With more of them than the capacity of a writer's
/// channel they were never claimed: 6,100 of 70,000 records were stored, and /readyz said ready.
#[test]
fn a_lane_may_have_more_partitions_than_its_writers_take_batches() {
    const PARTITIONS: u16 = 70;
    let _calm = calm();
    let mut world = World::new("many", PARTITIONS, 0.0);
    world.set("pipeline.lanes", "1");
    world.set("pipeline.batch_rows_max", "50");
    let records = 500 * usize::from(PARTITIONS);
    let source = world.send(records);
    world.eye.query(&HOLD.replace("if new.kafka_partition = 0 then", "if true then"));
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    let mut consumer = world.consumer();
    let is_read = || (consumer.metric("footprint_reader_records_total") == Some(records as f64)).then_some(());
    until_or("every partition has batches that wait", STORED, is_read, || consumer.tail());
    world.eye.query("select pg_advisory_unlock(1)");
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// The story: a claim that waited for a writer's commit on the same row returned nothing, and was taken for a fence. A consumer
/// that was alone took its partitions over again several times a second. PostgreSQL checks a row again if it changed meanwhile,
/// and found no match because the update joined two lists.
#[test]
fn an_owner_that_is_alone_is_never_fenced() {
    let _calm = calm();
    let mut world = World::new("alone", 4, 0.0);
    world.set("pipeline.batch_rows_max", "100");
    let source = world.send(40_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let epochs: Vec<i64> = world.epochs(source).into_values().collect();
    assert_eq!(epochs, [1; 4], "{}", consumer.tail());
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
