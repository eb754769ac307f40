//! The steps that can come next.

use footprint_protocol::offset::Offset;

use crate::config::Config;
use crate::consumer::{Machine, Owning, Seat, Writer};
use crate::guard::Guard;
use crate::servers::Late;
use crate::world::{Answer, Orphan, Step, World};

impl World {
    /// Every step that is possible now.
    pub fn steps(&self, config: &Config, steps: &mut Vec<Step>) {
        if self.broken.is_some() {
            return;
        }
        if self.kafka.end < config.records {
            steps.push(Step::Produce);
        }
        for by in 0..self.consumers.len() {
            if self.consumers[by].up {
                self.group_steps(by, steps);
                self.take_over_steps(config, by, steps);
                self.owner_steps(config, by, steps);
            } else if self.kafka.member.is_none() {
                steps.push(Step::Assign(by));
            }
        }
        self.server_steps(steps);
        self.fault_steps(config, steps);
    }

    fn group_steps(&self, by: usize, steps: &mut Vec<Step>) {
        let (consumer, member) = (&self.consumers[by], self.kafka.member);
        if self.budget.crashes > 0 {
            steps.push(Step::Crash(by));
        }
        match consumer.seat {
            Seat::Out if member.is_none() && consumer.taking.is_none() => steps.push(Step::Assign(by)),
            Seat::Out => {}
            Seat::In if member == Some(by) => {
                if self.budget.moves > 0 {
                    steps.push(Step::Revoke(by));
                    if self.consumers.len() > 1 {
                        steps.push(Step::Expel(by));
                    }
                }
            }
            Seat::Leaving if member == Some(by) => steps.push(Step::Release(by)),
            Seat::In | Seat::Leaving => steps.push(Step::Notice(by)),
        }
    }

    /// The ways a statement can end.
    fn answers(&self, is_statement: bool) -> impl Iterator<Item = Answer> {
        let lost = (is_statement && self.budget.lost_answers > 0).then_some(Answer::Lost);
        let late = (is_statement && self.budget.late > 0).then_some(Answer::Late);
        [Some(Answer::Fine), lost, late].into_iter().flatten()
    }

    fn take_over_steps(&self, config: &Config, by: usize, steps: &mut Vec<Step>) {
        let consumer = &self.consumers[by];
        let waits = consumer.taking.as_ref().is_some_and(|taking| self.waits_out(config, taking));
        let may_begin = self.kafka.member == Some(by) || self.budget.retakes > 0;
        let begins = consumer.taking.is_none() && consumer.wants_take_over() && may_begin;
        if begins || consumer.is_attempt_wanted() && !waits {
            let is_statement = Self::take_over_is_statement(config, consumer.taking.as_ref()) && !consumer.broken;
            steps.extend(self.answers(is_statement).map(|answer| Step::TakeOver(by, answer)));
        } else if consumer.taking.is_some() && !consumer.is_attempt_wanted() && !waits {
            steps.push(Step::Stray(by, Answer::Fine));
        }
    }

    fn owner_steps(&self, config: &Config, by: usize, steps: &mut Vec<Step>) {
        let consumer = &self.consumers[by];
        let (Some(owning), Some(machine)) = (consumer.owning(), &consumer.machine) else { return };
        let Some(tracker) = consumer.tracker() else { return };
        let has_room = owning.queue.len() < config.queue_max;
        if consumer.seat == Seat::In && machine.ready_count() == 0 {
            for count in self.reads(config, owning) {
                if config.topic_may_change() {
                    steps.push(Step::Read(by, count));
                } else if has_room {
                    let claims = owning.position + count > tracker.claimed();
                    steps.extend(self.answers(claims && !consumer.broken).map(|answer| Step::Next(by, count, answer)));
                }
            }
        }
        let is_asked = machine.waits_for_topic_check()
            || config.guards.hold(Guard::TopicIdWhenIdle) && self.kafka.life != owning.life;
        if is_asked && config.guards.hold(Guard::TopicId) {
            steps.push(Step::Describe(by));
        }
        if has_room && (consumer.may_send(config) || consumer.may_claim()) {
            let claims = !consumer.may_send(config);
            steps.extend(self.answers(claims && !consumer.broken).map(|answer| Step::Send(by, answer)));
        }
        if config.guards.hold(Guard::IdleHeartbeat) || tracker.is_unrecorded() || !owning.proof {
            steps.push(Step::Beat(by, Answer::Fine));
            if self.budget.lost_answers > 0 && tracker.is_unrecorded() {
                steps.push(Step::Beat(by, Answer::Lost));
            }
        }
        if config.slow_commits && self.would_commit(config, owning, machine) {
            steps.push(Step::Commit(by));
        } else if self.kafka.life == owning.life
            && self.kafka.committed.as_ref().is_some_and(|(offset, _)| *offset < tracker.recorded_frontiers().lowest())
        {
            steps.push(Step::Recommit(by));
        }
        if owning.postgres_uncertain > 0 {
            steps.push(Step::Resolve(by));
        }
        for count in 1..=config.queue_max {
            if owning.may_write(count) {
                steps.extend(self.answers(true).map(|answer| Step::Write(by, count, answer)));
            }
        }
        let late = self.budget.late > 0;
        if owning.may_deliver(config) {
            steps.push(Step::Deliver { by, unseen: false });
            if late && owning.delivery_inserts(config) {
                steps.push(Step::Deliver { by, unseen: true });
            }
        }
        if matches!(owning.clickhouse, Writer::LeavingOut { .. }) {
            steps.extend(self.answers(true).map(|answer| Step::LeaveOut(by, answer)));
        }
        if owning.may_repair(config) {
            steps.push(Step::Repair { by, unseen: false });
            if late && matches!(owning.clickhouse, Writer::Missing { .. }) {
                steps.push(Step::Repair { by, unseen: true });
            }
        }
        if !config.guards.hold(Guard::NoReset) && machine.ready_count() == 0 && owning.position < self.kafka.end {
            steps.push(Step::Reset(by));
        }
    }

    fn would_commit(&self, config: &Config, owning: &Owning, machine: &Machine) -> bool {
        if config.guards.hold(Guard::CommitFromLedger) {
            return machine.to_commit().is_some();
        }
        let committed = self.kafka.committed.as_ref().map(|(offset, _)| *offset);
        self.kafka.life == owning.life && committed != machine.tracker().map(|tracker| tracker.frontiers().lowest())
    }

    /// How many offsets the next batch may cover. It never crosses a cut, and below `claimed` it ends exactly at one.
    fn reads(&self, config: &Config, owning: &Owning) -> impl Iterator<Item = Offset> + use<> {
        let (position, end) = (owning.position, self.kafka.end);
        let cut = owning.plan.cuts.iter().copied().find(|&cut| cut > position).unwrap_or(Offset::MAX);
        let bound = position < owning.plan.claimed && config.guards.hold(Guard::ClaimEnds);
        let (low, high) = if bound {
            (cut - position, cut - position)
        } else {
            (1, config.batch_max.min(cut.saturating_sub(position)))
        };
        (low..=high).filter(move |count| position + count <= end)
    }

    fn server_steps(&self, steps: &mut Vec<Step>) {
        if self.kafka.late_commit.is_some() {
            steps.push(Step::LandCommit);
        }
        for (at, insert) in self.clickhouse.inserts.iter().enumerate() {
            steps.extend(Self::parts_left(insert).map(|part| Step::Land { insert: at, part }));
        }
        steps.extend((0..self.postgres.late.len()).map(Step::LandLate));
    }

    fn fault_steps(&self, config: &Config, steps: &mut Vec<Step>) {
        let budget = &self.budget;
        let inserts = &self.clickhouse.inserts;
        if budget.failures > 0 {
            for (insert, _) in inserts.iter().enumerate().filter(|(_, insert)| insert.by.is_some()) {
                for broke in [false, true] {
                    steps.push(Step::Fail { insert, broke, orphan: Orphan::Lives });
                    steps.push(Step::Fail { insert, broke, orphan: Orphan::Dies });
                }
            }
        }
        if budget.clickhouse_crashes > 0 && !inserts.is_empty() {
            steps.push(Step::CrashClickHouse(None));
            for (at, insert) in inserts.iter().enumerate().filter(|(_, insert)| !insert.unseen) {
                steps.extend(Self::parts_left(insert).map(|part| Step::CrashClickHouse(Some((at, part)))));
            }
        }
        let seen = inserts.iter().all(|insert| !insert.unseen);
        let age = self.consumers.iter().any(|consumer| {
            consumer.owning().is_some_and(|owning| owning.proof)
                || consumer.is_attempt_wanted() && consumer.taking.as_ref().is_some_and(|taking| taking.fence.is_some())
        });
        let optional = [
            (budget.ages > 0 && age, Step::Age),
            (budget.forgets > 0 && inserts.is_empty(), Step::Forget),
            (budget.postgres_crashes > 0, Step::CrashPostgres),
            (budget.backups > 0, Step::Backup),
            (budget.restores > 0 && seen, Step::Restore),
            (budget.replaces > 0 && self.kafka.life == 0, Step::Replace),
            (budget.old_commits > 0 && self.old_may_commit(), Step::OldCommits),
            (budget.redefines > 0 && self.definition == 0, Step::Redefine),
            (config.switch_postgres && seen && (budget.switches > 0 || !self.postgres_on), Step::SwitchPostgres),
            (!config.switch_postgres && seen && (budget.switches > 0 || !self.clickhouse_on), Step::SwitchClickHouse),
        ];
        steps.extend(optional.into_iter().filter_map(|(may, step)| may.then_some(step)));
    }

    /// Whether the old consumer may have the partition: none of our consumers has it, takes it over, or has had it. A commit
    /// during a take-over cannot be told from a commit before it.
    fn old_may_commit(&self) -> bool {
        let life = self.kafka.life;
        let is_ours = self.kafka.member.is_some()
            || self.postgres.tables.ledger[life].is_some()
            || self.consumers.iter().any(|consumer| {
                consumer.taking.is_some() || consumer.machine.as_ref().is_some_and(Machine::is_assigned)
            })
            || self.postgres.late.iter().any(|late| matches!(late, Late::TakeOver { .. }));
        !is_ours && self.floor[life] < self.kafka.end
    }
}
