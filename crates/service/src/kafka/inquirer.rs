//! A client for questions, separate from the stream of records: cluster and topic ids, watermarks, committed offsets.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition, Range};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::brokers::BrokerId;
use super::describe::{TopicDescription, describe_topic, settings_of};
use super::error::AskError;
use super::events::{ClientEvents, serve, wake};
use super::poller::Poller;
use super::probe::Probe;
use super::settings::client_config;
use crate::config::{GroupProtocol, Kafka};
use crate::report::Remedy;

/// How often a new client is woken until a broker has answered it. In a client with a group, librdkafka's main thread looks for
/// brokers before the first one is entered. It finds none, and then sleeps for a second, although the next look is due in 50
/// milliseconds (`rd_kafka_connect_any`).
const YOUNG_INTERVAL: Duration = Duration::from_millis(5);
/// The same, after no broker has answered for a while.
const OLD_INTERVAL: Duration = Duration::from_millis(100);

/// A client for questions, separate from the consumer, so that a question never disturbs the stream. Its calls block, up to their
/// timeout.
pub struct Inquirer {
    /// Serves the client's events between questions. It ends before the client does.
    _poller: Poller,
    pub(super) consumer: Arc<BaseConsumer<ClientEvents>>,
    pub(super) config: ClientConfig,
    /// The protocol of the group that is asked about.
    pub(super) group_protocol: GroupProtocol,
}

impl Inquirer {
    /// A client that joins no group.
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(kafka: &Kafka) -> Result<Self, AskError> {
        let mut config = client_config(kafka);
        // it never joins the group, but it asks for the group's committed offsets
        config
            .set("group.id", &kafka.group_id)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false");
        let consumer = BaseConsumer::from_config_and_context(&config, ClientEvents::new(&config));
        let consumer = Arc::new(consumer.map_err(|error| AskError::client(&error))?);
        let polled = Arc::clone(&consumer);
        let poller = Poller::start(move || {
            serve(&polled);
        });
        let poller = poller.map_err(AskError::no_thread)?;
        Ok(Self { _poller: poller, consumer, config, group_protocol: kafka.group_protocol })
    }

    /// What the client has reported so far.
    pub(super) fn events(&self) -> &ClientEvents {
        serve(&self.consumer)
    }

    /// The result of a question.
    pub(super) fn answer<T>(&self, what: &'static str, result: Result<T, KafkaError>) -> Result<T, AskError> {
        match result {
            Ok(answer) => {
                self.events().answered();
                Ok(answer)
            }
            Err(error) => Err(AskError::of(what, &error, self.events())),
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
                self.events().answered();
                return Ok(id);
            }
            let is_late = Instant::now() >= deadline;
            // after the timeout the last error decides, even if it came late
            let refusal = if is_late { self.events().last_refusal() } else { self.events().refusal() };
            if let Some((words, remedy)) = refusal {
                return Err(AskError::NotLetIn { what: "cluster id", source: Remedy::new(remedy, words) });
            }
            if is_late {
                return Err(AskError::unanswered("cluster id", "no answer", self.events())
                    .with_remedy("is kafka.bootstrap_servers right and the broker up?"));
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

    /// How long the topic keeps a record. None: there is no limit of time.
    ///
    /// # Errors
    /// No answer in time, or the right to describe configurations is missing.
    pub async fn retention(&self, topic: &str, timeout: Duration) -> Result<Option<Duration>, AskError> {
        let settings = settings_of(&self.config, topic, timeout).await?;
        // -1: no limit
        Ok(settings.get("retention.ms").and_then(|value| value.parse().ok()).map(Duration::from_millis))
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

    /// The topic's id and partition count, asked from the broker now (DescribeTopics, KIP-516), never from a cache.
    ///
    /// # Errors
    /// No answer in time, or no such topic.
    pub fn describe_topic(&self, topic: &str, timeout: Duration) -> Result<TopicDescription, AskError> {
        self.describe_topic_at(None, topic, timeout)
    }

    /// The same, asked from one broker, or from one that librdkafka chooses. A broker that does not know of a change yet shows
    /// the topic as it was before.
    ///
    /// # Errors
    /// No answer in time, or no such topic.
    pub fn describe_topic_at(
        &self,
        broker: Option<BrokerId>,
        topic: &str,
        timeout: Duration,
    ) -> Result<TopicDescription, AskError> {
        let answer = describe_topic(&self.consumer, broker, topic, timeout);
        match &answer {
            Ok(_) | Err(AskError::NoTopic { .. }) => self.events().answered(),
            Err(_) => {}
        }
        answer
    }

    /// The first offset of `behind` that can be read, if its start cannot. None: no offset can be read.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::report::Chain;

    /// The story: errors and log lines piled up in the client between questions, and no token was renewed.
    #[test]
    fn events_are_served_while_nothing_is_asked() {
        let mut config = Config::load(None, &[]).unwrap();
        config.kafka.bootstrap_servers = "127.0.0.1:1".into();
        let inquirer = Inquirer::new(&config.kafka).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while inquirer.consumer.context().last().is_none() {
            assert!(Instant::now() < deadline, "the client does not notice that there is no broker");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_property_that_is_refused_is_named_without_its_value() {
        let mut config = Config::load(None, &[]).unwrap();
        config.kafka.properties.insert("sasl.pasword".into(), "hunter2".into());
        let Err(error) = Inquirer::new(&config.kafka) else { panic!("there is no such property") };
        let text = Chain(&error).to_string();
        assert!(text.contains("sasl.pasword") && !text.contains("hunter2"), "{text}");
    }
}
