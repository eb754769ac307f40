//! The configuration of each Kafka client.

use footprint_event::route::Route;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::{GroupProtocol, Kafka};
use crate::limits::{FETCH_BYTES_MAX, MESSAGES_QUEUED_MAX, PARTITION_FETCH_BYTES_MAX};

/// The settings that every client of this program shares: producers, admin clients, consumers.
pub fn client_config(kafka: &Kafka) -> ClientConfig {
    config_over(kafka, &[])
}

/// `defaults`, overridden by the settings that every client shares. They are copied only from our own configuration: what a
/// `ClientConfig` shows is for people, with every secret replaced.
pub fn config_over(kafka: &Kafka, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("client.id", "footprint")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000")
        // only at this level does librdkafka report the end of a connection; `events.rs` keeps these lines and logs none
        .set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in kafka.properties.iter() {
        config.set(name, value);
    }
    config
}

/// How often the consumer counts for /metrics what it knows of its brokers. It costs less than a millisecond.
const STATISTICS_INTERVAL_MS: &str = "5000";

/// Settings of the group's consumer. The configuration's properties win, except those that [`crate::config`] refuses.
pub fn consumer_config(kafka: &Kafka, route: &Route, queue_kbytes: u32) -> ClientConfig {
    let mut config = config_over(
        kafka,
        &[
            // a fetch waits this long after the queue was full; librdkafka's default of 1000 stops a fast reader for whole
            // seconds
            ("fetch.queue.backoff.ms", "5"),
            ("queued.max.messages.kbytes", &queue_kbytes.to_string()),
            ("queued.min.messages", &MESSAGES_QUEUED_MAX.to_string()),
            ("fetch.message.max.bytes", &PARTITION_FETCH_BYTES_MAX.to_string()),
            ("fetch.max.bytes", &FETCH_BYTES_MAX.to_string()),
            ("fetch.wait.max.ms", "100"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("statistics.interval.ms", STATISTICS_INTERVAL_MS),
        ],
    );
    config
        .set("group.id", &kafka.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        // a batch that was damaged on the broker's disk must be an error in place of its records, and never other records
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        // once the ledger knows a partition, no policy may apply: an offset out of range is an error
        .set("auto.offset.reset", "error");
    match kafka.group_protocol {
        GroupProtocol::Classic => {
            config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", kafka.session_timeout_ms.to_string());
            // a member learns of a rebalance by its heartbeat, and partitions that move wait until every member knows
            if !kafka.properties.contains_key("heartbeat.interval.ms") {
                config.set("heartbeat.interval.ms", (kafka.session_timeout_ms / 12).clamp(100, 250).to_string());
            }
        }
        GroupProtocol::Consumer => {
            config.set("group.protocol", "consumer");
        }
    }
    if !kafka.instance_name.is_empty() {
        // a member with the same name gets the dead member's assignment unchanged, whatever it subscribes to. Started on another
        // topic it would get the old topic's partitions. So the topic is part of the name, hashed to keep it short
        let topic = xxh3_64(route.topic.as_bytes()) as u32;
        config.set("group.instance.id", format!("{}-{}-{topic:08x}", kafka.instance_name, route.name));
    }
    config
}

/// The name and version of Kafka's client.
pub fn client_version() -> String {
    format!("librdkafka {}", rdkafka::util::get_rdkafka_version().1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// The story: the consumer's settings were copied from a view in which every secret reads "[sanitized for safety]". With the
    /// right password only `check` could log in.
    #[test]
    fn a_secret_reaches_the_client_as_it_is() {
        let mut config = Config::load(None, &[]).unwrap();
        for name in ["sasl.password", "ssl.key.password", "ssl.keystore.password", "sasl.oauthbearer.client.secret"] {
            config.kafka.properties.insert(name.into(), format!("the {name}"));
        }
        for client in [client_config(&config.kafka), consumer_config(&config.kafka, &config.routes[0], 1_024)] {
            for (name, value) in config.kafka.properties.iter() {
                assert_eq!(client.get(name), Some(value.as_str()));
            }
        }
        assert!(!format!("{config:?}").contains("the sasl"), "no log shows it");
    }

    /// The settings that exactly-once relies on. No test that stores records can check them while the broker's disk is sound.
    #[test]
    fn a_consumer_checks_what_it_reads_and_never_decides_where_to_read() {
        let config = Config::load(None, &[]).unwrap();
        let consumer = consumer_config(&config.kafka, &config.routes[0], 1_024);
        for (name, value) in [
            ("check.crcs", "true"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "error"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
        ] {
            assert_eq!(consumer.get(name), Some(value), "{name}");
        }
    }

    /// The story, found by `cargo kills`: a consumer was started again on another topic while its dead self was still a member.
    /// It got the old topic's partitions and took their numbers for its own topic's. When another consumer joined, both had the
    /// same partitions and took them over from each other without end. The ledger kept every row single.
    #[test]
    fn a_named_member_has_another_name_on_another_topic() {
        let config = Config::load(None, &[]).unwrap();
        let kafka = Kafka { instance_name: "one".into(), ..config.kafka };
        let name = |topic: &str| {
            let route = Route { topic: topic.into(), ..config.routes[0].clone() };
            consumer_config(&kafka, &route, 1_024).get("group.instance.id").map(str::to_owned)
        };
        assert!(name("visits").is_some_and(|name| name.starts_with("one-user_footprint-")));
        assert_eq!(name("visits"), name("visits"), "a restarted member joins at once");
        assert_ne!(name("visits"), name("clicks"));
    }
}
