//! A take-over's steps, like those of `claim/take_over.rs` and `claim/coordinator/take_overs.rs`.

use footprint_protocol::first_start::{FirstStarts, RecordedStart, starts_at_end};
use footprint_protocol::ledger::{OwnerId, SinkName};
use footprint_protocol::offset::Offset;
use footprint_protocol::take_over::steps::{Answer as Answered, Ask, Ended, Given, TakeOver, Taken};
use footprint_protocol::take_over::{Plan, Settled};

use crate::config::Config;
use crate::consumer::{Machine, Owning, Taking};
use crate::guard::Guard;
use crate::ledger::{self, Fence};
use crate::servers::{Insert, Late, Offsets};
use crate::world::{Answer, Broken, World, source};

impl World {
    pub(super) fn step_take_over(&mut self, config: &Config, by: usize, answer: Answer) {
        let consumer = &mut self.consumers[by];
        if let (Some(machine), None) = (&mut consumer.machine, &consumer.taking) {
            machine.take_over_began();
        }
        self.step(config, by, answer);
    }

    /// A take-over that is no longer wanted continues to its end, and its right is void.
    pub(super) fn step_stray(&mut self, config: &Config, by: usize, answer: Answer) {
        self.step(config, by, answer);
        self.forget_machine(by);
    }

    fn step(&mut self, config: &Config, by: usize, answer: Answer) {
        let taking = self.consumers[by].taking.take();
        if self.consumers[by].broken {
            return self.take_over_lost(by);
        }
        let mut taking = taking.unwrap_or_else(|| self.begin(config));
        if !is_statement(&taking.steps) {
            self.look(config, &mut taking);
            // answers before the statement stay true until it is sent, except the topic's life: a restore breaks the connection
            if config.topic_may_change() || !matches!(taking.steps.ask(), Ok(Ask::TakeRow { .. } | Ask::WriteStarts(_)))
            {
                return self.go_on(config, by, taking);
            }
        }
        if self.state(config, &mut taking, answer) { self.go_on(config, by, taking) } else { self.take_over_lost(by) }
    }

    fn begin(&self, config: &Config) -> Taking {
        let life = self.kafka.life;
        let given = Given {
            source: source(life),
            partition: 0,
            switches: config.switches(self.postgres_on, self.clickhouse_on),
            other_lives_known: self.other_lives_known(life),
        };
        Taking { life, steps: TakeOver::new(given), fence: None, sighted: true }
    }

    /// The ledger's connection was lost during it.
    fn take_over_lost(&mut self, by: usize) {
        let consumer = &mut self.consumers[by];
        if consumer.is_attempt_wanted() {
            consumer.broken = false;
        }
        if let Some(machine) = &mut consumer.machine {
            machine.take_over_lost();
        }
    }

    /// Uses the answers so far: the take-over has more questions, or ends.
    fn go_on(&mut self, config: &Config, by: usize, taking: Taking) {
        let plan = match taking.steps.ask() {
            Ok(_) => {
                self.consumers[by].taking = Some(taking);
                return;
            }
            Err(Ended::Ours(plan)) => Some(Plan::clone(plan)),
            Err(Ended::Replaced | Ended::Fenced) => None,
        };
        let (Some(mut plan), Some(fence)) = (plan, taking.fence) else {
            // nothing in the model waits: the next attempt starts at once
            self.consumers[by].machine.iter_mut().for_each(Machine::take_over_lost);
            return;
        };
        if !config.guards.hold(Guard::ClaimEnds) {
            plan.cuts.clear();
        }
        if !config.guards.hold(Guard::Doubtful) {
            plan.doubtful_below = None;
        }
        let life = taking.life;
        let mut owning = Owning::new(life, self.postgres.cluster, fence, plan, taking.sighted);
        owning.left_out = self.postgres.tables.refused[life][1];
        if let Some(machine) = &mut self.consumers[by].machine {
            machine.taken_over(Box::new(owning));
        }
    }

    /// Answers every question that is not a statement, up to the next statement or the end.
    fn look(&mut self, config: &Config, taking: &mut Taking) {
        while let Ok(ask) = taking.steps.ask().map_err(|_| ()) {
            if matches!(ask, Ask::WriteStarts(_) | Ask::TakeRow { .. } | Ask::Settle(_)) {
                return;
            }
            let answer = self.answer_to(config, taking.life, &ask);
            if let Err(corrupt) = taking.steps.answer(answer) {
                return self.fault(Broken::Stopped(corrupt.to_string()));
            }
        }
    }

    /// The answers of Kafka, the ledger and ClickHouse. Without a guard, the answer is what a consumer that does not ask would
    /// assume.
    fn answer_to(&mut self, config: &Config, life: usize, ask: &Ask) -> Answered {
        let holds = |guard| config.guards.hold(guard);
        match ask {
            Ask::Watermarks => Answered::Watermarks(0, self.kafka.end),
            Ask::Row => Answered::Row(self.postgres.tables.ledger[life].is_some()),
            Ask::Starts if !config.has_first_start() => {
                Answered::Starts(Some(FirstStarts { commits: vec![None], ends: None }))
            }
            Ask::Starts if !holds(Guard::FirstStart) => {
                let end = config.starts_at_end.then_some(vec![self.kafka.end]);
                Answered::Starts(Some(FirstStarts { commits: vec![None], ends: end }))
            }
            Ask::Starts => Answered::Starts(self.postgres.tables.starts[life].clone()),
            Ask::FirstStart => Answered::FirstStart(self.starts_seen(config, life)),
            Ask::Committed => Answered::Committed(self.committed_seen(config)),
            Ask::HoldsRows => {
                let holds_rows = self.clickhouse_on && !self.clickhouse.rows[life].is_empty();
                Answered::HoldsRows(holds_rows && holds(Guard::LostLedger))
            }
            Ask::Drain { .. } => {
                if holds(Guard::Drain) {
                    self.drain(config, life);
                }
                Answered::Drained
            }
            Ask::Highest { from, .. } => {
                let above = self.clickhouse.rows[life].minus(Offsets::below(*from));
                Answered::Highest(above.highest().filter(|_| holds(Guard::HighestOffset)))
            }
            Ask::End => Answered::End(self.kafka.end),
            Ask::TopicId => Answered::TopicId(self.kafka.life == life || !holds(Guard::TopicId)),
            Ask::WriteStarts(_) | Ask::TakeRow { .. } | Ask::Settle(_) => unreachable!("a statement"),
        }
    }

    /// The committed offset, as a take-over sees it. Without the guard against a lost ledger, our own mark means nothing.
    fn committed_seen(&self, config: &Config) -> Option<(Offset, String)> {
        let seen = self.kafka.committed.clone();
        if !config.guards.hold(Guard::LostLedger) {
            return seen.map(|(offset, _)| (offset, String::new()));
        }
        seen.filter(|(_, mark)| !mark.is_empty() || config.guards.hold(Guard::CommitWhenTaken))
    }

    /// Sends a statement. False: the connection is lost with its answer.
    fn state(&mut self, config: &Config, taking: &mut Taking, answer: Answer) -> bool {
        let life = taking.life;
        let Ok(ask) = taking.steps.ask() else { return true };
        let answered = match ask {
            Ask::WriteStarts(starts) => {
                if answer == Answer::Late {
                    self.postgres.late.push(Late::Starts { life, starts });
                    return false;
                }
                self.land_starts(config, life, &starts);
                Answered::Written
            }
            Ask::TakeRow { start, .. } => {
                let owner = if config.guards.hold(Guard::FreshOwner) { self.fresh_owner() } else { OwnerId(0) };
                if answer == Answer::Late {
                    self.postgres.late.push(Late::TakeOver { life, owner, start });
                    return false;
                }
                let birth = self.fresh_birth(life);
                let slot = &mut self.postgres.tables.ledger[life];
                let ledger::TakeOverAnswer { row, gone_back, another } = ledger::take_over(slot, owner, &start, birth);
                (taking.fence, taking.sighted) = (Some(Fence { epoch: row.epoch, owner }), true);
                Answered::Taken(Box::new(Taken { row, may_have_gone_back: gone_back, is_from_other_cluster: another }))
            }
            Ask::Settle(settled) => {
                let Some(fence) = taking.fence else { return true };
                if answer == Answer::Late {
                    self.postgres.late.push(Late::Settle { life, fence, settled });
                    return false;
                }
                Answered::Settled(self.land_settled(life, &fence, &settled))
            }
            _ => return true,
        };
        if answer == Answer::Lost {
            return false;
        }
        if let Err(corrupt) = taking.steps.answer(answered) {
            self.fault(Broken::Stopped(corrupt.to_string()));
        }
        true
    }

    fn other_lives_known(&self, life: usize) -> bool {
        self.postgres.tables.ledger.iter().enumerate().any(|(other, row)| other != life && row.is_some())
    }

    /// The first start that would be recorded.
    fn starts_seen(&self, config: &Config, life: usize) -> FirstStarts {
        let (committed, others) = ([self.kafka.committed.clone()], self.other_lives_known(life));
        let at_end = starts_at_end(config.starts_at_end, source(life), others, &committed);
        FirstStarts::new(others, &committed, at_end.then(|| vec![self.kafka.end]))
    }

    /// Records the first start. The log's end at that time is where we must start.
    pub(super) fn land_starts(&mut self, config: &Config, life: usize, starts: &FirstStarts) {
        let tables = &mut self.postgres.tables;
        let written = ledger::write_starts(&mut tables.starts[life], tables.ledger[life].is_some(), starts);
        if let Some(RecordedStart { commit: None, end: Some(end) }) =
            starts.of(0).filter(|_| written && config.starts_at_end)
        {
            self.floor[life] = end;
        }
    }

    /// Whether a take-over waits: older inserts may use unknown ids, and one of them runs.
    pub fn waits_out(&self, config: &Config, taking: &Taking) -> bool {
        let cluster = self.postgres.cluster;
        let runs = |insert: &Insert| insert.life == taking.life && insert.cluster != cluster && !insert.unseen;
        config.guards.hold(Guard::WaitOutUnknown)
            && matches!(taking.steps.ask(), Ok(Ask::Drain { id_is_known: false }))
            && self.clickhouse.inserts.iter().any(runs)
    }

    /// Whether the next step of a take-over sends a statement.
    pub fn take_over_is_statement(config: &Config, taking: Option<&Taking>) -> bool {
        match taking.map(|taking| taking.steps.ask()) {
            None => !config.topic_may_change(),
            Some(Ok(Ask::WriteStarts(_) | Ask::TakeRow { .. } | Ask::Settle(_))) => true,
            Some(Ok(Ask::Drain { .. } | Ask::Highest { .. } | Ask::End | Ask::TopicId)) => false,
            Some(Ok(_)) => !config.topic_may_change(),
            Some(Err(_)) => false,
        }
    }

    /// Ends the insert that runs under the query id of a life's inserts.
    pub(super) fn drain(&mut self, config: &Config, life: usize) {
        if let Some(at) = self.running(config, life, self.postgres.cluster) {
            self.kill_insert(config, at);
        }
    }

    /// The index of the insert that runs under the query id of a life's inserts.
    pub(super) fn running(&self, config: &Config, life: usize, cluster: usize) -> Option<usize> {
        let runs = |insert: &Insert| insert.life == life && insert.cluster == cluster && !insert.unseen;
        self.clickhouse.inserts.iter().position(runs).filter(|_| config.guards.hold(Guard::OneQueryId))
    }

    pub(super) fn land_settled(&mut self, life: usize, fence: &Fence, settled: &Settled) -> bool {
        let landed = ledger::settle(&mut self.postgres.tables.ledger[life], fence, settled);
        if landed {
            for gap in &settled.gaps {
                let offsets = Offsets::of(gap.range);
                for (place, sink) in [SinkName::Postgres, SinkName::ClickHouse].into_iter().enumerate() {
                    if gap.sink.is_none_or(|of| of == sink) {
                        let noted = &mut self.postgres.tables.gaps[life][place];
                        *noted = noted.or(offsets);
                    }
                }
            }
        }
        landed
    }
}

fn is_statement(steps: &TakeOver) -> bool {
    matches!(steps.ask(), Ok(Ask::WriteStarts(_) | Ask::TakeRow { .. } | Ask::Settle(_)))
}

impl Taking {
    /// Visits the epochs of a life that it holds.
    pub fn each_epoch(&mut self, of: usize, visit: &mut impl FnMut(&mut i64)) {
        if self.life != of {
            return;
        }
        if let Some(fence) = &mut self.fence {
            visit(&mut fence.epoch);
        }
        if let Some(row) = self.steps.row_mut() {
            visit(&mut row.epoch);
        }
    }
}

impl Late {
    /// The owner that it carries.
    pub fn owner(&self) -> OwnerId {
        match self {
            Self::Starts { .. } => OwnerId(0),
            Self::TakeOver { owner, .. } => *owner,
            Self::Settle { fence, .. } => fence.owner,
            Self::Claim { wanted, .. } => wanted.fence.owner,
            Self::Write { write, .. } => write.advance.fence.owner,
            Self::LeaveOut { fence, .. } => fence.owner,
        }
    }

    /// Visits the epochs of a life that it holds.
    pub fn each_epoch(&mut self, of: usize, visit: &mut impl FnMut(&mut i64)) {
        match self {
            Self::Settle { life, fence, settled } if *life == of => {
                visit(&mut fence.epoch);
                visit(&mut settled.row.epoch);
            }
            Self::Claim { life, wanted } if *life == of => visit(&mut wanted.fence.epoch),
            Self::Write { life, write } if *life == of => visit(&mut write.advance.fence.epoch),
            Self::LeaveOut { life, fence, .. } if *life == of => visit(&mut fence.epoch),
            _ => {}
        }
    }
}
