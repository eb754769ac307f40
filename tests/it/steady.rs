//! No fault: a topic is drained, a stop under load is clean, and the rest is stored after it.

use std::time::Duration;

use crate::support::calm;
use crate::support::prove::{prove, prove_tables, prove_within};
use crate::support::world::{STORED, World};

#[test]
fn a_topic_is_drained_and_what_is_new_follows() {
    let _calm = calm();
    let mut world = World::new("steady", 3, 0.01);
    let source = world.send(60_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
    prove_tables(&mut world);
}

#[test]
fn a_stop_under_load_drains_and_what_is_committed_is_stored() {
    let _calm = calm();
    let mut world = World::new("stop", 2, 0.01);
    // small batches, so that the backlog lasts long enough to be stopped in the middle
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(100_000);
    let mut consumer = world.consumer();
    world.wait_some(source, 2_000, &consumer);
    consumer.stop();

    let stored = world.stored(source);
    assert!((2_000..100_000).contains(&stored), "stopped in the middle: {stored}");
    let ledger = world.ledger(source);
    for row in &ledger {
        assert_eq!((row.pending(), row.lowest()), (0, row.claimed), "drained: {row:?}");
    }
    let committed = world.committed();
    for (partition, (offset, mark)) in &committed {
        let row =
            ledger.iter().find(|row| row.partition == *partition).expect("a committed partition is in the ledger");
        assert_eq!(*offset, row.lowest(), "all that is stored is committed, nothing else");
        assert_eq!(*mark, format!("footprint {source}"));
    }
    assert_eq!(committed.len(), 2);

    let mut consumer = world.consumer();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
}
