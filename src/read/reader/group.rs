//! What librdkafka reports about the group. The reports are queued for the coordinator. An assignment is accepted at once, but empty:
//! partitions are added when they are taken over. A revoke is answered later.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use footprint_protocol::offset::Partition;
use footprint_service::failpoint::{self, Point};
use footprint_service::kafka::events::ClientEvents;
use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
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
