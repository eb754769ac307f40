//! How the coordinator reacts to the reader, the batcher and the writers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::offset::Partition;
use footprint_service::failpoint::{self, Point};
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
            }
            Verdict::Fenced => {
                warn!(partition, sink = ack.sink.as_str(), range = %ack.range, "fenced: taking over again");
                self.end(partition, "a write was fenced");
            }
        }
    }

    pub(super) fn on_event(&mut self, event: Event) -> Result<(), PipelineError> {
        match event {
            Event::Assigned(partitions) => {
                info!(?partitions, "assigned");
                for partition in partitions {
                    self.partitions.entry(partition).or_insert_with(HeldPartition::assigned).machine.assign();
                }
                self.settings.health.has_joined();
            }
            Event::Revoked { partitions, lost } => {
                info!(?partitions, lost, "revoked");
                if lost {
                    for &partition in &partitions {
                        self.end(partition, "lost");
                    }
                }
                self.begin_release(partitions, if lost { Duration::ZERO } else { HAND_OVER_DELAY });
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
        if let Some(machine) = self.machine_of(&ownership) {
            machine.cut(Arc::new(batch), is_topic_checked, Instant::now());
        }
    }
}
