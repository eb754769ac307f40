//! The byte budget holds whatever the values are.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::kafka::client_config;
use crate::support::wait::until_or;
use crate::support::world::World;
use crate::support::{calm, stack};

/// Peak resident memory at the default budget, KiB.
const PEAK_KIB_MAX: u64 = 300 << 10;
const STORED: Duration = Duration::from_secs(180);

/// Sends `count` records, to each partition of each topic in turn.
fn send(topics: &[String], partitions: u16, count: usize, payload: impl Fn(usize) -> String) {
    let mut config = client_config();
    config
        .set("message.max.bytes", "100000000")
        .set("queue.buffering.max.kbytes", "131072")
        .set("message.timeout.ms", "120000");
    let producer: BaseProducer = config.create().unwrap();
    for number in 0..count {
        let payload = payload(number);
        let partition = i32::try_from(number / topics.len() % usize::from(partitions)).unwrap();
        let mut record =
            BaseRecord::<(), str>::to(&topics[number % topics.len()]).partition(partition).payload(&payload);
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(5));
            record = again;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(120)).unwrap();
}

/// A consumer of `routes` routes stores that many records. Returns its peak resident memory, KiB.
fn peak_kib(name: &str, partitions: u16, routes: usize, records: usize, payload: impl Fn(usize) -> String) -> u64 {
    let _calm = calm();
    let mut world = World::without_tables(name, partitions, 0.0);
    let unique = world.topic.replace('-', "_");
    world.further_routes = (1..routes).map(|number| format!("{unique}_{number}")).collect();
    let config = [("retention.ms", "-1"), ("max.message.bytes", "100000000")];
    for topic in &world.further_routes {
        stack().kafka().unwrap().create_topic(topic, partitions, &config).unwrap();
    }
    world.command(&["migrate"]);
    let topics = [std::slice::from_ref(&world.topic), &world.further_routes].concat();
    send(&topics, partitions, records, payload);
    let mut consumer = world.consumer();
    let wanted = i64::try_from(records).unwrap();
    let mut is_stored = || {
        let stored: i64 = world.eye.ledger().iter().map(|row| row.lowest()).sum();
        (stored == wanted).then_some(())
    };
    until_or("everything is stored", STORED, &mut is_stored, || consumer.tail());
    let peak = consumer.peak_memory_kib();
    println!("peak {} MiB", peak >> 10);
    consumer.stop();
    peak
}

fn assert_bounded(peak_kib: u64, bound_kib: u64) {
    assert!(peak_kib < bound_kib, "peak {peak_kib} KiB, allowed are {bound_kib}");
}

/// A text of 1,440 bytes in the low-cardinality column. No other event has the same.
fn unique_text(number: usize) -> String {
    let method = format!("{number:08}").repeat(180);
    format!(r#"{{"link":"/","method":"{method}","footprint_time":1714953600}}"#)
}

/// The story: the dictionary of a low-cardinality column was built as a whole. It was a copy of all distinct texts of a batch,
/// and grew by doubling, in each lane at the same time.
#[test]
fn long_unique_texts_in_a_low_cardinality_column_cost_no_more_than_the_budget() {
    assert_bounded(peak_kib("dictionary", 1, 1, 200_000, unique_text), PEAK_KIB_MAX);
}

#[test]
fn two_hundred_partitions_cost_no_more_than_the_budget() {
    assert_bounded(peak_kib("partitions", 200, 1, 200_000, unique_text), PEAK_KIB_MAX);
}

#[test]
fn three_routes_cost_no_more_than_the_budget() {
    assert_bounded(peak_kib("routes", 4, 3, 200_000, unique_text), PEAK_KIB_MAX);
}

/// A dead letter keeps its payload, larger than a record may be.
#[test]
fn large_dead_letters_cost_no_more_than_the_budget() {
    let large = "x".repeat(1_500_000);
    let peak = peak_kib("letters", 1, 1, 200, |number| format!("{number} {large}"));
    assert_bounded(peak, PEAK_KIB_MAX);
}

/// docs/guarantees.md: a record above 1 MiB costs up to five times its size for a moment, in addition to everything else.
#[test]
fn records_of_forty_megabytes_cost_five_times_one_of_them() {
    const BYTES: usize = 40 << 20;
    let huge = "x".repeat(BYTES);
    let peak = peak_kib("huge", 1, 1, 6, |number| format!("{number} {huge}"));
    assert_bounded(peak, PEAK_KIB_MAX + 5 * (BYTES as u64 >> 10));
}
