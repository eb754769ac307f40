//! The group's side, as `read/reader.rs`, `claim/coordinator.rs` and `claim/coordinator/release.rs` meet it.

use footprint_protocol::first_start::commit_mark;

use crate::config::Config;
use crate::consumer::{Consumer, Phase, Seat, TakeOver};
use crate::guard::Guard;
use crate::world::{World, source};

impl World {
    pub(super) fn assign(&mut self, by: usize) {
        self.kafka.member = Some(by);
        if !self.consumers[by].up {
            self.consumers[by].definition = self.definition;
        }
        self.consumers[by].up = true;
        self.consumers[by].seat = Seat::In;
        self.consumers[by].phase = Phase::TakingOver(TakeOver::Look);
    }

    /// An old consumer, which has the partition, stores and commits another record.
    pub(super) fn old_commits(&mut self) {
        let life = self.kafka.life;
        self.floor[life] += 1;
        self.kafka.committed = Some((self.floor[life], String::new()));
    }

    /// Asked back: nothing new is claimed, what is under way goes on. A take-over under way is no longer wanted.
    pub(super) fn revoke(&mut self, by: usize) {
        let consumer = &mut self.consumers[by];
        consumer.seat = Seat::Leaving;
        match &mut consumer.phase {
            Phase::Owning(owning) => owning.ready.clear(),
            _ => self.abandon(by),
        }
    }

    /// It hears that it has no partition any more.
    pub(super) fn leave(&mut self, by: usize) {
        self.abandon(by);
        self.consumers[by].seat = Seat::Out;
    }

    /// It lets go, drained or at its deadline.
    pub(super) fn release(&mut self, config: &Config, by: usize) {
        if !config.guards.hold(Guard::RevokeOrder)
            && let Some(owning) = self.consumers[by].owning()
            && owning.life == self.kafka.life
        {
            let mark = commit_mark(source(owning.life));
            self.kafka.late_commit = Some((owning.tracker.recorded_nexts().lowest(), mark));
        }
        self.leave(by);
        if self.kafka.member == Some(by) {
            self.kafka.member = None;
        }
    }

    /// The end of whatever it was in the midst of: a take-over goes on unwanted, an insert on its way loses its client.
    pub(super) fn abandon(&mut self, by: usize) {
        let phase = std::mem::replace(&mut self.consumers[by].phase, Phase::Idle);
        match phase {
            Phase::TakingOver(taking) if taking != TakeOver::Look => self.consumers[by].stray = Some(taking),
            _ => {}
        }
        self.orphan_inserts(by);
    }

    /// `Coordinator::end`: an ownership ends; as long as the group gives the partition it is taken over anew.
    pub(super) fn end(&mut self, by: usize) {
        self.orphan_inserts(by);
        let consumer = &mut self.consumers[by];
        consumer.phase = if consumer.seat == Seat::In { Phase::TakingOver(TakeOver::Look) } else { Phase::Idle };
    }

    pub(super) fn crash(&mut self, by: usize) {
        self.orphan_inserts(by);
        self.consumers[by] = Consumer::down();
        if self.kafka.member == Some(by) {
            self.kafka.member = None;
        }
    }

    fn orphan_inserts(&mut self, by: usize) {
        for insert in &mut self.clickhouse.inserts {
            if insert.by == Some(by) {
                insert.by = None;
            }
        }
    }
}
