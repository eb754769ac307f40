//! The steps of one attempt to take a partition over: the questions, in the order that the protocol demands, and what follows from each
//! answer. No I/O: the caller asks Kafka, the ledger and ClickHouse, and passes the answers back.

use super::{
    Corrupt, Gap, Observed, Plan, Settled, Switches, insert_id_is_known, must_drain, question_from, settle, switch,
};
use crate::first_start::{
    Committed, FirstStart, FirstStarts, RecordedStart, UnknownPartition, commit_mark, first_start,
};
use crate::ledger::{Row, SourceId};
use crate::offset::{Offset, Partition, Range};

/// The next question of a take-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The log's start and its last stable offset.
    Watermarks,
    /// Whether the ledger has a row of the partition.
    Row,
    /// The record of the route's first start on the source.
    Starts,
    /// What the record of a first start must say of every partition.
    FirstStart,
    /// Write this record, unless another process has written one.
    WriteStarts(FirstStarts),
    /// The offset that the group has committed for the partition.
    Committed,
    /// Whether ClickHouse holds any row of the source and partition.
    HoldsRows,
    /// Send the statement that takes the row or creates it. It proves the ownership as of the moment before it was sent.
    TakeRow {
        /// Where the row begins if it is created.
        start: FirstStart,
        /// Whether the ledger had a row. Then none is created: if the row has vanished meanwhile, the attempt fails.
        has_row: bool,
    },
    /// End the older inserts of the partition. If their query id is not known, wait until none can be running any more.
    Drain {
        /// They all use the query id of this ledger's inserts.
        id_is_known: bool,
    },
    /// The highest offset that ClickHouse holds at or above `from`.
    Highest {
        /// The lowest offset that counts.
        from: Offset,
        /// The range in which ClickHouse should hold rows, according to the ledger. The caller checks whether it still does.
        stored: Option<Range>,
    },
    /// The log's last stable offset. It is asked for after the statement, so it bounds everything that an older owner can have written.
    End,
    /// Whether the topic still has the source's id. Watermarks of another life would look as if records were lost.
    TopicId,
    /// Write the decision to the ledger.
    Settle(Box<Settled>),
}

/// An answer to the question of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The log's start and its last stable offset.
    Watermarks(Offset, Offset),
    /// Whether there is a row.
    Row(bool),
    /// The record, if there is one.
    Starts(Option<FirstStarts>),
    /// The record to write.
    FirstStart(FirstStarts),
    /// The record was written, or another process had written one.
    Written,
    /// The committed offset, if there is one.
    Committed(Committed),
    /// Whether ClickHouse holds any row.
    HoldsRows(bool),
    /// The row as the statement returned it.
    Taken(Box<Taken>),
    /// No older insert runs any more.
    Drained,
    /// The highest offset, if there is one.
    Highest(Option<Offset>),
    /// The log's last stable offset.
    End(Offset),
    /// Whether the topic has the source's id.
    TopicId(bool),
    /// Whether the row was still ours. If so, the decision is written.
    Settled(bool),
}

/// What the statement that took the row returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taken {
    /// The row.
    pub row: Row,
    /// The row was settled under another PostgreSQL server, or before this one started.
    pub may_have_gone_back: bool,
    /// The row was settled under another PostgreSQL cluster, whose inserts used other query ids.
    pub is_from_other_cluster: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The partition is ours, with this plan.
    Ours(Box<Plan>),
    /// Another life of the topic has begun.
    Replaced,
    /// Another owner took the partition over meanwhile.
    Fenced,
}

/// What is given before the first question and does not change during the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Given {
    /// The source.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// Which sinks are on.
    pub switches: Switches,
    /// Whether the ledger knows another life of the topic.
    pub other_lives_known: bool,
}

/// One attempt to take a partition over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TakeOver {
    given: Given,
    step: Step,
}

/// The open question, and what the earlier answers said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Watermarks,
    Row(Log),
    Starts { log: Log, were_written: bool },
    FirstStart(Log),
    WriteStarts(Log, FirstStarts),
    Committed(Log, Option<RecordedStart>),
    HoldsRows(Log, Option<RecordedStart>, Committed),
    TakeRow { log: Log, has_row: bool, start: FirstStart },
    Drain { held: Box<TakenRow>, id_is_known: bool },
    Highest(Box<TakenRow>),
    End(Box<TakenRow>, Option<Offset>),
    TopicId(Box<TakenRow>, Observed),
    Settle(Box<Settled>),
    Ended(Ended),
}

/// The offsets between which the log holds records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Log {
    start: Offset,
    end: Offset,
}

/// The row that the statement took, after the switches were applied.
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
        self.row.frontiers.clickhouse.filter(|&next| next > first).map(|next| Range::new(first, next))
    }
}

impl TakeOver {
    /// An attempt that has asked nothing yet.
    pub fn new(given: Given) -> Self {
        Self { given, step: Step::Watermarks }
    }

    /// The open question.
    ///
    /// # Errors
    /// The attempt has ended; the error says how.
    pub fn ask(&self) -> Result<Ask, &Ended> {
        Ok(match &self.step {
            Step::Watermarks => Ask::Watermarks,
            Step::Row(_) => Ask::Row,
            Step::Starts { .. } => Ask::Starts,
            Step::FirstStart(_) => Ask::FirstStart,
            Step::WriteStarts(_, starts) => Ask::WriteStarts(starts.clone()),
            Step::Committed(..) => Ask::Committed,
            Step::HoldsRows(..) => Ask::HoldsRows,
            Step::TakeRow { start, has_row, .. } => Ask::TakeRow { start: *start, has_row: *has_row },
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
    /// The ledger is damaged, or the log and the ledger do not fit each other: a person must act.
    ///
    /// # Panics
    /// If the answer is to another question: a programming error.
    pub fn answer(&mut self, answer: Answer) -> Result<(), Corrupt> {
        let step = std::mem::replace(&mut self.step, Step::Watermarks);
        self.step = match (step, answer) {
            (Step::Watermarks, Answer::Watermarks(start, end)) => Step::Row(Log { start, end }),
            (Step::Row(log), Answer::Row(true)) => {
                // not used: with a row, the statement creates none
                let start = FirstStart { offset: 0, ledger_lost: false, why: "a row is there" };
                Step::TakeRow { log, has_row: true, start }
            }
            (Step::Row(log), Answer::Row(false)) => Step::Starts { log, were_written: false },
            (Step::Starts { log, were_written }, Answer::Starts(starts)) => match starts {
                Some(starts) => Step::Committed(log, starts.of(self.given.partition)),
                // an older program made the first start, and kept no record
                None if were_written => Step::Committed(log, None),
                None => Step::FirstStart(log),
            },
            (Step::FirstStart(log), Answer::FirstStart(starts)) => Step::WriteStarts(log, starts),
            // another process may have written its record first, so it is read back
            (Step::WriteStarts(log, _), Answer::Written) => Step::Starts { log, were_written: true },
            (Step::Committed(log, written), Answer::Committed(committed)) => match self.given.switches.clickhouse {
                Some(_) => Step::HoldsRows(log, written, committed),
                None => self.begin(log, written, &committed, false),
            },
            (Step::HoldsRows(log, written, committed), Answer::HoldsRows(holds)) => {
                self.begin(log, written, &committed, holds)
            }
            (Step::TakeRow { log, has_row, start }, Answer::Taken(taken)) => {
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
                let mut settled = settle(held.row, &observed, &self.given.switches)?;
                settled.gaps.extend(held.gaps);
                Step::Settle(Box::new(settled))
            }
            (Step::Settle(settled), Answer::Settled(true)) => Step::Ended(Ended::Ours(Box::new(settled.plan))),
            (Step::Settle(_), Answer::Settled(false)) => Step::Ended(Ended::Fenced),
            (step, answer) => unreachable!("{answer:?} answers another question than {step:?}"),
        };
        Ok(())
    }

    /// Decides where a partition without a row starts.
    fn begin(
        &self,
        log: Log,
        written: Option<RecordedStart>,
        committed: &Committed,
        clickhouse_holds_rows: bool,
    ) -> Step {
        let start = first_start(&UnknownPartition {
            committed: committed.as_ref().map(|(offset, metadata)| (*offset, metadata.as_str())),
            our_mark: &commit_mark(self.given.source),
            clickhouse_holds_rows,
            written,
            other_lives_known: self.given.other_lives_known,
            log_start: log.start,
            log_end: log.end,
        });
        Step::TakeRow { log, has_row: false, start }
    }

    /// The step after the statement that takes the row.
    fn after_taking(&self, log: Log, has_row: bool, start: FirstStart, taken: Taken) -> Step {
        let Taken { row, may_have_gone_back, is_from_other_cluster } = taken;
        let ledger_lost = start.ledger_lost;
        let drains = must_drain(&row, has_row && !ledger_lost, may_have_gone_back);
        let (row, gaps) = switch(row, &self.given.switches);
        let id_is_known = insert_id_is_known(&row, ledger_lost, is_from_other_cluster);
        let held = Box::new(TakenRow { log, row, gaps, may_have_gone_back, ledger_lost });
        match self.given.switches.clickhouse {
            None => Step::End(held, None),
            Some(_) if drains => Step::Drain { held, id_is_known },
            Some(_) => Step::Highest(held),
        }
    }

    /// The row that was taken, for changes: the model counts epochs from one.
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
