//! What librdkafka reports about the group. The reports are queued for the coordinator. An assignment is accepted at once, but empty:
//! partitions are added when they are taken over. A revoke is answered later.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use footprint_protocol::offset::Partition;
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::events::ClientEvents;
use footprint_service::status::BrokerView;
use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::{Statistics, Window};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use tracing::{debug, warn};

use crate::read::event::Event;

/// Receives the reports of the group's consumer.
pub(super) struct GroupContext {
    topic: String,
    pub(super) events: ClientEvents,
    pub(super) queue: Mutex<VecDeque<Event>>,
    /// The reader is leaving, so a revoke is answered at once.
    pub(super) closing: AtomicBool,
}

impl ClientContext for GroupContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.events.token(config)?)
    }

    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.events.log_line(level, fac, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.queue.lock().push_back(statistics_event(&self.topic, &statistics));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // the coordinator logs this error, with the members that keep us out: `claim/coordinator/other_consumers.rs`
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::InconsistentGroupProtocol) {
            return debug!("kafka: {error}: {reason}");
        }
        self.events.note(&error, reason);
    }
}

impl GroupContext {
    /// The context of a consumer of `topic` that is made from `config`.
    pub(super) fn new(config: &ClientConfig, topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            events: ClientEvents::new(config),
            queue: Mutex::new(VecDeque::new()),
            closing: AtomicBool::new(false),
        }
    }

    /// The partitions of our topic. Others are left out, because their numbers would be taken for ours.
    fn of_our_topic(&self, list: &TopicPartitionList) -> Vec<Partition> {
        let elements = list.elements();
        let (ours, others): (Vec<_>, Vec<_>) = elements.iter().partition(|element| element.topic() == self.topic);
        if let Some(other) = others.first() {
            warn!(topic = other.topic(), "the group speaks of partitions of another topic than ours; left alone");
        }
        ours.iter().map(|element| element.partition()).collect()
    }
}

/// What the coordinator wants of librdkafka's statistics (STATISTICS.md of librdkafka; times in microseconds, throttling in milliseconds).
fn statistics_event(topic: &str, statistics: &Statistics) -> Event {
    let mean = |window: &Window| u64::try_from(window.avg).ok().filter(|_| window.cnt > 0);
    // the group's coordinator and the addresses to begin with are listed too, under negative numbers
    let brokers = statistics.brokers.values().filter(|broker| broker.nodeid >= 0);
    let mut brokers: Vec<BrokerView> = brokers
        .map(|broker| BrokerView {
            name: broker.nodename.clone(),
            round_trip: broker.rtt.as_ref().and_then(mean).map(Duration::from_micros),
            throttle: Duration::from_millis(broker.throttle.as_ref().and_then(mean).unwrap_or_default()),
            errors: broker.txerrs + broker.rxerrs + broker.req_timeouts,
        })
        .collect();
    brokers.sort_by(|one, other| one.name.cmp(&other.name));
    let partitions = statistics.topics.get(topic).map(|topic| &topic.partitions);
    let fetched = partitions.into_iter().flatten().filter(|(_, partition)| partition.fetch_state == "active");
    let behind = fetched.filter_map(|(&number, partition)| {
        let known = partition.hi_offset >= 0 && partition.ls_offset >= 0;
        known.then_some((number, (partition.hi_offset - partition.ls_offset).max(0)))
    });
    Event::Statistics { brokers, open_transactions: behind.collect() }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigns = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let partitions = self.of_our_topic(list);
        debug!(?partitions, assigns, "rebalance");
        failpoint::hit(if assigns { Point::Assigned } else { Point::Revoked });
        if assigns {
            if let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
                self.queue.lock().push_back(Event::Displaced {
                    partitions: partitions.clone(),
                    why: format!("assignment refused: {error}"),
                });
            }
            self.queue.lock().push_back(Event::Assigned(partitions));
        } else if self.closing.load(Ordering::SeqCst) {
            let assigned = consumer.assignment().unwrap_or_default();
            let _ = consumer.incremental_unassign(&assigned);
        } else {
            let lost = consumer.assignment_lost();
            self.queue.lock().push_back(Event::Revoked { partitions, lost });
        }
    }
}
