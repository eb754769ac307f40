//! What is asked of a partition: questions that change nothing.

use super::{Cut, Machine, Owned, Right, State};
use crate::tracker::Tracker;

impl<R: Right, B: Cut> Machine<R, B> {
    /// Whether the group has given it to us, and has not asked for it.
    pub fn is_assigned(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether it is taken over, or to be.
    pub fn is_taking_over(&self) -> bool {
        matches!(self.state, State::TakingOver)
    }

    /// Whether the group has asked for it, or it has left.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether the take-over that is under way is still wanted.
    pub fn wants_attempt(&self) -> bool {
        self.attempt.is_wanted()
    }

    /// Whether nothing is left of it to wait for: not even a take-over that nobody wants.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Idle) && !self.attempt.is_under_way()
    }

    /// The right to write it, while it is ours.
    pub fn right(&self) -> Option<&R> {
        self.owned().map(|owned| &owned.right)
    }

    /// The same, to change.
    pub fn right_mut(&mut self) -> Option<&mut R> {
        match &mut self.state {
            State::Owned(owned) => Some(&mut owned.right),
            _ => None,
        }
    }

    /// Its progress, while it is ours.
    pub fn tracker(&self) -> Option<&Tracker> {
        self.owned().map(|owned| &owned.tracker)
    }

    /// Batches that wait for their claim or for room, in order.
    pub fn ready(&self) -> impl Iterator<Item = &B> {
        self.owned().into_iter().flat_map(|owned| owned.ready.iter().map(|ready| &ready.batch))
    }

    /// How many those are.
    pub fn ready_count(&self) -> usize {
        self.owned().map_or(0, |owned| owned.ready.len())
    }

    /// Whether the first batch waits for a look at the topic's id.
    pub fn waits_for_topic_check(&self) -> bool {
        self.owned().and_then(|owned| owned.ready.front()).is_some_and(|ready| !ready.is_topic_checked)
    }

    /// Whether a writer still works on something of it. Claims that the take-over found, and that were not sent yet, are the
    /// next owner's.
    pub fn is_under_way(&self) -> bool {
        self.owned().is_some_and(Owned::is_under_way)
    }
}
