//! The byte budget holds whatever the values are.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::calm;
use crate::support::consumer::Consumer;
use crate::support::kafka::client_config;
use crate::support::wait::until_or;
use crate::support::world::World;

/// Peak resident memory at the default budget, KiB.
const PEAK_KIB_MAX: u64 = 300 << 10;
const STORED: Duration = Duration::from_secs(180);

fn send(world: &World, count: usize, payload: impl Fn(usize) -> String) {
    let mut config = client_config();
    config
        .set("message.max.bytes", "8000000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("message.timeout.ms", "120000");
    let producer: BaseProducer = config.create().unwrap();
    for number in 0..count {
        let payload = payload(number);
        let mut record = BaseRecord::<(), str>::to(&world.topic).partition(0).payload(&payload);
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(5));
            record = again;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(120)).unwrap();
}

fn wait_stored(world: &mut World, count: usize, consumer: &Consumer) {
    let source = world.source();
    let count = i64::try_from(count).unwrap();
    until_or("everything is stored", STORED, || (world.stored(source) == count).then_some(()), || consumer.tail());
}

/// The story: the dictionary of a low-cardinality column was made as a whole, a copy of each of a batch's texts, which grew by
/// doubling, in each lane at once.
#[test]
fn long_unique_texts_in_a_low_cardinality_column_cost_no_more_than_the_budget() {
    const RECORDS: usize = 200_000;
    let _calm = calm();
    let mut world = World::new("dictionary", 1, 0.0);
    send(&world, RECORDS, |number| {
        let method = format!("{number:08}").repeat(180);
        format!(r#"{{"link":"/","method":"{method}","footprint_time":1714953600}}"#)
    });
    let mut consumer = world.consumer();
    wait_stored(&mut world, RECORDS, &consumer);
    let peak = consumer.peak_memory_kib();
    println!("peak {} MiB", peak >> 10);
    assert!(peak < PEAK_KIB_MAX, "peak {peak} KiB");
    consumer.stop();
}

/// A dead letter keeps its payload, larger than a record may be.
#[test]
fn large_dead_letters_cost_no_more_than_the_budget() {
    const RECORDS: usize = 200;
    let _calm = calm();
    let mut world = World::new("letters", 1, 0.0);
    let large = "x".repeat(1_500_000);
    send(&world, RECORDS, |number| format!("{number} {large}"));
    let mut consumer = world.consumer();
    wait_stored(&mut world, RECORDS, &consumer);
    let peak = consumer.peak_memory_kib();
    println!("peak {} MiB", peak >> 10);
    assert!(peak < PEAK_KIB_MAX, "peak {peak} KiB");
    consumer.stop();
}
