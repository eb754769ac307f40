//! Which partitions of a topic have a leader now: without one, nobody can read or write the partition.

use std::time::Duration;

use footprint_protocol::offset::Partition;
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaRespErr;

use super::{AskError, Inquirer};

/// The partitions of a topic, as a broker describes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaders {
    /// How many partitions the topic has.
    pub count: usize,
    /// Those that have no leader.
    pub missing: Vec<Partition>,
}

impl Inquirer {
    /// The topic's partitions, and those without a leader.
    ///
    /// # Errors
    /// No answer in time, or no such topic.
    pub fn leaders(&self, topic: &str, timeout: Duration) -> Result<Leaders, AskError> {
        const WHAT: &str = "the topic's leaders";
        let metadata = self.answer(WHAT, self.consumer.fetch_metadata(Some(topic), timeout))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(AskError::no_topic(topic));
        };
        match found.error() {
            None => {}
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
                return Err(AskError::no_topic(topic));
            }
            // the topic is new, or all of its leaders are away
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => {}
            Some(code) => self.answer(WHAT, Err(rdkafka::error::KafkaError::MetadataFetch(code.into())))?,
        }
        let missing = found.partitions().iter().filter(|partition| partition.leader() < 0).map(|found| found.id());
        Ok(Leaders { count: found.partitions().len(), missing: missing.collect() })
    }
}
