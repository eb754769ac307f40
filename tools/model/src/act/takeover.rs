//! A take-over's steps, as `claim/take_over.rs` and `claim/coordinator/take_overs.rs` take them.

use footprint_protocol::first_start::{FirstStart, Starts, Unknown, Written, commit_mark, first_start, starts_at_end};
use footprint_protocol::ledger::{Row, SinkName};
use footprint_protocol::take_over::{Observed, Settled, insert_id_is_known, question_from, settle, switch};
use uuid::Uuid;

use crate::config::Config;
use crate::consumer::{Owning, Phase, Seat, TakeOver};
use crate::guard::Guard;
use crate::ledger::{self, Fence, Taken};
use crate::servers::{Insert, Late, Offsets};
use crate::world::{Answer, Broken, World, source};

/// What a take-over has heard before it asks ClickHouse.
struct Asked {
    life: usize,
    gone_back: bool,
    known: bool,
    lost: bool,
}

/// How a take-over goes on.
enum Next {
    On(TakeOver),
    Owns(Box<Owning>),
    /// Try again from the start.
    Again,
    /// The ledger's connection is lost.
    LedgerLost,
}

impl World {
    pub(super) fn step_take_over(&mut self, config: &Config, by: usize, answer: Answer) {
        let Phase::TakingOver(taking) = std::mem::replace(&mut self.consumers[by].phase, Phase::Idle) else { return };
        let phase = match self.next_of(config, by, taking, answer) {
            Next::On(taking) => Phase::TakingOver(taking),
            Next::Owns(owning) if self.consumers[by].seat == Seat::In => Phase::Owning(owning),
            Next::Again | Next::Owns(_) => Phase::TakingOver(TakeOver::Look),
            Next::LedgerLost => {
                self.consumers[by].broken = false;
                Phase::TakingOver(TakeOver::Look)
            }
        };
        self.consumers[by].phase = phase;
    }

    /// A take-over that is no longer wanted goes on to its end, which nobody hears.
    pub(super) fn step_stray(&mut self, config: &Config, by: usize, answer: Answer) {
        let Some(taking) = self.consumers[by].stray.take() else { return };
        if let Next::On(taking) = self.next_of(config, by, taking, answer) {
            self.consumers[by].stray = Some(taking);
        }
    }

    fn next_of(&mut self, config: &Config, by: usize, taking: TakeOver, answer: Answer) -> Next {
        if self.consumers[by].broken {
            return Next::LedgerLost;
        }
        match taking {
            // what is read beforehand stands until the statement, save the topic's life: a restore breaks the connection
            TakeOver::Look if config.topic_may_change() => Next::On(self.look(config)),
            TakeOver::Look => {
                let take = self.look(config);
                self.next_of(config, by, take, answer)
            }
            TakeOver::Starts { life, starts } => {
                if answer == Answer::Late {
                    self.postgres.late.push(Late::Starts { life, starts });
                    return Next::LedgerLost;
                }
                self.land_starts(config, life, &starts);
                if answer == Answer::Lost { Next::LedgerLost } else { Next::On(TakeOver::Look) }
            }
            TakeOver::Take { life, start, known } => {
                let ledger_lost = start.ledger_lost;
                let owner = if config.guards.hold(Guard::FreshOwner) { self.fresh_owner() } else { Uuid::nil() };
                if answer == Answer::Late {
                    self.postgres.late.push(Late::TakeOver { life, owner, start });
                    return Next::LedgerLost;
                }
                let birth = self.fresh_birth(life);
                let slot = &mut self.postgres.tables.ledger[life];
                let Taken { row, gone_back, another } = ledger::take_over(slot, owner, &start, birth);
                if answer == Answer::Lost {
                    return Next::LedgerLost;
                }
                let fence = Fence { epoch: row.epoch, owner };
                Next::On(TakeOver::Ask {
                    life,
                    fence,
                    row: Box::new(row),
                    gone_back,
                    another,
                    known,
                    lost: ledger_lost,
                    sighted: true,
                })
            }
            TakeOver::Ask { life, fence, row, gone_back, known, lost, sighted, .. } => {
                let asked = Asked { life, gone_back, known, lost };
                self.ask(config, *row, &asked).map_or(Next::Again, |settled| {
                    Next::On(TakeOver::Settle { life, fence, settled: Box::new(settled), sighted })
                })
            }
            TakeOver::Settle { life, fence, settled, sighted } => {
                if answer == Answer::Late {
                    self.postgres.late.push(Late::Settle { life, fence, settled });
                    return Next::LedgerLost;
                }
                let landed = self.land_settled(life, &fence, &settled);
                match (landed, answer) {
                    (_, Answer::Lost) => Next::LedgerLost,
                    (false, _) => Next::Again,
                    (true, _) => {
                        let mut plan = settled.plan;
                        if !config.guards.hold(Guard::ClaimEnds) {
                            plan.cuts.clear();
                        }
                        if !config.guards.hold(Guard::Doubtful) {
                            plan.doubtful_below = None;
                        }
                        let mut owning = Owning::new(life, self.postgres.cluster, fence, plan, sighted);
                        owning.left_out = self.postgres.tables.refused[life][1];
                        Next::Owns(Box::new(owning))
                    }
                }
            }
        }
    }

    /// Before the statement: what Kafka, the ledger and ClickHouse say of the partition.
    fn look(&self, config: &Config) -> TakeOver {
        let life = self.kafka.life;
        let ledger = &self.postgres.tables.ledger;
        let known = ledger[life].is_some();
        let at = |offset| FirstStart { offset, ledger_lost: false, why: "" };
        if known {
            return TakeOver::Take { life, start: at(0), known };
        }
        let starts = &self.postgres.tables.starts[life];
        if config.has_first_start() && starts.is_none() {
            return TakeOver::Starts { life, starts: self.starts_seen(config, life) };
        }
        if !config.guards.hold(Guard::LostLedger) {
            // what a consumer does that knows nothing but Kafka's offsets
            let start = self.kafka.committed.as_ref().map_or(0, |(offset, _)| *offset);
            return TakeOver::Take { life, start: at(start), known };
        }
        let committed = self.kafka.committed.as_ref().map(|(offset, mark)| (*offset, mark.as_str()));
        let committed = committed.filter(|(_, mark)| !mark.is_empty() || config.guards.hold(Guard::CommitWhenTaken));
        let written = match config.guards.hold(Guard::FirstStart) {
            true => starts.as_ref().and_then(|starts| starts.of(0)),
            false => Some(Written { commit: None, end: config.starts_at_end.then_some(self.kafka.end) }),
        };
        let start = first_start(&Unknown {
            committed,
            our_mark: &commit_mark(source(life)),
            clickhouse_holds_rows: self.clickhouse_on && !self.clickhouse.rows[life].is_empty(),
            written,
            other_lives_known: self.other_lives_known(life),
            log_start: 0,
            log_end: self.kafka.end,
        });
        TakeOver::Take { life, start, known }
    }

    fn other_lives_known(&self, life: usize) -> bool {
        self.postgres.tables.ledger.iter().enumerate().any(|(other, row)| other != life && row.is_some())
    }

    /// What is to be written down of the first start.
    fn starts_seen(&self, config: &Config, life: usize) -> Starts {
        let (committed, others) = ([self.kafka.committed.clone()], self.other_lives_known(life));
        let at_end = starts_at_end(config.starts_at_end, source(life), others, &committed);
        Starts::new(others, &committed, at_end.then(|| vec![self.kafka.end]))
    }

    /// The first start is written down; what was the log's end then is where we have to start.
    pub(super) fn land_starts(&mut self, config: &Config, life: usize, starts: &Starts) {
        let tables = &mut self.postgres.tables;
        let written = ledger::write_starts(&mut tables.starts[life], tables.ledger[life].is_some(), starts);
        if let Some(Written { commit: None, end: Some(end) }) = starts.of(0).filter(|_| written && config.starts_at_end)
        {
            self.floor[life] = end;
        }
    }

    /// After the statement: drain, ask for the highest offset, look at the topic's id again, decide.
    fn ask(&mut self, config: &Config, row: Row, asked: &Asked) -> Option<Settled> {
        let Asked { life, gone_back, known, lost: ledger_lost } = *asked;
        let switches = config.switches(self.postgres_on, self.clickhouse_on);
        let drains = footprint_protocol::take_over::must_drain(&row, known && !ledger_lost, gone_back);
        let (row, gaps) = switch(row, &switches);
        let mut clickhouse_highest = None;
        if self.clickhouse_on {
            if drains && config.guards.hold(Guard::Drain) {
                self.drain(config, life);
            }
            let above = self.clickhouse.rows[life].minus(Offsets::below(question_from(&row)));
            clickhouse_highest = above.highest().filter(|_| config.guards.hold(Guard::HighestOffset));
        }
        if self.kafka.life != life && config.guards.hold(Guard::TopicId) {
            return None;
        }
        let observed = Observed {
            log_start: 0,
            log_end: self.kafka.end,
            may_have_gone_back: gone_back,
            clickhouse_highest,
            ledger_lost,
        };
        match settle(row, &observed, &switches) {
            Ok(mut settled) => {
                settled.gaps.extend(gaps);
                Some(settled)
            }
            Err(corrupt) => {
                self.fault(Broken::Stopped(corrupt.to_string()));
                None
            }
        }
    }

    /// Whether a take-over waits: older inserts may go under ids that nobody knows, and one of them runs.
    pub fn waits_out(&self, config: &Config, taking: &TakeOver) -> bool {
        let TakeOver::Ask { life, row, another, lost, .. } = taking else { return false };
        let cluster = self.postgres.cluster;
        let runs = |insert: &Insert| insert.life == *life && insert.cluster != cluster && !insert.unseen;
        config.guards.hold(Guard::WaitOutUnknown)
            && self.clickhouse_on
            && !insert_id_is_known(row, *lost, *another)
            && self.clickhouse.inserts.iter().any(runs)
    }

    /// Ends what runs under the query id of a life's inserts.
    pub(super) fn drain(&mut self, config: &Config, life: usize) {
        if let Some(at) = self.running(config, life, self.postgres.cluster) {
            self.kill_insert(config, at);
        }
    }

    /// The place of the insert that runs under the query id of a life's inserts.
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

impl TakeOver {
    /// Visits the epoch it holds of a life.
    pub fn each_epoch(&mut self, of: usize, visit: &mut impl FnMut(&mut i64)) {
        match self {
            Self::Ask { life, fence, row, .. } if *life == of => {
                visit(&mut fence.epoch);
                visit(&mut row.epoch);
            }
            Self::Settle { life, fence, settled, .. } if *life == of => {
                visit(&mut fence.epoch);
                visit(&mut settled.row.epoch);
            }
            _ => {}
        }
    }

    /// Sightings are void.
    pub fn void(&mut self) {
        if let Self::Ask { sighted, .. } | Self::Settle { sighted, .. } = self {
            *sighted = false;
        }
    }
}

impl Late {
    /// The owner it carries.
    pub fn owner(&self) -> Uuid {
        match self {
            Self::Starts { .. } => Uuid::nil(),
            Self::TakeOver { owner, .. } => *owner,
            Self::Settle { fence, .. } => fence.owner,
            Self::Claim { wanted, .. } => wanted.fence.owner,
            Self::Write { write, .. } => write.advance.fence.owner,
            Self::LeaveOut { fence, .. } => fence.owner,
        }
    }

    /// Visits the epochs it holds of a life.
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
