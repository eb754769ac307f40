//! What librdkafka fetches. Partitions are added, paused and removed one by one, and their messages come on one queue. This file knows
//! nothing of ownerships.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::kafka::fetched::{Fetched, Taken};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tracing::{debug, warn};

use super::group::GroupContext;

/// How long one take waits if no message comes.
const TAKE_TIMEOUT: Duration = Duration::from_millis(20);
/// How often partitions are forwarded again that have sent nothing since they were assigned, see [`Fetching::forward_again`]. The first
/// interval is for a new assignment, the second for later, when such partitions are most likely idle.
const FORWARD_INTERVAL: Duration = Duration::from_millis(20);
const FORWARD_INTERVAL_LATER: Duration = Duration::from_secs(1);
/// How long the first interval is used after an assignment.
const FORWARD_OFTEN: Duration = Duration::from_secs(2);

/// The partitions that librdkafka fetches; see the top of this file.
pub(super) struct Fetching {
    // fields are dropped in this order: this one before the consumer
    fetched: Fetched,
    consumer: Arc<BaseConsumer<GroupContext>>,
    topic: String,
    /// All assigned partitions. A halted partition is among them until it is released.
    assigned: Vec<Partition>,
    /// Assigned partitions from which no message has come yet.
    silent: Vec<Partition>,
    assigned_at: Instant,
    forwarded_at: Instant,
}

impl Fetching {
    /// Makes the queue of the messages. Nothing is fetched yet.
    ///
    /// # Errors
    /// librdkafka gives no queue.
    pub(super) fn new(consumer: &Arc<BaseConsumer<GroupContext>>, topic: &str) -> Result<Self, KafkaError> {
        let now = Instant::now();
        Ok(Self {
            fetched: Fetched::new(consumer)?,
            consumer: Arc::clone(consumer),
            topic: topic.to_owned(),
            assigned: Vec::new(),
            silent: Vec::new(),
            assigned_at: now,
            forwarded_at: now,
        })
    }

    /// Takes the messages that have come. If there are none, waits for them, at most [`TAKE_TIMEOUT`].
    pub(super) fn take(&mut self) -> Taken<'_> {
        let taken = self.fetched.take(TAKE_TIMEOUT);
        if !self.silent.is_empty() {
            for partition in taken.partitions() {
                self.silent.retain(|&silent| silent != partition);
            }
        }
        taken
    }

    /// Makes librdkafka fetch a partition from `from` on, whatever it fetched of the partition before.
    ///
    /// # Errors
    /// librdkafka does not know the partition.
    pub(super) fn start(&mut self, partition: Partition, from: Offset) -> Result<(), KafkaError> {
        if self.assigned.contains(&partition) {
            self.stop(&[partition]);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, KafkaOffset::Offset(from))?;
        self.fetched.forward(&self.consumer, &self.topic, partition)?;
        self.consumer.incremental_assign(&list)?;
        self.assigned.push(partition);
        self.silent.push(partition);
        self.assigned_at = Instant::now();
        Ok(())
    }

    /// Stops fetching a partition, which stays assigned. Does nothing if it is not assigned.
    pub(super) fn pause(&self, partition: Partition) {
        if self.assigned.contains(&partition) {
            let _ = self.consumer.pause(&self.list(std::iter::once(partition))); // late messages are left out
        }
    }

    /// Removes partitions from the assignment. This is called for a revoke even if none of them is assigned, because the group waits for
    /// the call.
    pub(super) fn stop(&mut self, partitions: &[Partition]) {
        let list = self.list(self.assigned.iter().copied().filter(|partition| partitions.contains(partition)));
        // librdkafka keeps an application's pause across assignments, so a halted partition would never be read again. The partition is
        // resumed before it is removed. To resume it after the next assignment would seek to the old position.
        if let Err(error) = self.consumer.resume(&list) {
            debug!("kafka: resume: {error}");
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            warn!("kafka: unassign: {error}");
        }
        self.assigned.retain(|partition| !partitions.contains(partition));
        self.silent.retain(|partition| !partitions.contains(partition));
    }

    /// Removes all partitions from the assignment.
    pub(super) fn stop_all(&mut self) {
        let assigned = self.assigned.clone();
        self.stop(&assigned);
    }

    /// Whether a partition is assigned, and no message has come from it yet.
    pub(super) fn is_silent(&self, partition: Partition) -> bool {
        self.silent.contains(&partition)
    }

    /// All assigned partitions.
    pub(super) fn partitions(&self) -> &[Partition] {
        &self.assigned
    }

    /// Forwards partitions again that have sent nothing yet. When a partition is removed, librdkafka ends its forwarding only some time
    /// later (`rd_kafka_toppar_fetch_stop`). If the partition was assigned again meanwhile, this ends the new forwarding, and the messages
    /// go to a queue that nobody reads. To forward it again also brings these messages along, so this is repeated until the first message
    /// has come.
    pub(super) fn forward_again(&mut self) {
        let is_new = self.assigned_at.elapsed() < FORWARD_OFTEN;
        let interval = if is_new { FORWARD_INTERVAL } else { FORWARD_INTERVAL_LATER };
        if self.silent.is_empty() || self.forwarded_at.elapsed() < interval {
            return;
        }
        self.forwarded_at = Instant::now();
        for &partition in &self.silent {
            if let Err(error) = self.fetched.forward(&self.consumer, &self.topic, partition) {
                debug!(partition, "kafka: forward: {error}");
            }
        }
    }

    /// Ends the fetching once every message taken is destroyed. Returns false if that took longer than `timeout`.
    pub(super) fn close(self, timeout: Duration) -> bool {
        let Self { fetched, consumer, .. } = self;
        // the messages hold their own reference to the consumer
        drop(consumer);
        fetched.close(timeout)
    }

    fn list(&self, partitions: impl Iterator<Item = Partition>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        list
    }
}
