//! The group's side, as `read/reader.rs`, `claim/coordinator.rs` and `claim/coordinator/release.rs` see it.

use footprint_protocol::first_start::commit_mark;
use footprint_protocol::partition::{Ended, Release};

use crate::config::Config;
use crate::consumer::{Consumer, Machine, Owning, Seat, later, now};
use crate::guard::Guard;
use crate::world::{Broken, World, source};

impl World {
    pub(super) fn assign(&mut self, by: usize) {
        self.kafka.member = Some(by);
        if !self.consumers[by].up {
            self.consumers[by].definition = self.definition;
        }
        self.consumers[by].up = true;
        self.consumers[by].seat = Seat::In;
        self.consumers[by].machine.get_or_insert_with(Machine::assigned).assign();
    }

    /// An old consumer, which has the partition, stores and commits another record.
    pub(super) fn old_commits(&mut self) {
        let life = self.kafka.life;
        self.floor[life] += 1;
        self.kafka.committed = Some((self.floor[life], String::new()));
    }

    /// The group revokes the partition. Nothing new is claimed, and batches under way continue. A take-over under way is no
    /// longer wanted.
    pub(super) fn revoke(&mut self, by: usize) {
        let consumer = &mut self.consumers[by];
        consumer.seat = Seat::Leaving;
        if let Some(machine) = &mut consumer.machine {
            machine.revoke(now(), later());
            machine.release(now(), false);
        }
    }

    /// The consumer learns that it has no partition any more.
    pub(super) fn leave(&mut self, by: usize) {
        self.end(by);
        let consumer = &mut self.consumers[by];
        consumer.seat = Seat::Out;
        if let Some(machine) = &mut consumer.machine {
            machine.revoke(now(), now());
        }
        self.forget_machine(by);
    }

    /// Drops a machine when nothing is left of it, as the coordinator does.
    pub(super) fn forget_machine(&mut self, by: usize) {
        let consumer = &mut self.consumers[by];
        if consumer.seat == Seat::Out && consumer.machine.as_ref().is_some_and(Machine::may_be_dropped) {
            consumer.machine = None;
        }
    }

    /// The consumer releases the partition, drained or at its deadline.
    pub(super) fn release(&mut self, config: &Config, by: usize) {
        if !config.guards.hold(Guard::RevokeOrder)
            && let Some(owning) = self.consumers[by].owning()
            && owning.life == self.kafka.life
            && let Some(tracker) = self.consumers[by].tracker()
        {
            let mark = commit_mark(source(owning.life));
            self.kafka.late_commit = Some((tracker.recorded_frontiers().lowest(), mark));
        }
        if let Some(machine) = &mut self.consumers[by].machine
            && !matches!(machine.release(later(), true), Release::Commit | Release::Ready { .. })
        {
            return self.fault(Broken::Stuck);
        }
        self.leave(by);
        if self.kafka.member == Some(by) {
            self.kafka.member = None;
        }
    }

    /// An ownership ends. As long as the group gives it the partition, the consumer takes it over again. An insert in flight
    /// loses its client.
    pub(super) fn end(&mut self, by: usize) {
        self.orphan_inserts(by);
        if let Some(machine) = &mut self.consumers[by].machine {
            machine.end("");
        }
    }

    /// The machine says that the ownership has ended.
    pub(super) fn heard(&mut self, by: usize, heard: Result<(), Ended<Box<Owning>>>) -> bool {
        if heard.is_err() {
            self.orphan_inserts(by);
        }
        heard.is_ok()
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
