//! How the coordinator reacts to the reader, the batcher and the writers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use footprint_protocol::offset::Partition;
use footprint_service::failpoint::{self, Point};
use footprint_service::metrics::Rebalance;
use tracing::{info, warn};

use super::release::HAND_OVER_DELAY;
use super::{Coordinator, HeldPartition, PipelineError};
use crate::batch::Batch;
use crate::read::event::Event;
use crate::store::sink::{Ack, Verdict};

impl Coordinator {
    pub(super) fn on_ack(&mut self, ack: &Ack) {
        let partition = ack.ownership.partition;
        let Some(machine) = self.machine_of(&ack.ownership) else { return };
        match ack.verdict {
            Verdict::Stored => {
                machine.stored(ack.sink, ack.range);
                self.moved.last_stored_at = Some(Instant::now());
                self.count_stored(partition);
            }
            Verdict::Fenced => {
                warn!(partition, sink = ack.sink.as_str(), range = %ack.range, "fenced: taking over again");
                self.end(partition, "a write was fenced");
            }
        }
    }

    /// Counts the batches that every sink has stored now.
    fn count_stored(&mut self, partition: Partition) {
        let Some(held) = self.partitions.get_mut(&partition) else { return };
        let Some(tracker) = held.machine.tracker() else { return };
        for received in held.unstored.stored_below(tracker.frontiers().lowest()) {
            // a clock that differs gives no delay
            if let Ok(delay) = SystemTime::now().duration_since(received) {
                self.settings.meters.stored_in_all(delay);
            }
        }
    }

    pub(super) fn on_event(&mut self, event: Event) -> Result<(), PipelineError> {
        match event {
            Event::Assigned(partitions) => {
                info!(?partitions, "assigned");
                self.settings.meters.rebalanced(Rebalance::Assigned);
                for partition in partitions {
                    self.partitions.entry(partition).or_insert_with(HeldPartition::assigned).machine.assign();
                }
                self.settings.health.has_joined();
            }
            Event::Revoked { partitions, lost } => {
                info!(?partitions, lost, "revoked");
                self.settings.meters.rebalanced(if lost { Rebalance::Lost } else { Rebalance::Revoked });
                if lost {
                    for &partition in &partitions {
                        self.end(partition, "lost");
                    }
                }
                self.begin_release(partitions, if lost { Duration::ZERO } else { HAND_OVER_DELAY });
            }
            Event::JoinsAgain { partitions } => {
                self.new_clients.made(Instant::now());
                return self.on_event(Event::Revoked { partitions, lost: true });
            }
            Event::Committed { count, .. } => self.commits_under_way = self.commits_under_way.saturating_sub(count),
            Event::Displaced { partitions, why } => {
                warn!(?partitions, "kafka: {why}: taking over again");
                self.watch.doubt();
                let retry_at = Instant::now() + Duration::from_secs(1);
                for partition in partitions {
                    self.end(partition, "the log does not hold what was to be read");
                    if let Some(machine) = self.machine(partition) {
                        machine.wait_until(retry_at);
                    }
                }
            }
            Event::Unreadable { partition, offset, sent_below, why } => {
                return self.on_unreadable(partition, offset, sent_below, &why);
            }
            Event::Statistics { brokers, open_transactions } => {
                self.brokers = brokers;
                self.open_transactions = open_transactions;
            }
            Event::TopicGone => self.watch.doubt(),
            Event::RefusedByGroup => self.on_refused_by_group(),
            Event::Failed(why) => return Err(PipelineError::Stop(format!("kafka: {why}").into())),
        }
        Ok(())
    }

    pub(super) fn on_stop(&mut self) {
        failpoint::hit(Point::Stop);
        info!("draining");
        self.settings.health.drains();
        self.stopping = true;
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        self.begin_release(partitions, Duration::ZERO);
    }

    pub(super) fn on_batch(&mut self, batch: Batch) {
        let is_topic_checked = self.watch.has_seen(&batch);
        let ownership = Arc::clone(&batch.ownership);
        let records = batch.rows.len() + batch.dead_letters.len();
        self.settings.meters.cut(batch.reason.as_str(), records, batch.rows.byte_len());
        let (end, received) = (batch.range.end, batch.received());
        let Some(machine) = self.machine_of(&ownership) else { return };
        if machine.cut(Arc::new(batch), is_topic_checked, Instant::now())
            && let Some(held) = self.partitions.get_mut(&ownership.partition)
        {
            held.unstored.cut(end, received);
        }
    }
}
