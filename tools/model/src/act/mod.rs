//! What each step does. Every decision is one of the program's own functions. Only what the program does around it (statements,
//! waits, messages) is written again here, with the name of the file that it follows.

mod clickhouse;
mod faults;
mod group;
mod ledger;
mod postgres;
mod takeover;

use crate::config::Config;
use crate::world::{Answer, Step, World};

impl World {
    pub(crate) fn take(&mut self, config: &Config, step: &Step) {
        self.charge(step);
        match *step {
            Step::Produce => self.kafka.end += 1,
            Step::Crash(by) => self.crash(by),
            Step::Assign(by) => self.assign(by),
            Step::Revoke(by) => self.revoke(by),
            Step::Expel(_) => self.kafka.member = None,
            Step::Notice(by) => self.leave(by),
            Step::Release(by) => self.release(config, by),
            Step::LandCommit => {
                if let Some(commit) = self.kafka.late_commit.take() {
                    self.kafka.committed = Some(commit);
                }
            }
            Step::TakeOver(by, answer) => self.step_take_over(config, by, answer),
            Step::Stray(by, answer) => self.step_stray(config, by, answer),
            Step::Read(by, count) => self.read(config, by, count),
            Step::Describe(by) => self.describe(by),
            Step::Send(by, answer) => self.send(config, by, answer),
            Step::Next(by, count, answer) => {
                self.read(config, by, count);
                self.send(config, by, answer);
            }
            Step::Beat(by, answer) => self.beat(config, by, answer),
            Step::Commit(by) => self.commit(config, by),
            Step::Recommit(by) => self.recommit(config, by),
            Step::Write(by, count, answer) => self.write(config, by, count, answer),
            Step::Resolve(by) => self.resolve(by),
            Step::Deliver { by, unseen } => self.deliver(config, by, unseen),
            Step::Repair { by, unseen } => self.repair(config, by, unseen),
            Step::LeaveOut(by, answer) => self.leave_out(config, by, answer),
            Step::Land { insert, part } => self.land(config, insert, part),
            Step::LandLate(at) => self.land_late(config, at),
            Step::Fail { insert, broke, orphan } => self.fail(config, insert, broke, orphan),
            Step::Age => self.age(),
            Step::Forget => self.forget(),
            Step::CrashClickHouse(half) => self.crash_clickhouse(config, half),
            Step::CrashPostgres => self.crash_postgres(),
            Step::Backup => *self.postgres.backup = self.postgres.tables.clone(),
            Step::Restore => self.restore(),
            Step::Replace => self.replace(config),
            Step::SwitchPostgres => self.switch_postgres(),
            Step::SwitchClickHouse => self.switch_clickhouse(),
            Step::Reset(by) => self.reset(by),
            Step::OldCommits => self.old_commits(),
            Step::Redefine => self.definition = 1,
        }
    }

    /// The cost of a step.
    fn charge(&mut self, step: &Step) {
        if let Step::TakeOver(by, _) = *step
            && self.kafka.member != Some(by)
            && self.consumers[by].taking.is_none()
        {
            self.budget.retakes -= 1;
        }
        let budget = &mut self.budget;
        match step {
            Step::TakeOver(_, answer)
            | Step::Stray(_, answer)
            | Step::Send(_, answer)
            | Step::Next(_, _, answer)
            | Step::Beat(_, answer)
            | Step::LeaveOut(_, answer)
            | Step::Write(_, _, answer) => match answer {
                Answer::Fine => {}
                Answer::Lost => budget.lost_answers -= 1,
                Answer::Late => budget.late -= 1,
            },
            Step::Deliver { unseen: true, .. } | Step::Repair { unseen: true, .. } => budget.late -= 1,
            Step::Crash(_) => budget.crashes -= 1,
            Step::Revoke(_) | Step::Expel(_) => budget.moves -= 1,
            Step::Fail { .. } => budget.failures -= 1,
            Step::Age => budget.ages -= 1,
            Step::Forget => budget.forgets -= 1,
            Step::CrashClickHouse(_) => budget.clickhouse_crashes -= 1,
            Step::CrashPostgres => budget.postgres_crashes -= 1,
            Step::Backup => budget.backups -= 1,
            Step::Restore => budget.restores -= 1,
            Step::Replace => budget.replaces -= 1,
            Step::OldCommits => budget.old_commits -= 1,
            Step::Redefine => budget.redefines -= 1,
            // to switch off costs; to switch on again is the cure
            Step::SwitchPostgres if self.postgres_on => budget.switches -= 1,
            Step::SwitchClickHouse if self.clickhouse_on => budget.switches -= 1,
            _ => {}
        }
    }
}
