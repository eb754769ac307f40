//! Questions about a partition. They change nothing.

use super::{CutBatch, Machine, Owned, Right, State};
use crate::tracker::Tracker;

impl<R: Right, B: CutBatch> Machine<R, B> {
    /// Whether the partition is assigned to us. An owned partition that was revoked counts until it is released.
    pub fn is_assigned(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether the partition is being taken over, or must be.
    pub fn is_taking_over(&self) -> bool {
        matches!(self.state, State::TakingOver)
    }

    /// Whether the partition is being released or was released.
    pub fn is_releasing(&self) -> bool {
        self.releasing.is_some()
    }

    /// Whether the take-over that is under way is still wanted.
    pub fn is_attempt_wanted(&self) -> bool {
        self.attempt.is_wanted()
    }

    /// Whether the machine may be dropped: the partition is not assigned to us, and no take-over is under way, not even an unwanted one.
    pub fn may_be_dropped(&self) -> bool {
        matches!(self.state, State::Idle) && !self.attempt.is_under_way()
    }

    /// The right to write the partition, while it is ours.
    pub fn right(&self) -> Option<&R> {
        self.owned().map(|owned| &owned.right)
    }

    /// The right to write the partition, for changes.
    pub fn right_mut(&mut self) -> Option<&mut R> {
        match &mut self.state {
            State::Owned(owned) => Some(&mut owned.right),
            _ => None,
        }
    }

    /// The partition's progress, while it is ours.
    pub fn tracker(&self) -> Option<&Tracker> {
        self.owned().map(|owned| &owned.tracker)
    }

    /// Batches that wait for their claim or for room at the writers, in order.
    pub fn ready(&self) -> impl Iterator<Item = &B> {
        self.owned().into_iter().flat_map(|owned| owned.ready.iter().map(|ready| &ready.batch))
    }

    /// The number of batches that wait for their claim or for room at the writers.
    pub fn ready_count(&self) -> usize {
        self.owned().map_or(0, |owned| owned.ready.len())
    }

    /// Whether the first of these batches waits for a look at the topic's id.
    pub fn waits_for_topic_check(&self) -> bool {
        self.owned().and_then(|owned| owned.ready.front()).is_some_and(|ready| !ready.is_topic_checked)
    }

    /// Whether a batch of the partition is in flight. Claims that the take-over found do not count until their batches are sent.
    pub fn is_under_way(&self) -> bool {
        self.owned().is_some_and(Owned::is_under_way)
    }
}
