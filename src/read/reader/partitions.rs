//! The reader's decisions: which partitions it fetches, from where, and what it reports to the coordinator. Commands, the group's events,
//! messages, errors and positions come in, and [`Action`]s go out. Pure: the reader does the actions, in order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition};

use super::action::Action;
use super::deferred::{Deferred, Turn};
use super::readings::Readings;
use crate::read::commands::PendingCommands;
use crate::read::event::Event;

/// How often positions are asked for while no message comes.
pub(super) const POSITION_INTERVAL: Duration = Duration::from_millis(200);

/// The partitions of the reader; see the top of this file.
#[derive(Default)]
pub(super) struct Partitions {
    /// The partitions that are read.
    pub(super) readings: Readings,
    /// The partitions that wait to be read.
    deferred: Deferred,
    /// The partitions that the group has assigned to us and has not revoked.
    assigned: BTreeSet<Partition>,
    /// A revoke waits for its answer. Nothing is assigned before that.
    revoking: bool,
    positions_asked_at: Option<Instant>,
    /// The reader must end.
    pub(super) closed: bool,
}

impl Partitions {
    /// Follows the coordinator's commands, in the order that `commands.rs` explains.
    pub(super) fn follow(&mut self, pending: PendingCommands) -> Vec<Action> {
        let PendingCommands { commit, halted, released, assigned, is_closing, .. } = pending;
        let mut actions: Vec<Action> = commit.map(Action::Commit).into_iter().collect();
        for partition in halted {
            self.readings.stop(partition);
            actions.push(Action::Pause(partition));
        }
        if let Some(partitions) = released {
            let partitions: Vec<Partition> = partitions.into_iter().collect();
            partitions.iter().for_each(|&partition| self.readings.stop(partition));
            self.deferred.remove(&partitions);
            self.revoking = false;
            actions.push(Action::Release(partitions));
        }
        for ownership in assigned.into_values() {
            self.deferred.add(ownership);
        }
        self.closed |= is_closing;
        actions
    }

    /// The group has assigned or revoked partitions.
    pub(super) fn group_changed(&mut self, event: Event) -> Action {
        match &event {
            Event::Assigned(partitions) => self.assigned.extend(partitions),
            Event::Revoked { partitions, .. } => {
                self.assigned.retain(|partition| !partitions.contains(partition));
                self.revoking = true;
            }
            _ => {}
        }
        Action::Report(event)
    }

    /// The first of the `silent` partitions of which librdkafka gives nothing, although it was asked to. `is_fetched` says of which
    /// partitions this is so from the start. A partition that waits for its turn, or stopped at an error, is not stuck. Neither is one whose
    /// messages could not be taken meanwhile.
    pub(super) fn stuck(
        &self,
        silent: &BTreeSet<Partition>,
        is_fetched: impl Fn(Partition) -> bool,
    ) -> Option<Partition> {
        let is_stuck = |&partition: &Partition| self.readings.is_stuck(partition) && is_fetched(partition);
        silent.iter().copied().find(is_stuck).filter(|_| !self.revoking)
    }

    /// The client that was a member of the group is gone, and all partitions with it. Nothing is assigned to the next client before the
    /// coordinator has released them.
    pub(super) fn joins_again(&mut self) -> Action {
        self.readings.stop_all();
        self.deferred.clear();
        self.revoking = true;
        Action::Report(Event::JoinsAgain { partitions: std::mem::take(&mut self.assigned).into_iter().collect() })
    }

    /// Starts to read the waiting partitions whose turn has come.
    pub(super) fn start_deferred(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.revoking {
            return actions;
        }
        for _ in 0..self.deferred.len() {
            let Some(Turn { paused, next }) = self.deferred.turn(&mut self.readings) else { continue };
            actions.extend(paused.map(Action::Pause));
            actions.push(Action::Fetch { partition: next.ownership.partition, from: next.from });
            self.readings.start(next);
        }
        actions
    }

    /// A partition could not be fetched.
    pub(super) fn not_fetched(&mut self, partition: Partition, from: Offset, why: &str) -> Action {
        self.readings.stop(partition);
        Action::Report(Event::Displaced { partitions: vec![partition], why: format!("offset {from}: {why}") })
    }

    /// The reader took messages, or waited for them, for `time`. `none_came` says that there were none.
    pub(super) fn taken(&mut self, none_came: bool, time: Duration, now: Instant) -> Option<Action> {
        self.readings.pass(time);
        let asked_lately = self.positions_asked_at.is_some_and(|at| now < at + POSITION_INTERVAL);
        if !none_came || self.readings.is_empty() || asked_lately {
            return None;
        }
        self.positions_asked_at = Some(now);
        Some(Action::AskPositions)
    }
}

#[cfg(test)]
mod tests;
