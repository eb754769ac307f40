//! The broker's log is damaged: a flipped bit in a batch of records. The program reports it with its place, and never takes it
//! for a gap.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::calm;
use crate::support::prove::prove;
use crate::support::stack;
use crate::support::wait::{until, until_or};
use crate::support::world::{STORED, World};

/// Rows wait as long as the test holds the lock.
const HOLD: &str = "create function hold() returns trigger language plpgsql as $$ begin \
                    perform pg_advisory_xact_lock_shared(1); return new; end $$";
/// Offset, length and so on, up to the checksum, which does not cover them.
const BATCH_HEADER_BYTES: usize = 61;
const BATCHES: usize = 5;
const BATCH_RECORDS: usize = 200;

/// The partition's only segment, with the first offset and the position of each batch in it.
fn batches(world: &World) -> (PathBuf, Vec<u8>, Vec<(i64, usize)>) {
    let directory = stack().kafka().unwrap().log_directory(&world.topic, 0);
    let path = directory.join("00000000000000000000.log");
    let log = fs::read(&path).unwrap();
    let (mut at, mut batches) = (0, Vec::new());
    while let Some(head) = log.get(at..at + 12) {
        let offset = i64::from_be_bytes(head[..8].try_into().unwrap());
        let length = i32::from_be_bytes(head[8..].try_into().unwrap());
        batches.push((offset, at));
        at += 12 + usize::try_from(length).unwrap();
    }
    (path, log, batches)
}

/// Makes a partition's first batch longer than all that follows, or as long as it was. librdkafka waits for the rest of it.
fn flip_length(world: &World, partition: u16) {
    let directory = stack().kafka().unwrap().log_directory(&world.topic, partition);
    let path = directory.join("00000000000000000000.log");
    let mut log = fs::read(&path).unwrap();
    log[9] ^= 1;
    fs::write(&path, log).unwrap();
}

/// Sends batches of records, and flips one bit of a record in the first batch that begins at or behind offset 400. Returns the
/// topic's life, the batch's offset, and where the next batch begins.
fn damaged(world: &mut World) -> (i64, i64, i64) {
    let mut source = 0;
    for _ in 0..BATCHES {
        source = world.send(BATCH_RECORDS);
    }
    let (path, mut log, batches) = batches(world);
    let place = batches.iter().position(|(offset, _)| *offset >= 400).unwrap();
    let (offset, at) = batches[place];
    log[at + BATCH_HEADER_BYTES + 20] ^= 1;
    fs::write(&path, log).unwrap();
    (source, offset, batches[place + 1].0)
}

/// The story: the claim moved past the batch, with 400 records stored of 401 claimed. The program wrote 10,000 lines a second and
/// hung, and so did `verify`.
#[test]
fn a_flipped_bit_is_a_stop_that_names_its_place() {
    let _calm = calm();
    let mut world = World::new("flipped", 1, 0.0);
    world.set("kafka.unreadable_after_ms", "4000");
    world.set("telemetry.log", "\"info\"");
    let (source, offset, _) = damaged(&mut world);
    let mut consumer = world.consumer_with(&["--until-caught-up"]);
    let status = consumer.wait(Duration::from_secs(60));
    let log = consumer.log();
    assert_eq!(status.code(), Some(1), "{log}");
    let place = format!("topic {}, partition 0: the records from offset {offset} on cannot be read", world.topic);
    assert!(log.contains(&place), "{log}");
    assert!(log.contains("CRC") && log.contains("kafka.on_unreadable_records"), "{log}");
    assert!(log.lines().count() < 60, "{} lines:\n{log}", log.lines().count());
    let rows = world.ledger(source);
    assert_eq!(
        (rows[0].claimed, rows[0].lowest()),
        (offset, offset),
        "all before it is stored, nothing past it is claimed"
    );
    assert_eq!(world.eye.count("user_footprint"), offset);

    let started = Instant::now();
    // stored rows are compared first: nothing of the damaged batch was promised, so none of it is read
    let (status, said) = world.attempt(&["verify"], Duration::from_secs(60));
    assert_eq!(status, Some(0), "{said}");
    println!("verify took {:?}", started.elapsed());
}

/// Records were stored and then damaged. `verify` cannot compare them, and says where.
#[test]
fn verify_names_the_place_that_it_cannot_read() {
    let _calm = calm();
    let mut world = World::new("flippedlater", 1, 0.0);
    let source = world.send(BATCH_RECORDS);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    let (path, mut log, batches) = batches(&world);
    let (offset, at) = *batches.last().unwrap();
    log[at + BATCH_HEADER_BYTES + 20] ^= 1;
    fs::write(&path, log).unwrap();
    let (status, said) = world.attempt(&["verify"], Duration::from_secs(30));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(&format!("partition 0 at offset {offset}")) && said.contains("CRC"), "{said}");
    assert!(said.lines().count() < 20, "{said}");
}

#[test]
fn a_flipped_bit_may_be_a_gap_where_that_is_configured() {
    let _calm = calm();
    let mut world = World::new("skipped", 1, 0.0);
    world.set("kafka.unreadable_after_ms", "2000");
    world.set("kafka.on_unreadable_records", "\"skip\"");
    let (source, offset, next) = damaged(&mut world);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let gaps = world.eye.query("select start_offset, end_offset, sink from footprint_gap");
    let gaps: Vec<(i64, i64, String)> = gaps.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(gaps, [(offset, next, "both".to_owned())]);
    let sent = i64::try_from(BATCHES * BATCH_RECORDS).unwrap();
    until("all others are stored", STORED, || {
        (world.eye.count("user_footprint") == sent - (next - offset)).then_some(())
    });
    consumer.stop();
    let (status, said) = world.attempt(&["verify"], Duration::from_secs(60));
    assert_eq!(status, Some(0), "{said}");
}

/// The story: a replay keeps its place among the four until its claims are read. So four that could not be read stopped every
/// other.
#[test]
fn replays_that_stand_without_an_error_let_others_be_read() {
    const PARTITIONS: u16 = 5;
    let _calm = calm();
    let mut world = World::new("places", PARTITIONS, 0.0);
    // a full batch for each: only four incomplete ones are under way at a time
    world.set("pipeline.batch_rows_max", &BATCH_RECORDS.to_string());
    world.eye.query(HOLD);
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    let source = world.send(usize::from(PARTITIONS) * BATCH_RECORDS);
    let mut consumer = world.consumer();
    let claimed = |world: &mut World| {
        let rows = world.ledger(source);
        let whole = rows.iter().filter(|row| row.claimed == world.oracle.end(source, row.partition));
        (whole.count() == usize::from(PARTITIONS)).then_some(())
    };
    until_or("every partition is claimed", STORED, || claimed(&mut world), || consumer.tail());
    consumer.kill();
    world.eye.query("select pg_advisory_unlock(1)");

    let damaged: Vec<i32> = (0..i32::from(PARTITIONS) - 1).collect();
    for &partition in &damaged {
        flip_length(&world, u16::try_from(partition).unwrap());
    }
    let mut consumer = world.consumer();
    let last = i32::from(PARTITIONS) - 1;
    let stored = |world: &mut World| {
        let rows = world.ledger(source);
        let next = |partition: i32| rows.iter().find(|row| row.partition == partition).map(|row| row.lowest());
        assert!(damaged.iter().all(|&partition| next(partition) == Some(0)), "they do not move: {rows:?}");
        (next(last) == Some(world.oracle.end(source, last))).then_some(())
    };
    until_or("the partition that can be read is stored", STORED, || stored(&mut world), || consumer.tail());

    for &partition in &damaged {
        flip_length(&world, u16::try_from(partition).unwrap());
    }
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// librdkafka silently drops what it has fetched, and fetches it again for ever.
#[test]
fn a_partition_that_stops_without_an_error_is_reported() {
    let _calm = calm();
    let mut world = World::new("length", 1, 0.0);
    world.set("kafka.unreadable_after_ms", "2000");
    for _ in 0..BATCHES {
        world.send(BATCH_RECORDS);
    }
    let (path, mut log, batches) = batches(&world);
    let &(offset, at) = batches.iter().find(|(offset, _)| *offset >= 400).unwrap();
    // longer than all that follows: librdkafka waits for the rest of it
    log[at + 9] ^= 1;
    fs::write(&path, log).unwrap();
    let consumer = world.consumer();
    let reported = || {
        let log = consumer.log();
        let line = log.lines().find(|line| line.contains("kafka gives nothing of the partition"))?;
        Some(line.contains(&format!("offset={offset} log_end=1000")))
    };
    assert!(until_or("it is reported", STORED, reported, || consumer.tail()));
    assert_eq!(world.eye.count("user_footprint"), offset);
}
