//! Every kind of bad record, many of them: each becomes one dead letter with its payload, none stops the stream.

use std::collections::BTreeSet;

use crate::support::calm;
use crate::support::prove::prove;
use crate::support::world::{STORED, World};

#[test]
fn every_kind_of_bad_record_becomes_a_dead_letter() {
    let _calm = calm();
    let mut world = World::new("bad", 2, 0.04);
    let source = world.send(50_000);
    let sent = world.oracle.logs.values().flatten().flatten();
    let kinds: BTreeSet<&str> = sent.filter_map(|sent| sent.fault).collect();
    assert_eq!(kinds.len(), 13, "every kind was sent: {kinds:?}");
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let stored = world.eye.query("select distinct split_part(reason, ':', 1) from dead_letters");
    assert_eq!(stored.iter().map(|row| row.get(0)).collect::<BTreeSet<&str>>(), kinds);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
