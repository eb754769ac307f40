//! Questions to Kafka about all partitions of a topic at once, for a route's first start.

use std::time::{Duration, Instant};

use footprint_protocol::first_start::Committed;
use footprint_protocol::offset::{Offset, Partition};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;

use super::{AskError, Inquirer};

impl Inquirer {
    /// What the group committed for each of the topic's `count` partitions, from partition 0 on.
    ///
    /// # Errors
    /// No answer in time, or the answer for one partition is an error.
    pub fn all_committed(&self, topic: &str, count: Partition, timeout: Duration) -> Result<Vec<Committed>, AskError> {
        const WHAT: &str = "committed offsets";
        let mut list = TopicPartitionList::new();
        for partition in 0..count {
            list.add_partition(topic, partition);
        }
        let list = self.answer(WHAT, self.consumer.committed_offsets(list, timeout))?;
        let committed = |partition| {
            let Some(found) = list.find_partition(topic, partition) else { return Ok(None) };
            self.answer(WHAT, found.error())?;
            Ok(match found.offset() {
                rdkafka::Offset::Offset(offset) => Some((offset, found.metadata().to_owned())),
                _ => None,
            })
        };
        (0..count).map(committed).collect()
    }

    /// The last stable offset of each of the topic's `count` partitions, from partition 0 on. All of them must come within
    /// `timeout`.
    ///
    /// # Errors
    /// No answer in time: a partition without a leader gives no answer.
    pub fn all_ends(&self, topic: &str, count: Partition, timeout: Duration) -> Result<Vec<Offset>, AskError> {
        let deadline = Instant::now() + timeout;
        let end = |partition| {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.answer("the log's end", self.consumer.fetch_watermarks(topic, partition, left)).map(|(_, end)| end)
        };
        (0..count).map(end).collect()
    }
}
