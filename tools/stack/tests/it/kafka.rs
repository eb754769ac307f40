//! Kafka keeps its topics and records through a kill, a pause and a stop.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::support::{kafka, runs};

fn end_offset(bootstrap: &str, topic: &str, limit: Duration) -> Option<i64> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    client.fetch_watermarks(topic, 0, limit).ok().map(|(_, end)| end)
}

#[test]
fn records_survive_kill_pause_and_stop() {
    let kafka = kafka();
    let (topic, patience) = ("life", Duration::from_secs(20));
    kafka.create_topic(topic, 3, &[("segment.bytes", "1048576")]).expect("created");
    kafka.create_topic(topic, 3, &[]).expect_err("it is there already");
    assert_eq!(kafka.partition_count(topic).expect("asked"), Some(3));
    kafka.delete_topic(topic).expect("deleted");
    assert_eq!(kafka.partition_count(topic).expect("asked"), None);

    kafka.create_topic(topic, 1, &[]).expect("created again");
    kafka.console_producer(topic, "one\ntwo\nthree\n").expect("sent");
    assert_eq!(end_offset(kafka.bootstrap(), topic, patience), Some(3));

    let first = kafka.pid().expect("it runs");
    kafka.kill().expect("killed");
    assert!(!runs(first));
    kafka.pid().expect_err("it does not run");
    kafka.restart().expect("restarted");
    assert_eq!(end_offset(kafka.bootstrap(), topic, patience), Some(3), "after a kill");

    kafka.pause().expect("paused");
    assert_eq!(end_offset(kafka.bootstrap(), topic, Duration::from_millis(500)), None, "while paused");
    kafka.resume().expect("resumed");
    assert_eq!(end_offset(kafka.bootstrap(), topic, patience), Some(3), "after a pause");

    kafka.stop().expect("stopped cleanly");
    kafka.restart().expect("restarted");
    kafka.console_producer(topic, "four\n").expect("sent");
    assert_eq!(end_offset(kafka.bootstrap(), topic, patience), Some(4), "after a stop");
}

#[test]
fn the_console_producers_failure_is_seen() {
    let error = kafka().console_producer("no-such-topic", "lost\n").expect_err("there is no such topic");
    assert!(error.to_string().contains("no-such-topic"), "{error}");
}
