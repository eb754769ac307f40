//! The topic is deleted and created again under a running consumer. librdkafka gives no sign and reads on in the new topic at its
//! old position. Every record of the new life must be stored nevertheless, under another source.

use std::time::Duration;

use crate::support::calm;
use crate::support::prove::prove_within;
use crate::support::world::{STORED, World};

#[test]
fn a_new_life_of_the_topic_is_stored_under_its_own_source() {
    let _calm = calm();
    let mut world = World::new("replaced", 2, 0.005);
    let mut lives = vec![world.send(20_000)];
    let mut consumer = world.consumer();
    world.wait_stored(lives[0], STORED, &mut [&mut consumer]);
    // shorter, longer and much shorter than the previous life
    for count in [15_000, 30_000, 500] {
        world.recreate_topic();
        let source = world.send(count);
        assert!(!lives.contains(&source), "another life");
        lives.push(source);
        world.wait_stored(source, STORED, &mut [&mut consumer]);
    }
    prove_within(&mut world, STORED, &mut [&mut consumer]);
    let known = world.eye.query("select id from footprint_source");
    assert_eq!(known.len(), lives.len());
    consumer.stop();
}

#[test]
fn a_topic_replaced_under_load_doubles_nothing_and_the_new_life_is_whole() {
    let _calm = calm();
    let mut world = World::new("replaced_in_flight", 2, 0.005);
    world.set("pipeline.batch_rows_max", "400");
    let old = world.send(80_000);
    let mut consumer = world.consumer();
    world.wait_some(old, 1_000, &consumer);
    world.wait_claimed(old, &consumer);
    world.oracle.destroyed.insert(old);
    world.recreate_topic();
    assert!(world.stored(old) < 80_000, "replaced in the middle");
    let new = world.send(30_000);
    assert_ne!(old, new);
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
    consumer.stop();
}
