//! Reads a record once more by its place. A row that a database refused becomes a dead letter with the record's own key, payload
//! and headers, and a batch keeps only columns. The reader assigns and never joins a group, and commits nothing. It is made only
//! when there is a record to read, so a batch that is stored at once costs nothing. Its calls block, up to their timeout.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_event::record::Headers as _;
use footprint_event::route::Route;
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::{Offset, Partition};
use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message as _;

use super::brokers::Brokers;
use super::events::{ClientEvents, serve};
use super::headers::MessageHeaders;
use super::poller::Poller;
use super::trouble::{InPlace, in_place_of_messages, is_of_the_client};
use super::{AskError, Inquirer, consumer_config, source_id};
use crate::config::Kafka;

/// Names the question in errors.
const WHAT: &str = "a record read again";
/// How long one poll waits.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);
/// How long after one record the next one may be asked for. After that, fetching stops.
const REST_AFTER: Duration = Duration::from_secs(1);
/// What librdkafka may fetch ahead, KiB: usually only one record is wanted, and seldom its neighbours.
const QUEUE_KBYTES: u32 = 1_024;
/// Records that are skipped to reach the next one wanted. If it is farther away, it is fetched directly.
const PASSED_MAX: Offset = 500;

/// The parts of a record that a batch does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Kafka's timestamp, milliseconds since the epoch. -1: there is none.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its payload.
    pub payload: Option<Vec<u8>>,
    /// Its headers as JSON text, or empty.
    pub headers: Vec<u8>,
}

/// Reads records of one topic again.
pub struct Rereader {
    /// Stops the fetching between questions. It ends before the client does.
    _poller: Poller,
    assignment: Arc<Mutex<Assignment>>,
    inquirer: Inquirer,
}

struct Assignment {
    consumer: BaseConsumer<ClientEvents>,
    topic: String,
    /// Where the consumer is, if it is assigned.
    at: Option<(Partition, Offset)>,
    read_at: Instant,
    /// The brokers that gave records since the last question for the topic.
    brokers: Brokers,
}

impl Rereader {
    /// A reader of the route's topic. Asks nothing yet.
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn new(kafka: &Kafka, route: &Route) -> Result<Self, AskError> {
        let mut config = consumer_config(kafka, route, QUEUE_KBYTES);
        config.remove("group.instance.id");
        config.set("queued.min.messages", "1");
        let consumer = BaseConsumer::from_config_and_context(&config, ClientEvents::new(&config));
        let consumer = consumer.map_err(|error| AskError::client(&error))?;
        let assignment = Assignment {
            consumer,
            topic: route.topic.clone(),
            at: None,
            read_at: Instant::now(),
            brokers: Brokers::default(),
        };
        let assignment = Arc::new(Mutex::new(assignment));
        let rested = Arc::clone(&assignment);
        let poller = Poller::start(move || {
            // locked: a record is being read, and that polls too
            if let Some(mut assignment) = rested.try_lock() {
                assignment.rest();
            }
        });
        let poller = poller.map_err(AskError::no_thread)?;
        Ok(Self { _poller: poller, assignment, inquirer: Inquirer::new(kafka)? })
    }

    /// The source of the topic's present life. Either the records read before belong to it, or the topic was created again
    /// meanwhile. Each broker that gave a record is asked itself, because another may not know of a new life.
    ///
    /// # Errors
    /// No answer in time, no such topic, or brokers that name different lives.
    pub fn source(&self, timeout: Duration) -> Result<SourceId, AskError> {
        let cluster_id = self.inquirer.cluster_id(timeout)?;
        let (topic, brokers) = {
            let assignment = self.assignment.lock();
            (assignment.topic.clone(), assignment.brokers.clone())
        };
        let any = brokers.is_empty().then_some(None);
        let mut found: Option<String> = None;
        for broker in brokers.iter().map(Some).chain(any) {
            let topic_id = self.inquirer.describe_topic_at(broker, &topic, timeout)?.topic_id;
            if found.get_or_insert_with(|| topic_id.clone()) != &topic_id {
                return Err(AskError::refused(WHAT, "brokers name different ids of the topic: it was created again"));
            }
        }
        self.assignment.lock().brokers = Brokers::default();
        Ok(source_id(&cluster_id, &found.unwrap_or_default()))
    }

    /// The record at a place. None: the log no longer holds it.
    ///
    /// # Errors
    /// No answer in time.
    pub fn read(&mut self, partition: Partition, offset: Offset, timeout: Duration) -> Result<Option<Parts>, AskError> {
        let mut assignment = self.assignment.lock();
        let answer = assignment.read_once(partition, offset, timeout);
        if !matches!(answer, Ok(Some(_))) {
            assignment.at = None;
        }
        assignment.read_at = Instant::now();
        answer
    }
}

impl Assignment {
    /// Stops fetching if no record was read for a while, and serves the client's events.
    fn rest(&mut self) {
        if self.read_at.elapsed() < REST_AFTER {
            return;
        }
        if self.at.take().is_some() {
            let _ = self.consumer.unassign(); // a record that still comes is skipped
        }
        serve(&self.consumer);
    }

    fn read_once(
        &mut self,
        partition: Partition,
        offset: Offset,
        timeout: Duration,
    ) -> Result<Option<Parts>, AskError> {
        let near = |&(of, at): &(Partition, Offset)| of == partition && (at..=at + PASSED_MAX).contains(&offset);
        if !self.at.as_ref().is_some_and(near) {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.topic, partition, rdkafka::Offset::Offset(offset))
                .and_then(|()| self.consumer.assign(&list))
                .map_err(|error| AskError::refused(WHAT, error))?;
        }
        let deadline = Instant::now() + timeout;
        let mut last = None;
        while Instant::now() < deadline {
            match self.consumer.poll(POLL_TIMEOUT) {
                // it was fetched before the assignment, or is on the way to the wanted one
                Some(Ok(message)) if message.partition() != partition || message.offset() < offset => {}
                Some(Ok(message)) => {
                    if message.offset() > offset {
                        return Ok(None);
                    }
                    self.at = Some((partition, offset + 1));
                    // SAFETY: the message is alive as long as `message`, which is only read
                    #[allow(unsafe_code)]
                    let (headers, broker) = unsafe {
                        let raw = message.ptr();
                        (MessageHeaders::of(&*raw).to_json(), sys::rd_kafka_message_broker_id(raw))
                    };
                    self.brokers.add(broker);
                    let bytes = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
                    let timestamp_ms = message.timestamp().to_millis().unwrap_or(-1);
                    return Ok(Some(Parts {
                        timestamp_ms,
                        key: bytes(message.key()),
                        payload: bytes(message.payload()),
                        headers,
                    }));
                }
                Some(Err(error)) => {
                    let words = self.consumer.context().last().unwrap_or_else(|| error.to_string());
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                    match in_place_of_messages(code) {
                        InPlace::OutOfRange => return Ok(None),
                        // a later record would say that this one is not there
                        InPlace::Unreadable if !is_of_the_client(code) => return Err(AskError::refused(WHAT, words)),
                        // librdkafka itself tries a broker again that is away; the deadline decides
                        _ => last = Some(words),
                    }
                }
                // an offset without a record (a control record, an aborted record) moves only the position
                None if self.position(partition).is_some_and(|position| position > offset) => return Ok(None),
                None => {}
            }
        }
        Err(AskError::refused(
            WHAT,
            last.unwrap_or_else(|| format!("offset {offset} of partition {partition} did not come in {timeout:?}")),
        ))
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        let list = self.consumer.position().ok()?;
        match list.find_partition(&self.topic, partition)?.offset() {
            rdkafka::Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_reader_that_rests_serves_its_events_and_fetches_nothing() {
        let mut config = Config::load(None, &[]).unwrap();
        config.kafka.bootstrap_servers = "127.0.0.1:1".into();
        let mut reader = Rereader::new(&config.kafka, &config.routes[0]).unwrap();
        assert!(reader.read(0, 7, Duration::ZERO).is_err(), "there is no broker");
        let assigned = |reader: &Rereader| reader.assignment.lock().consumer.assignment().unwrap().count();
        assert_eq!(assigned(&reader), 1);
        reader.assignment.lock().at = Some((0, 8));
        reader.assignment.lock().consumer.context().answered();
        let deadline = Instant::now() + Duration::from_secs(20);
        while assigned(&reader) > 0 || reader.assignment.lock().consumer.context().last().is_none() {
            assert!(Instant::now() < deadline, "it does not rest");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(reader.assignment.lock().at, None, "the next record is fetched for");
    }
}
