//! The partitions that are read, and how far each has got. This decides which messages are new, what follows from an error in their place,
//! and which replay has stalled. Pure: the clock counts the time spent on taking messages, which the caller passes in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use footprint_protocol::offset::{Offset, Partition};
use footprint_service::kafka::fetched::InPlaceError;
use footprint_service::kafka::trouble::{InPlace, in_place_of_messages};

use super::action::Action;
use crate::ledger::ownership::Ownership;
use crate::read::event::Event;

/// A replay from which nothing has come for this long may have to give up its place.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(2);

/// If nothing has come of a partition for this long, although messages were taken or waited for, librdkafka does not fetch it.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(5);

/// A partition, and the offset from which it must be read.
pub(super) struct ReadFrom {
    pub(super) ownership: Arc<Ownership>,
    pub(super) from: Offset,
}

/// A partition that is read.
pub(super) struct Reading {
    pub(super) ownership: Arc<Ownership>,
    /// The next offset to read: everything below it was sent on.
    pub(super) next: Offset,
    /// When `next` last moved, by the clock of [`Readings`].
    moved_at: Duration,
}

/// The partitions that are read; see the top of this file.
#[derive(Default)]
pub(super) struct Readings {
    reading: BTreeMap<Partition, Reading>,
    /// Partitions that are read no further because of an error. librdkafka still fetches them.
    broken: BTreeSet<Partition>,
    /// The time spent on taking messages. It does not advance while none may be taken.
    clock: Duration,
}

/// Decides which messages of one partition are new, and takes those.
pub(super) struct NewMessages<'a> {
    pub(super) reading: &'a mut Reading,
    clock: Duration,
}

impl Readings {
    /// Starts to read a partition.
    pub(super) fn start(&mut self, read_from: ReadFrom) {
        let ReadFrom { ownership, from } = read_from;
        self.broken.remove(&ownership.partition);
        self.reading.insert(ownership.partition, Reading { next: from, moved_at: self.clock, ownership });
    }

    /// Stops reading a partition.
    pub(super) fn stop(&mut self, partition: Partition) {
        self.reading.remove(&partition);
    }

    /// The number of partitions that are read.
    pub(super) fn len(&self) -> usize {
        self.reading.len()
    }

    /// Stops reading all partitions, because the client that fetched them is gone.
    pub(super) fn stop_all(&mut self) {
        self.reading.clear();
        self.broken.clear();
    }

    /// Whether a partition is read, and nothing has come of it for [`STUCK_AFTER`].
    pub(super) fn is_stuck(&self, partition: Partition) -> bool {
        let reading = self.reading.get(&partition).filter(|reading| !reading.ownership.has_ended());
        reading.is_some_and(|reading| self.clock >= reading.moved_at + STUCK_AFTER)
    }

    /// Whether no partition is read.
    pub(super) fn is_empty(&self) -> bool {
        self.reading.is_empty()
    }

    /// A partition that is read.
    pub(super) fn get(&self, partition: Partition) -> Option<&Reading> {
        self.reading.get(&partition)
    }

    /// The number of partitions with claims of earlier owners that are not read to their end yet.
    pub(super) fn replaying(&self) -> usize {
        self.reading.values().filter(|reading| reading.replays()).count()
    }

    /// Stops the replay from which nothing has come for the longest time, if that is [`STALLED_AFTER`] or longer.
    pub(super) fn stop_stalled(&mut self) -> Option<ReadFrom> {
        let stalled = |reading: &&Reading| reading.replays() && self.clock >= reading.moved_at + STALLED_AFTER;
        let oldest = self.reading.values().filter(stalled).min_by_key(|reading| reading.moved_at)?;
        let partition = oldest.ownership.partition;
        let Reading { ownership, next, .. } = self.reading.remove(&partition)?;
        Some(ReadFrom { ownership, from: next })
    }

    /// The reader took messages, or waited for them, for this long.
    pub(super) fn pass(&mut self, time: Duration) {
        self.clock += time;
    }

    /// Messages of a partition have come.
    ///
    /// # Errors
    /// None of the messages is wanted. Returns the action to do about it, if there is one.
    pub(super) fn messages(&mut self, partition: Partition) -> Result<NewMessages<'_>, Option<Action>> {
        match self.reading.get_mut(&partition) {
            Some(reading) if !reading.ownership.has_ended() => Ok(NewMessages { reading, clock: self.clock }),
            Some(_) => Err(None),
            None => Err(self.broken.remove(&partition).then_some(Action::Pause(partition))),
        }
    }

    /// An error has come in place of messages. If records are missing because of it, the partition is read no further. If these records are
    /// given up, it is read from behind them.
    pub(super) fn error(&mut self, error: InPlaceError) -> Vec<Action> {
        let InPlaceError { partition, offset, code, .. } = error;
        let (ownership, next) = match self.messages(partition) {
            Ok(NewMessages { reading, .. }) => (Arc::clone(&reading.ownership), reading.next),
            Err(action) => return action.into_iter().collect(),
        };
        if in_place_of_messages(code) == InPlace::Unreadable {
            if let Some(skip) = ownership.skips.iter().find(|skip| skip.contains(offset)) {
                let moved = self.position(partition, skip.end);
                let fetch = Action::Fetch { partition, from: skip.end };
                return moved.into_iter().chain([fetch]).collect();
            }
            self.reading.remove(&partition);
            self.broken.insert(partition);
        }
        Event::in_place(error, next).map(Action::Report).into_iter().collect()
    }

    /// librdkafka has seen everything of a partition below `position`. Gaps, control records and aborted records move the position without
    /// a message.
    /// A position says nothing of a partition that is no longer read.
    pub(super) fn position(&mut self, partition: Partition, position: Offset) -> Option<Action> {
        let reading = self.reading.get_mut(&partition)?;
        if reading.ownership.has_ended() || position <= reading.next {
            return None;
        }
        (reading.next, reading.moved_at) = (position, self.clock);
        Some(Action::SendPosition(partition))
    }
}

impl Reading {
    fn replays(&self) -> bool {
        !self.ownership.has_ended() && self.next < self.ownership.plan.claimed
    }
}

impl NewMessages<'_> {
    /// Whether the message at an offset is new. If so, it counts as taken.
    pub(super) fn take(&mut self, offset: Offset) -> bool {
        let is_new = offset >= self.reading.next;
        if is_new {
            (self.reading.next, self.reading.moved_at) = (offset + 1, self.clock);
        }
        is_new
    }
}
