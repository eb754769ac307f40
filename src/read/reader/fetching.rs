//! What librdkafka fetches: partitions are added, paused and taken out one by one, and their messages come by one queue. It knows
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

/// How long one take waits when nothing comes.
const TAKE_TIMEOUT: Duration = Duration::from_millis(20);
/// How often partitions are forwarded again that have sent nothing since they were assigned, see [`Fetching::forward_again`]: at first,
/// and later, when they are idle most likely.
const FORWARD_INTERVAL: Duration = Duration::from_millis(20);
const FORWARD_INTERVAL_LATER: Duration = Duration::from_secs(1);
/// How long "at first" lasts after an assignment.
const FORWARD_OFTEN: Duration = Duration::from_secs(2);

/// See the module's head.
pub(super) struct Fetching {
    // dropped before the consumer
    fetched: Fetched,
    consumer: Arc<BaseConsumer<GroupContext>>,
    topic: String,
    /// A superset of what is taken in: a halted partition stays until it is released.
    assigned: Vec<Partition>,
    /// Assigned partitions from which no message has come yet.
    silent: Vec<Partition>,
    assigned_at: Instant,
    forwarded_at: Instant,
}

impl Fetching {
    /// Nothing is fetched yet.
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

    /// What has come, as soon as there is something.
    pub(super) fn take(&mut self) -> Taken<'_> {
        let taken = self.fetched.take(TAKE_TIMEOUT);
        if !self.silent.is_empty() {
            for partition in taken.partitions() {
                self.silent.retain(|&silent| silent != partition);
            }
        }
        taken
    }

    /// Has librdkafka fetch a partition from `from` on, whatever it fetched of it before.
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

    /// Fetches no more of a partition that stays assigned. Nothing to do where it is not.
    pub(super) fn pause(&self, partition: Partition) {
        if self.assigned.contains(&partition) {
            let _ = self.consumer.pause(&self.list(std::iter::once(partition))); // what comes all the same is left out
        }
    }

    /// Takes partitions out. Called for a revoke even when none is assigned: the group waits for the call.
    pub(super) fn stop(&mut self, partitions: &[Partition]) {
        let list = self.list(self.assigned.iter().copied().filter(|partition| partitions.contains(partition)));
        // librdkafka keeps an application's pause across assignments: a halted partition would never be read again. It is
        // resumed before it is let go, not after it is assigned again, where resuming would seek to the old position.
        if let Err(error) = self.consumer.resume(&list) {
            debug!("kafka: resume: {error}");
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            warn!("kafka: unassign: {error}");
        }
        self.assigned.retain(|partition| !partitions.contains(partition));
        self.silent.retain(|partition| !partitions.contains(partition));
    }

    /// Takes all partitions out.
    pub(super) fn stop_all(&mut self) {
        let assigned = self.assigned.clone();
        self.stop(&assigned);
    }

    /// Everything that is fetched.
    pub(super) fn partitions(&self) -> &[Partition] {
        &self.assigned
    }

    /// Where a partition was assigned before, librdkafka ends its forwarding some time after it was let go
    /// (`rd_kafka_toppar_fetch_stop`), which may be after it was forwarded for the next assignment; its messages then lie
    /// where nobody takes them. Forwarding again brings them along, so it is done until the first has come.
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

    /// Ends it, once every message taken is destroyed; false where that took longer than `timeout`.
    pub(super) fn close(self, timeout: Duration) -> bool {
        let Self { fetched, consumer, .. } = self;
        // the messages hold a consumer of their own
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
