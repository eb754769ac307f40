//! A PostgreSQL that is slow to take partitions over. The story: all take-overs of a topic began at once on one connection, and
//! the limit of each counted its wait for the others. With many partitions none ever ended.

use std::time::Duration;

use crate::support::calm;
use crate::support::prove::prove_within;
use crate::support::world::{STORED, World};

/// Partitions whose take-overs each hold the ledger's connection for [`HELD_S`]. Together that is longer than a statement may
/// wait (20 s).
const PARTITIONS: u16 = 100;
const HELD_S: f64 = 0.25;

#[test]
fn many_partitions_are_taken_over_on_a_slow_ledger() {
    let _calm = calm();
    let mut world = World::new("slow_ledger", PARTITIONS, 0.0);
    let source = world.send(5_000);
    let mut first = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut first]);
    first.stop();
    let slow = format!(
        "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep({HELD_S}); return new; end $$"
    );
    world.eye.query(&slow);
    world.eye.query(
        "create trigger slow before update on footprint_ledger for each row when (old.epoch <> new.epoch) \
         execute function slow()",
    );
    world.send(5_000);
    let mut second = world.consumer();
    prove_within(&mut world, Duration::from_secs(120), &mut [&mut second]);
    assert!(!second.log().contains("every partition is taken over"), "{}", second.tail());
    second.stop();
}
