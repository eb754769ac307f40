//! The steps of one try to take a partition over: what it asks, in the order that the protocol demands, and what it makes of
//! the answers. No I/O: its driver asks Kafka, the ledger and ClickHouse, and passes the answers back.

use super::{
    Corrupt, Gap, Observed, Plan, Settled, Switches, insert_id_is_known, must_drain, question_from, settle, switch,
};
use crate::first_start::{Committed, FirstStart, Starts, Unknown, Written, commit_mark, first_start};
use crate::ledger::{Row, SourceId};
use crate::offset::{Offset, Partition, Range};

/// What a take-over asks next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The log's start and its last stable offset.
    Watermarks,
    /// Whether the ledger has a row of the partition.
    Row,
    /// What the route's first start on the source has written down.
    Starts,
    /// What there is to write down of a first start, of every partition.
    FirstStart,
    /// Write it down, unless somebody has.
    WriteStarts(Starts),
    /// What the group committed for the partition.
    Committed,
    /// Whether ClickHouse holds any row of the source and partition.
    HoldsRows,
    /// The statement that takes the row, or makes it. What it proves is of the moment before it was sent.
    Take {
        /// Where a row that is made begins.
        start: FirstStart,
        /// The ledger had a row.
        has_row: bool,
    },
    /// End the older inserts of the partition, or, where their query id is not known, wait until none can run any more.
    Drain {
        /// They all go under the query id that this ledger's inserts go under.
        id_is_known: bool,
    },
    /// The highest offset that ClickHouse holds at or above `from`.
    Highest {
        /// Where the question begins.
        from: Offset,
        /// Where the ledger says that ClickHouse holds rows, for a look whether it still does.
        stored: Option<Range>,
    },
    /// The log's last stable offset, asked after the statement: it bounds everything that an older owner can have written.
    End,
    /// Whether the topic still has the id of the source: of another life the watermarks would say that records were lost.
    TopicId,
    /// Write what was decided.
    Settle(Box<Settled>),
}

/// An answer; each belongs to the question of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The log's start and end.
    Watermarks(Offset, Offset),
    /// There is a row.
    Row(bool),
    /// What is written down, if anything.
    Starts(Option<Starts>),
    /// What there is to write down.
    FirstStart(Starts),
    /// It was written down, or somebody had done so.
    Written,
    /// What was committed.
    Committed(Committed),
    /// ClickHouse holds rows.
    HoldsRows(bool),
    /// The row as the statement returned it.
    Taken(Box<Taken>),
    /// No older insert runs any more.
    Drained,
    /// The highest offset, if there is one.
    Highest(Option<Offset>),
    /// The log's end.
    End(Offset),
    /// The topic has the id of the source.
    TopicId(bool),
    /// The row was still ours, and is settled.
    Settled(bool),
}

/// What the statement returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taken {
    /// The row.
    pub row: Row,
    /// It was settled under another PostgreSQL, or before this one's start.
    pub may_have_gone_back: bool,
    /// It was settled under another cluster, whose inserts went under other query ids.
    pub is_anothers: bool,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The partition is ours, with this plan.
    Ours(Box<Plan>),
    /// Another life of the topic has begun.
    Replaced,
    /// Somebody else took the partition over meanwhile.
    Fenced,
}

/// What is known before the first question, and holds for the whole try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// The source.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// Which sinks are on.
    pub switches: Switches,
    /// Another life of the topic is known to the ledger.
    pub other_lives_known: bool,
}

/// One try to take a partition over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TakeOver {
    known: Known,
    step: Step,
}

/// The question that is open, and what the answers before it said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Watermarks,
    Row(Log),
    Starts { log: Log, were_written: bool },
    FirstStart(Log),
    WriteStarts(Log, Starts),
    Committed(Log, Option<Written>),
    HoldsRows(Log, Option<Written>, Committed),
    Take { log: Log, has_row: bool, start: FirstStart },
    Drain { held: Box<TakenRow>, id_is_known: bool },
    Highest(Box<TakenRow>),
    End(Box<TakenRow>, Option<Offset>),
    TopicId(Box<TakenRow>, Observed),
    Settle(Box<Settled>),
    Ended(Ended),
}

/// Where the log reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Log {
    start: Offset,
    end: Offset,
}

/// The row that the statement took, as the switches leave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TakenRow {
    log: Log,
    row: Row,
    gaps: Vec<Gap>,
    may_have_gone_back: bool,
    ledger_lost: bool,
}

impl TakenRow {
    fn stored(&self) -> Option<Range> {
        let first = self.row.first_offset.unwrap_or(0);
        self.row.nexts.clickhouse.filter(|&next| next > first).map(|next| Range::new(first, next))
    }
}

impl TakeOver {
    /// A try that has asked nothing yet.
    pub fn new(known: Known) -> Self {
        Self { known, step: Step::Watermarks }
    }

    /// What it asks next; or how it ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn ask(&self) -> Result<Ask, &Ended> {
        Ok(match &self.step {
            Step::Watermarks => Ask::Watermarks,
            Step::Row(_) => Ask::Row,
            Step::Starts { .. } => Ask::Starts,
            Step::FirstStart(_) => Ask::FirstStart,
            Step::WriteStarts(_, starts) => Ask::WriteStarts(starts.clone()),
            Step::Committed(..) => Ask::Committed,
            Step::HoldsRows(..) => Ask::HoldsRows,
            Step::Take { start, has_row, .. } => Ask::Take { start: *start, has_row: *has_row },
            Step::Drain { id_is_known, .. } => Ask::Drain { id_is_known: *id_is_known },
            Step::Highest(held) => Ask::Highest { from: question_from(&held.row), stored: held.stored() },
            Step::End(..) => Ask::End,
            Step::TopicId(..) => Ask::TopicId,
            Step::Settle(settled) => Ask::Settle(settled.clone()),
            Step::Ended(ended) => return Err(ended),
        })
    }

    /// Takes the answer to the open question.
    ///
    /// # Errors
    /// The ledger is damaged, or the log and the ledger do not fit: a person is needed.
    ///
    /// # Panics
    /// The answer is of another question: a programmer's error.
    pub fn answer(&mut self, answer: Answer) -> Result<(), Corrupt> {
        let step = std::mem::replace(&mut self.step, Step::Watermarks);
        self.step = match (step, answer) {
            (Step::Watermarks, Answer::Watermarks(start, end)) => Step::Row(Log { start, end }),
            (Step::Row(log), Answer::Row(true)) => {
                // should the row vanish before the statement, it is made again at 0, as one whose ledger was lost
                let start = FirstStart { offset: 0, ledger_lost: false, why: "a row is there" };
                Step::Take { log, has_row: true, start }
            }
            (Step::Row(log), Answer::Row(false)) => Step::Starts { log, were_written: false },
            (Step::Starts { log, were_written }, Answer::Starts(starts)) => match starts {
                Some(starts) => Step::Committed(log, starts.of(self.known.partition)),
                // an older program started here, and wrote nothing down
                None if were_written => Step::Committed(log, None),
                None => Step::FirstStart(log),
            },
            (Step::FirstStart(log), Answer::FirstStart(starts)) => Step::WriteStarts(log, starts),
            // somebody else's may have come first
            (Step::WriteStarts(log, _), Answer::Written) => Step::Starts { log, were_written: true },
            (Step::Committed(log, written), Answer::Committed(committed)) => match self.known.switches.clickhouse {
                Some(_) => Step::HoldsRows(log, written, committed),
                None => self.begin(log, written, &committed, false),
            },
            (Step::HoldsRows(log, written, committed), Answer::HoldsRows(holds)) => {
                self.begin(log, written, &committed, holds)
            }
            (Step::Take { log, has_row, start }, Answer::Taken(taken)) => {
                self.after_taking(log, has_row, start, *taken)
            }
            (Step::Drain { held, .. }, Answer::Drained) => Step::Highest(held),
            (Step::Highest(held), Answer::Highest(highest)) => Step::End(held, highest),
            (Step::End(held, clickhouse_highest), Answer::End(end)) => {
                let observed = Observed {
                    log_start: held.log.start,
                    log_end: held.log.end.max(end),
                    may_have_gone_back: held.may_have_gone_back,
                    clickhouse_highest,
                    ledger_lost: held.ledger_lost,
                };
                Step::TopicId(held, observed)
            }
            (Step::TopicId(..), Answer::TopicId(false)) => Step::Ended(Ended::Replaced),
            (Step::TopicId(held, observed), Answer::TopicId(true)) => {
                let mut settled = settle(held.row, &observed, &self.known.switches)?;
                settled.gaps.extend(held.gaps);
                Step::Settle(Box::new(settled))
            }
            (Step::Settle(settled), Answer::Settled(true)) => Step::Ended(Ended::Ours(Box::new(settled.plan))),
            (Step::Settle(_), Answer::Settled(false)) => Step::Ended(Ended::Fenced),
            (step, answer) => unreachable!("{answer:?} answers another question than {step:?}"),
        };
        Ok(())
    }

    /// Where a partition without a row starts.
    fn begin(&self, log: Log, written: Option<Written>, committed: &Committed, clickhouse_holds_rows: bool) -> Step {
        let start = first_start(&Unknown {
            committed: committed.as_ref().map(|(offset, metadata)| (*offset, metadata.as_str())),
            our_mark: &commit_mark(self.known.source),
            clickhouse_holds_rows,
            written,
            other_lives_known: self.known.other_lives_known,
            log_start: log.start,
            log_end: log.end,
        });
        Step::Take { log, has_row: false, start }
    }

    /// What comes after the statement.
    fn after_taking(&self, log: Log, has_row: bool, start: FirstStart, taken: Taken) -> Step {
        let Taken { row, may_have_gone_back, is_anothers } = taken;
        let ledger_lost = start.ledger_lost;
        let drains = must_drain(&row, has_row && !ledger_lost, may_have_gone_back);
        let (row, gaps) = switch(row, &self.known.switches);
        let id_is_known = insert_id_is_known(&row, ledger_lost, is_anothers);
        let held = Box::new(TakenRow { log, row, gaps, may_have_gone_back, ledger_lost });
        match self.known.switches.clickhouse {
            None => Step::End(held, None),
            Some(_) if drains => Step::Drain { held, id_is_known },
            Some(_) => Step::Highest(held),
        }
    }

    /// The row that was taken, to change: the model counts epochs from one.
    pub fn row_mut(&mut self) -> Option<&mut Row> {
        match &mut self.step {
            Step::Drain { held, .. } | Step::Highest(held) | Step::End(held, _) | Step::TopicId(held, _) => {
                Some(&mut held.row)
            }
            Step::Settle(settled) => Some(&mut settled.row),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
