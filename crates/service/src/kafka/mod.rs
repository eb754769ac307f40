//! Kafka's client side: its configuration, and what librdkafka is asked outside the stream of records (cluster and topic
//! ids, watermarks). With the reader and commit it is all that names rdkafka's types.

pub mod again;
pub mod ear;
pub mod fetched;
mod headers;
pub mod members;
pub mod messages;
pub mod partitions;
mod probe;
pub mod queue;
pub mod trouble;

use std::ffi::{CStr, CString};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use footprint_event::route::Route;
use footprint_protocol::offset::{Offset, Partition, Range};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::bindings as sys;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use xxhash_rust::xxh3::xxh3_64;

use self::ear::Ear;
use self::probe::Probe;
use crate::config::{GroupProtocol, Kafka};
use crate::limits::{FETCH_BYTES_MAX, MESSAGES_QUEUED_MAX, PARTITION_FETCH_BYTES_MAX};

/// How often a young client is woken until a broker has answered it. Of a member of a group the main thread looks for brokers
/// before the first is entered, finds none, and then sleeps for a second, though the next look is due in 50 milliseconds
/// (`rd_kafka_connect_any`).
const YOUNG_INTERVAL: Duration = Duration::from_millis(5);
/// The same where no broker has answered for a while.
const OLD_INTERVAL: Duration = Duration::from_millis(100);

/// Settings every client of this program shares: producers, admin clients, consumers.
pub fn client_config(kafka: &Kafka) -> ClientConfig {
    config_over(kafka, &[])
}

/// `defaults`, and over them what every client shares. Settings are copied out of our own configuration alone: whatever a
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
        // connections that end are told on this level alone; the ear hears them, and logs none
        .set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in kafka.properties.iter() {
        config.set(name, value);
    }
    config
}

/// Settings of the group's consumer. The configuration's properties win, save those that [`crate::config`] refuses.
pub fn consumer_config(kafka: &Kafka, route: &Route, queue_kbytes: u32) -> ClientConfig {
    let mut config = config_over(
        kafka,
        &[
            // a fetch waits so long once the queue is full; librdkafka's default of 1000 stalls a fast reader whole seconds
            ("fetch.queue.backoff.ms", "5"),
            ("queued.max.messages.kbytes", &queue_kbytes.to_string()),
            ("queued.min.messages", &MESSAGES_QUEUED_MAX.to_string()),
            ("fetch.message.max.bytes", &PARTITION_FETCH_BYTES_MAX.to_string()),
            ("fetch.max.bytes", &FETCH_BYTES_MAX.to_string()),
            ("fetch.wait.max.ms", "100"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("statistics.interval.ms", "0"),
        ],
    );
    config
        .set("group.id", &kafka.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        // a batch that was damaged on the broker's disk is an error in place of its records, not other records
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        // once the ledger knows a partition nothing may fall back to a policy: an offset out of range is an error
        .set("auto.offset.reset", "error");
    match kafka.group_protocol {
        GroupProtocol::Classic => {
            config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", kafka.session_timeout_ms.to_string());
            // a member hears of a rebalance by its heartbeat: partitions on the move stand still until every one has heard
            if !kafka.properties.contains_key("heartbeat.interval.ms") {
                config.set("heartbeat.interval.ms", (kafka.session_timeout_ms / 12).clamp(100, 250).to_string());
            }
        }
        GroupProtocol::Consumer => {
            config.set("group.protocol", "consumer");
        }
    }
    if !kafka.instance_name.is_empty() {
        // a namesake is given the dead member's assignment as it was, without a look at what it subscribes to: started on
        // another topic it would get the old topic's partitions. So the topic is part of the name, hashed to stay short
        let topic = xxh3_64(route.topic.as_bytes()) as u32;
        config.set("group.instance.id", format!("{}-{}-{topic:08x}", kafka.instance_name, route.name));
    }
    config
}

/// Wakes librdkafka's main thread, which sleeps up to a second when it has nothing else to do: any question does.
pub fn wake<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    let _ = consumer.assignment();
}

/// Why a question to Kafka has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The client could not be made: a property is wrong.
    #[error("kafka client: {0}; look at kafka.properties")]
    Client(String),
    /// The broker did not answer in time, or refused.
    #[error("kafka: {what}: {why}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// librdkafka's words.
        why: String,
    },
    /// We are not let in, or do not let the broker in, or have no right: it would be the same next time.
    #[error("kafka: {what}: {why}; {remedy}")]
    NotLetIn {
        /// What was asked.
        what: &'static str,
        /// librdkafka's words.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The topic does not exist.
    #[error("topic {0} does not exist; create it, or set TOPIC")]
    NoTopic(String),
}

impl AskError {
    /// For a client that could not be made. The binding's own words would show a property's value, which may be a secret.
    pub fn client(error: &KafkaError) -> Self {
        Self::Client(match error {
            KafkaError::ClientConfig(_, _, name, _) => {
                format!("the property {name} is not known, or its value is none")
            }
            error => error.to_string(),
        })
    }

    /// For a question that failed with `code`, asked by the client that `ear` listens to.
    pub fn of(what: &'static str, error: &KafkaError, ear: &Ear) -> Self {
        let code = error.rdkafka_error_code();
        if let Some(remedy) = code.and_then(trouble::missing_right) {
            return Self::NotLetIn { what, why: code.map_or_else(String::new, |code| code.to_string()), remedy };
        }
        Self::unanswered(what, code.map_or_else(|| error.to_string(), |code| code.to_string()), ear)
    }

    /// For a question without an answer, `why` for short; the last error of the client says it best.
    pub fn unanswered(what: &'static str, why: impl Into<String>, ear: &Ear) -> Self {
        let why = why.into();
        match (ear.refusal(), ear.last()) {
            (Some((why, remedy)), _) => Self::NotLetIn { what, why, remedy },
            (None, Some(last)) => Self::Refused { what, why: format!("{why}: {last}") },
            (None, None) => Self::Refused { what, why },
        }
    }

    /// Whether asking again is of no use.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Client(_) | Self::NotLetIn { .. })
    }
}

/// A topic as the broker knows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Kafka's id of this life of the topic.
    pub topic_id: String,
    /// Its partitions.
    pub partition_count: i32,
}

/// A client for questions, apart from the consumer: asking never disturbs the stream. Its calls block, up to their timeout.
pub struct Inquirer {
    consumer: BaseConsumer<Ear>,
    config: ClientConfig,
    /// Of the group that is asked about.
    group_protocol: GroupProtocol,
}

impl Inquirer {
    /// A client with no group.
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(kafka: &Kafka) -> Result<Self, AskError> {
        let mut config = client_config(kafka);
        // a group is never joined, but the committed offsets of this one are asked
        config
            .set("group.id", &kafka.group_id)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false");
        let consumer = BaseConsumer::from_config_and_context(&config, Ear::default());
        let consumer = consumer.map_err(|error| AskError::client(&error))?;
        Ok(Self { consumer, config, group_protocol: kafka.group_protocol })
    }

    /// The client's ear, when it has heard all that was said.
    fn ear(&self) -> &Ear {
        listen(&self.consumer)
    }

    /// What came of a question.
    fn answer<T>(&self, what: &'static str, result: Result<T, KafkaError>) -> Result<T, AskError> {
        match result {
            Ok(answer) => {
                self.ear().answered();
                Ok(answer)
            }
            Err(error) => Err(AskError::of(what, &error, self.ear())),
        }
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// No answer in time.
    pub fn cluster_id(&self, timeout: Duration) -> Result<String, AskError> {
        let deadline = Instant::now() + timeout;
        let mut interval = YOUNG_INTERVAL;
        loop {
            if let Some(id) = self.consumer.client().fetch_cluster_id(Duration::ZERO) {
                self.ear().answered();
                return Ok(id);
            }
            let is_late = Instant::now() >= deadline;
            // what was told last decides when the time is over, however late it was told
            let refusal = if is_late { self.ear().last_refusal() } else { self.ear().refusal() };
            if let Some((why, remedy)) = refusal {
                return Err(AskError::NotLetIn { what: "cluster id", why, remedy });
            }
            if is_late {
                let why = "no answer; is kafka.bootstrap_servers right and the broker up?";
                return Err(AskError::unanswered("cluster id", why, self.ear()));
            }
            wake(&self.consumer);
            thread::sleep(interval);
            interval = (interval * 3 / 2).min(OLD_INTERVAL);
        }
    }

    /// The log's start and the last stable offset of a partition.
    ///
    /// # Errors
    /// No answer in time.
    pub fn watermarks(
        &self,
        topic: &str,
        partition: Partition,
        timeout: Duration,
    ) -> Result<(Offset, Offset), AskError> {
        self.answer("watermarks", self.consumer.fetch_watermarks(topic, partition, timeout))
    }

    /// What the group committed for a partition: the offset and its metadata.
    ///
    /// # Errors
    /// No answer in time.
    pub fn committed(
        &self,
        topic: &str,
        partition: Partition,
        timeout: Duration,
    ) -> Result<Option<(Offset, String)>, AskError> {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition(topic, partition);
        const WHAT: &str = "committed offsets";
        let list = self.answer(WHAT, self.consumer.committed_offsets(list, timeout))?;
        let Some(found) = list.find_partition(topic, partition) else { return Ok(None) };
        self.answer(WHAT, found.error())?;
        Ok(match found.offset() {
            rdkafka::Offset::Offset(offset) => Some((offset, found.metadata().to_owned())),
            _ => None,
        })
    }

    /// The topic's id and partition count, asked of the broker now (DescribeTopics, KIP-516), never from a cache.
    ///
    /// # Errors
    /// No answer in time, or no such topic.
    pub fn describe_topic(&self, topic: &str, timeout: Duration) -> Result<TopicDescription, AskError> {
        let answer = describe_topic(&self.consumer, topic, timeout);
        match &answer {
            Ok(_) | Err(AskError::NoTopic(_)) => self.ear().answered(),
            Err(_) => {}
        }
        answer
    }

    /// The first offset of `behind` that can be read, where its start cannot; none where none can.
    ///
    /// # Errors
    /// No answer in time.
    pub fn first_readable(
        &self,
        topic: &str,
        partition: Partition,
        behind: Range,
        timeout: Duration,
    ) -> Result<Option<Offset>, AskError> {
        Probe { config: &self.config, topic, partition, deadline: Instant::now() + timeout }.first_readable(behind)
    }
}

/// Polls by which a client's events are served: one takes one, and some say that there was none.
const EVENTS_SERVED_MAX: usize = 64;

/// A client's errors come by its queue, and are heard when that is served.
fn listen(consumer: &BaseConsumer<Ear>) -> &Ear {
    for _ in 0..EVENTS_SERVED_MAX {
        let _ = consumer.poll(Duration::ZERO); // an error: the ear has heard it
    }
    consumer.context()
}

/// Errors of connections, which come by the same queue as those in place of messages; no record is left out by them.
pub fn is_of_the_client(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
    )
}

/// The topic's `message.timestamp.type`: whose clock a record's time is.
///
/// # Errors
/// No answer in time, or the right to describe configurations is missing.
pub async fn topic_timestamp_type(kafka: &Kafka, topic: &str, timeout: Duration) -> Result<String, AskError> {
    const WHAT: &str = "topic configuration";
    let refused = |why: String| AskError::Refused { what: WHAT, why };
    let admin: AdminClient<Ear> = AdminClient::from_config_and_context(&client_config(kafka), Ear::default())
        .map_err(|error| AskError::client(&error))?;
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let topics = [ResourceSpecifier::Topic(topic)];
    let asking = admin.describe_configs(&topics, &options);
    let answers = tokio::time::timeout(timeout, asking)
        .await
        .map_err(|_| refused("no answer in time".into()))?
        .map_err(|error| refused(error.to_string()))?;
    for answer in answers {
        let resource = answer.map_err(|code| refused(code.to_string()))?;
        if let Some(value) = resource.get("message.timestamp.type").and_then(|entry| entry.value.clone()) {
            return Ok(value);
        }
    }
    Err(refused("an answer without it".into()))
}

/// What is asked most.
const DESCRIBE: &str = "describe topic";

/// The binding has no DescribeTopics, so librdkafka's C interface is called. Every object made here is destroyed here.
#[allow(unsafe_code)]
fn describe_topic(consumer: &BaseConsumer<Ear>, topic: &str, timeout: Duration) -> Result<TopicDescription, AskError> {
    let name = CString::new(topic).map_err(|_| AskError::NoTopic(topic.to_owned()))?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle lives as long as `consumer`; names, options, queue and event are destroyed below by their own
    // destroyers, in reverse order of making, and nothing borrowed from the event outlives it.
    unsafe {
        let handle = consumer.client().native_ptr();
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let options =
            sys::rd_kafka_AdminOptions_new(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(handle);
        sys::rd_kafka_DescribeTopics(handle, topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1_000));
        let answer = if event.is_null() {
            Err(AskError::unanswered(DESCRIBE, "no answer in time", listen(consumer)))
        } else {
            read_description(event, topic, listen(consumer))
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        answer
    }
}

/// # Safety
/// `event` is a live event of librdkafka.
#[allow(unsafe_code)]
unsafe fn read_description(
    event: *mut sys::rd_kafka_event_t,
    topic: &str,
    ear: &Ear,
) -> Result<TopicDescription, AskError> {
    let refused = |why: String| AskError::Refused { what: DESCRIBE, why };
    let failed = |code: sys::rd_kafka_resp_err_t| AskError::of(DESCRIBE, &KafkaError::Global(code.into()), ear);
    // SAFETY: the caller's event is alive; what is read from it is copied before returning.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(code));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(refused("an answer of another kind".into()));
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count != 1 {
            return Err(refused("an answer without the topic".into()));
        }
        let description = *topics;
        let code = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(description));
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => {
                return Err(AskError::NoTopic(topic.to_owned()));
            }
            other => return Err(failed(other)),
        }
        let id = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(description));
        if id.is_null() {
            return Err(refused("the broker gave no topic id; footprint needs Kafka 3.1 or later".into()));
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(description, &raw mut partitions);
        Ok(TopicDescription {
            topic_id: CStr::from_ptr(id).to_string_lossy().into_owned(),
            partition_count: i32::try_from(partitions).unwrap_or(i32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// The consumer's settings were copied out of a view in which every secret reads "[sanitized for safety]": with the right
    /// password only `check` could log in.
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

    #[test]
    fn a_property_that_is_refused_is_named_without_its_value() {
        let mut config = Config::load(None, &[]).unwrap();
        config.kafka.properties.insert("sasl.pasword".into(), "hunter2".into());
        let Err(error) = Inquirer::new(&config.kafka) else { panic!("there is no such property") };
        let text = error.to_string();
        assert!(text.contains("sasl.pasword") && !text.contains("hunter2"), "{text}");
    }

    /// Started again on another topic while its dead self was still a member, a consumer was given the old topic's
    /// partitions and took their numbers for its own topic's. Found by `cargo kills`: when another consumer joined, both
    /// held the same partitions and took them over from each other without end; the ledger kept every row single.
    #[test]
    fn a_named_member_has_another_name_on_another_topic() {
        let config = Config::load(None, &[]).unwrap();
        let kafka = Kafka { instance_name: "one".into(), ..config.kafka };
        let name = |topic: &str| {
            let route = Route { topic: topic.into(), ..config.routes[0].clone() };
            consumer_config(&kafka, &route, 1_024).get("group.instance.id").map(str::to_owned)
        };
        assert!(name("visits").is_some_and(|name| name.starts_with("one-user_footprint-")));
        assert_eq!(name("visits"), name("visits"), "a restart is let in at once");
        assert_ne!(name("visits"), name("clicks"));
    }
}
