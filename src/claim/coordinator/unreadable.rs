//! Records that Kafka cannot give: an error stands in place of them, and librdkafka may read on behind it. What was read
//! before is stored, then the ownership ends and the partition is taken over and read again, with backoff. The same error at
//! the same offset for a minute is a stop, or, where that is configured, a gap that is noted and read past.

use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::take_over::OnLostRecords;
use footprint_service::metrics;
use footprint_service::retry::Backoff;
use tracing::{info, warn};

use super::{Coordinator, PipelineError};
use crate::claim::take_over::Skip;
use crate::ledger::ownership::Ownership;

/// How long what was read before is waited for. A range claimed before that reaches into what cannot be read is never whole.
const STORED_WAIT: Duration = Duration::from_secs(5);

/// A partition that cannot be read on.
pub(super) struct Unreadable {
    offset: Offset,
    since: Instant,
    backoff: Backoff,
    /// The ownership is to end once everything below the offset is stored, or at the time.
    ending: Option<(Offset, Instant)>,
}

impl Unreadable {
    fn at(offset: Offset) -> Self {
        Self { offset, since: Instant::now(), backoff: Backoff::new(), ending: None }
    }
}

impl Coordinator {
    pub(super) fn on_unreadable(
        &mut self,
        partition: Partition,
        offset: Offset,
        sent_below: Offset,
        why: String,
    ) -> Result<(), PipelineError> {
        if self.machine(partition).is_none_or(|machine| machine.right().is_none()) {
            return Ok(()); // read again in any case
        }
        metrics::unreadable();
        let now = Instant::now();
        let met = self.unreadable.entry(partition).or_insert_with(|| Unreadable::at(offset));
        if met.offset != offset {
            *met = Unreadable::at(offset);
        }
        met.ending = Some((sent_below, now + STORED_WAIT));
        warn!(partition, offset, "kafka: {why}; reading again from there");
        let lasted = now - met.since;
        if lasted < self.settings.unreadable_after {
            return Ok(());
        }
        if self.settings.on_unreadable == OnLostRecords::Skip {
            self.unreadable.remove(&partition);
            self.skips.entry(partition).or_default().push(Skip { start: offset, end: None, is_noted: false });
            self.end(partition, "records that cannot be read are given up");
            return Ok(());
        }
        Err(PipelineError::Stop(format!(
            "topic {}, partition {partition}: the records from offset {offset} on cannot be read, tried for {} s: \
             kafka: {why}; look at the broker's disk and log, and restore the partition's log, or set \
             kafka.on_unreadable_records = \"skip\" to note the gap in footprint_gap and go on behind it",
            self.context.topic,
            lasted.as_secs()
        )))
    }

    /// Ends ownerships whose partitions cannot be read on, once what was read before is stored.
    pub(super) fn end_unreadable(&mut self) {
        let now = Instant::now();
        let mut ends = Vec::new();
        let Self { unreadable, partitions, .. } = self;
        unreadable.retain(|&partition, met| {
            let Some(tracker) = partitions.get(&partition).and_then(|held| held.machine.tracker()) else {
                met.ending = None;
                return true;
            };
            let stored_below = tracker.nexts().lowest();
            if stored_below > met.offset {
                info!(partition, offset = met.offset, "what could not be read was read");
                return false;
            }
            // recorded as well: a claim that is open would be taken for one that is not whole
            let is_stored = |sent_below| stored_below >= sent_below && !tracker.is_unrecorded();
            if met.ending.is_some_and(|(sent_below, until)| is_stored(sent_below) || now >= until) {
                met.ending = None;
                ends.push((partition, met.backoff.next_wait()));
            }
            true
        });
        for (partition, wait) in ends {
            self.end(partition, "records could not be read");
            if let Some(machine) = self.machine(partition) {
                machine.wait_until(now + wait);
            }
        }
    }

    /// The gaps of an ownership's skips are noted, and their ends known.
    pub(super) fn note_skips(&mut self, ownership: &Ownership) {
        let ahead = ownership.skips.iter().filter(|skip| skip.end > ownership.plan.start);
        let noted = ahead.map(|skip| Skip { start: skip.start, end: Some(skip.end), is_noted: true }).collect();
        self.skips.insert(ownership.partition, noted);
    }

    /// Another life of the topic has other records.
    pub(super) fn forget_unreadable(&mut self) {
        self.unreadable.clear();
        self.skips.clear();
    }
}
