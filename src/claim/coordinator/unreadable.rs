//! Records that Kafka cannot give. The partition's machine decides what follows (`protocol/partition/unreadable.rs`). This file logs and
//! counts them, and keeps them for the next take-over.

use std::time::Instant;

use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::partition::{UnreadableOutcome, UnreadableVerdict};
use footprint_service::retry::wait_after;
use tracing::{info, warn};

use super::{Coordinator, PipelineError};
use crate::claim::take_over::Skip;
use crate::ledger::ownership::Ownership;

impl Coordinator {
    pub(super) fn on_unreadable(
        &mut self,
        partition: Partition,
        offset: Offset,
        sent_below: Offset,
        why: &str,
    ) -> Result<(), PipelineError> {
        let (policy, now) = (self.settings.unreadable, Instant::now());
        let machine = self.machine(partition);
        let Some(verdict) = machine.and_then(|machine| machine.on_unreadable(offset, sent_below, policy, now)) else {
            return Ok(());
        };
        self.settings.meters.unreadable();
        warn!(partition, offset, "kafka: {why}; reading again from there");
        match verdict {
            UnreadableVerdict::ReadAgain => Ok(()),
            UnreadableVerdict::GiveUp(ended) => {
                self.skips.entry(partition).or_default().push(Skip { start: offset, end: None, is_noted: false });
                self.on_ended(&ended);
                Ok(())
            }
            UnreadableVerdict::Stop { lasted } => Err(PipelineError::Stop(format!(
                "topic {}, partition {partition}: the records from offset {offset} on cannot be read, tried for {} s: \
                 kafka: {why}; look at the broker's disk and log, and restore the partition's log, or set \
                 kafka.on_unreadable_records = \"skip\" to note the gap in footprint_gap and go on behind it",
                self.context.topic,
                lasted.as_secs()
            ).into())),
        }
    }

    /// Ends the ownerships of partitions that cannot be read further, once the records before the error are stored.
    pub(super) fn end_unreadable(&mut self) {
        let now = Instant::now();
        let mut ends = Vec::new();
        for (&partition, held) in &mut self.partitions {
            match held.machine.end_unreadable(now, wait_after) {
                None => {}
                Some(UnreadableOutcome::WasRead(offset)) => info!(partition, offset, "what could not be read was read"),
                Some(UnreadableOutcome::Ended(ended)) => ends.push(ended),
            }
        }
        for ended in ends {
            self.on_ended(&ended);
        }
    }

    /// Remembers the records that a new ownership skips: their gaps are recorded now, and their ends are known.
    pub(super) fn note_skips(&mut self, ownership: &Ownership) {
        let ahead = ownership.skips.iter().filter(|skip| skip.end > ownership.plan.start);
        let noted = ahead.map(|skip| Skip { start: skip.start, end: Some(skip.end), is_noted: true }).collect();
        self.skips.insert(ownership.partition, noted);
    }

    /// Forgets all unreadable records, because another life of the topic has other records.
    pub(super) fn forget_unreadable(&mut self) {
        self.partitions.values_mut().for_each(|held| held.machine.forget_unreadable());
        self.skips.clear();
    }
}
