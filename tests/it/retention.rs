//! Kafka deletes old records under a running consumer that is behind. The gap is recorded, all other records are stored, and no
//! other partition notices.

use crate::support::calm;
use crate::support::kafka::delete_records;
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};

/// Rows wait as long as the test holds the lock.
const HOLD: &str = "create function hold() returns trigger language plpgsql as $$ begin \
                    perform pg_advisory_xact_lock_shared(1); return new; end $$";
/// One partition alone has more records than fit into the byte budget, whichever is read first.
const RECORDS: usize = 120_000;
/// Each record fills its own batches: one fetch takes a whole batch.
const SENDS: usize = 30;
/// At the end, partition 0's log starts here: behind all that was fetched, and before its end.
const KEPT_FROM: i64 = 59_000;

/// The story: one partition's offset out of range ended the ownership of every partition.
#[test]
fn records_deleted_before_they_were_read_are_a_gap_of_their_partition_alone() {
    let _calm = calm();
    let mut world = World::new("retention", 2, 0.0);
    world.set("kafka.on_lost_records", "\"skip\"");
    world.set("pipeline.budget_bytes", &(4 << 20).to_string());
    world.set("pipeline.batch_rows_max", "500");
    // little is fetched ahead
    world.set("kafka.properties", r#"{ "queued.min.messages" = "100", "fetch.message.max.bytes" = "10000" }"#);
    world.eye.query(HOLD);
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    let mut source = 0;
    for _ in 0..SENDS {
        source = world.send(RECORDS / SENDS);
    }
    let mut consumer = world.consumer();
    let is_paused = || (consumer.metric("footprint_reader_paused") == Some(1.0)).then_some(());
    until_or("reading is paused", STORED, is_paused, || consumer.tail());
    let epochs = world.epochs(source);

    delete_records(&world.topic, 0, KEPT_FROM);
    world.eye.query("select pg_advisory_unlock(1)");
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let gaps = world.eye.query("select partition, start_offset, end_offset, sink from footprint_gap");
    let gaps: Vec<(i32, i64, i64, String)> =
        gaps.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    let [(0, start, KEPT_FROM, sink)] = gaps.as_slice() else {
        panic!("one gap, up to where the log starts: {gaps:?}")
    };
    assert_eq!(sink, "both");
    for offset in *start..KEPT_FROM {
        world.oracle.logs.get_mut(&(source, 0)).unwrap()[usize::try_from(offset).unwrap()] = None;
    }
    let now = world.epochs(source);
    assert!(now[&0] > epochs[&0], "partition 0 was taken over again: {epochs:?}, {now:?}");
    assert_eq!(now[&1], epochs[&1], "and partition 1 was not");
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
