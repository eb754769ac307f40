//! How near the records that a group has still to read are to those that Kafka deletes, and how many replicas a topic has.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use footprint_protocol::offset::{Offset, Partition};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;

use super::{AskError, Inquirer};

/// Where a group is in a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: Partition,
    /// The first offset that the log holds.
    pub low: Offset,
    /// The offset after the last record.
    pub end: Offset,
    /// The next offset that the group reads.
    pub next: Offset,
    /// The first offset whose record is younger than what was asked for. None: that was not asked.
    pub young_from: Option<Offset>,
}

/// The copies of a topic's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// The cluster's brokers.
    pub brokers: Vec<i32>,
    /// The brokers that hold each partition, in the order of the partitions.
    pub partitions: Vec<Vec<i32>>,
}

impl Replicas {
    /// The replicas of the partition that has fewest.
    pub fn fewest(&self) -> usize {
        self.partitions.iter().map(Vec::len).min().unwrap_or_default()
    }
}

impl Inquirer {
    /// The brokers that hold a topic's partitions.
    ///
    /// # Errors
    /// No answer in time.
    pub fn replicas(&self, topic: &str, timeout: Duration) -> Result<Replicas, AskError> {
        let metadata = self.answer("replicas", self.consumer.fetch_metadata(Some(topic), timeout))?;
        let mut brokers: Vec<i32> = metadata.brokers().iter().map(|broker| broker.id()).collect();
        brokers.sort_unstable();
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else { return Err(AskError::no_topic(topic)) };
        let mut partitions: Vec<(i32, Vec<i32>)> =
            found.partitions().iter().map(|partition| (partition.id(), partition.replicas().to_vec())).collect();
        partitions.sort_unstable();
        Ok(Replicas { brokers, partitions: partitions.into_iter().map(|(_, replicas)| replicas).collect() })
    }

    /// Where the group is in the first `count` partitions of a topic. A partition without a commit is left out. `age`: also ask for the
    /// first record that is younger.
    ///
    /// # Errors
    /// No answer in time.
    pub fn places(
        &self,
        topic: &str,
        count: i32,
        age: Option<Duration>,
        timeout: Duration,
    ) -> Result<Vec<Place>, AskError> {
        let until = Instant::now() + timeout;
        let left = || until.saturating_duration_since(Instant::now());
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, count.saturating_sub(1));
        let committed = self.answer("committed offsets", self.consumer.committed_offsets(list.clone(), left()))?;
        let young = match age {
            Some(age) => Some(self.younger_than(list, age, left())?),
            None => None,
        };
        let mut places = Vec::new();
        for element in committed.elements() {
            let rdkafka::Offset::Offset(next) = element.offset() else { continue };
            let partition = element.partition();
            let (low, end) = self.watermarks(topic, partition, left())?;
            let first_young = young.as_ref().and_then(|list| list.find_partition(topic, partition));
            let young_from = first_young.map(|found| match found.offset() {
                rdkafka::Offset::Offset(offset) => offset,
                // every record is older
                _ => end,
            });
            places.push(Place { partition, low, end, next, young_from });
        }
        Ok(places)
    }

    fn younger_than(
        &self,
        mut list: TopicPartitionList,
        age: Duration,
        timeout: Duration,
    ) -> Result<TopicPartitionList, AskError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_ms = i64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(i64::MAX);
        let asked = list.set_all_offsets(rdkafka::Offset::Offset(since_ms));
        self.answer("offsets by time", asked)?;
        self.answer("offsets by time", self.consumer.offsets_for_times(list, timeout))
    }
}
