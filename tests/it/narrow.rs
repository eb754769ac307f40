//! Earlier claims that together need more memory than the byte budget. Such a range cannot be cut, so the whole range must be in
//! memory before it can be written.

use std::time::Duration;

use crate::support::prove::prove_within;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{alone, stack};

const PARTITIONS: u16 = 6;
/// The rows of a full batch. As columns they take about 3 MB of a budget of 4 MiB, with their wire form.
const BATCH_ROWS: usize = 20_000;

/// The story: every partition's claim was read again a little, until the parts together had spent the budget. None could be given
/// to the writers, so none released a byte, and the consumer stopped for ever.
#[test]
fn claims_that_no_budget_holds_together_are_all_read_again() {
    let _alone = alone();
    let mut world = World::new("narrow", PARTITIONS, 0.0);
    world.set("pipeline.batch_rows_max", &BATCH_ROWS.to_string());
    let source = world.send(100);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);

    let clickhouse = stack().clickhouse().unwrap();
    clickhouse.pause().unwrap();
    world.send(usize::from(PARTITIONS) * BATCH_ROWS * 3);
    let wide = |world: &mut World| {
        let rows = world.ledger(source);
        (rows.iter().filter(|row| row.pending() >= 2).count() == usize::from(PARTITIONS)).then_some(())
    };
    until_or("every partition has claimed a full batch", STORED, || wide(&mut world), || consumer.tail());
    consumer.kill();
    clickhouse.resume().unwrap();

    world.set("pipeline.budget_bytes", &(4 << 20).to_string());
    let mut narrow = world.consumer();
    prove_within(&mut world, Duration::from_secs(120), &mut [&mut narrow]);
    narrow.stop();
}
