//! How a claimed range is written: how it goes to each sink, what a lost answer means, and how a range is repaired whose
//! state in ClickHouse is uncertain. No I/O, clock or randomness.

use crate::offset::{Offset, Range};
use crate::take_over::Plan;

/// How a range goes to ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Acknowledged before this take-over.
    Skip,
    /// One insert; an OK acknowledges it.
    Insert,
    /// One insert, then read back: ClickHouse may remember its token from before a restore, and drop the rows.
    InsertThenReadBack,
    /// Read back first: some of it may be there.
    ReadBackFirst,
}

impl Plan {
    /// How `range` goes to ClickHouse.
    pub fn clickhouse_delivery(&self, range: Range) -> Delivery {
        match self.nexts.clickhouse {
            None => Delivery::Skip,
            Some(next) if next >= range.end => Delivery::Skip,
            _ if range.end <= self.claimed => Delivery::ReadBackFirst,
            _ if self.uncertain_through.is_some_and(|highest| range.start <= highest) => Delivery::ReadBackFirst,
            _ if self.doubtful_below.is_some_and(|h| range.start < h) => Delivery::InsertThenReadBack,
            _ => Delivery::Insert,
        }
    }

    /// Whether PostgreSQL still needs the rows of `range`.
    pub fn postgres_wants_rows(&self, range: Range) -> bool {
        self.nexts.postgres.is_some_and(|next| next < range.end)
    }

    /// Whether PostgreSQL still needs the dead letters of `range`.
    pub fn wants_dead_letters(&self, range: Range) -> bool {
        self.nexts.dead_letters < range.end
    }

    /// The claims found that another definition than `own` made, with that definition's fingerprint, rising: each is finished by
    /// the definition that made it.
    pub fn claims_of_others(&self, own: i64) -> Vec<(Range, i64)> {
        let starts = std::iter::once(self.start).chain(self.claims.iter().map(|claim| claim.end));
        let others = starts.zip(&self.claims).filter(|(_, claim)| claim.fingerprint != own);
        others.map(|(start, claim)| (Range::new(start, claim.end), claim.fingerprint)).collect()
    }

    /// Whether another decoder claimed `range` and PostgreSQL has stored it: its rows and dead letters are then the truth.
    pub fn is_anothers_truth(&self, range: Range, fingerprint: i64) -> bool {
        self.claims.iter().any(|claim| claim.end == range.end && claim.fingerprint != fingerprint)
            && !self.postgres_wants_rows(range)
            && self.nexts.postgres.is_some()
    }
}

/// What a row read `for update` says of a statement whose answer was lost or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// It landed.
    Landed,
    /// It did not land: send the same statement again; should the old one still land, the compare makes the new one fail.
    SendAgain,
    /// The partition is another's, or the ledger is not what it was: take over again.
    TakeOver,
}

/// Decides what a lost or refused answer means: `value` is the compared column now, `mine` whether epoch and owner are.
pub fn resolve(mine: bool, value: Option<Offset>, range: Range) -> Resolution {
    match (mine, value) {
        (true, Some(value)) if value == range.end => Resolution::Landed,
        (true, Some(value)) if value == range.start => Resolution::SendAgain,
        _ => Resolution::TakeOver,
    }
}

/// What to do next with a range whose state in ClickHouse is uncertain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask which offsets are there.
    ReadBack,
    /// Insert exactly the missing rows, all at once, under the token of this level.
    Insert {
        /// The token's level.
        level: u32,
    },
    /// Wait until no older insert of the partition runs, and read back again: one that ran while it was read back may have
    /// landed since.
    WaitOut,
    /// Two levels were answered OK, and rows are still missing: something hides them. To go on would store them without end.
    Contradicted,
    /// Everything is there.
    Done,
}

/// The repair of one range under one proof of ownership. A new proof starts a new repair (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repair {
    level: u32,
    /// The last insert under this level was answered OK.
    answered_ok: bool,
    /// Older inserts were waited out since the last one of its own.
    waited: bool,
}

impl Repair {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self { level: 0, answered_ok: false, waited: false }
    }

    /// A first write was answered OK, but is read back all the same.
    pub fn after_ok() -> Self {
        Self { level: 0, answered_ok: true, waited: false }
    }

    /// A read-back found `missing` rows missing.
    pub fn read_back(&mut self, missing: usize) -> Step {
        match (missing, self.answered_ok, self.waited) {
            (0, _, _) => Step::Done,
            (_, _, false) => {
                self.waited = true;
                Step::WaitOut
            }
            (_, false, true) => Step::Insert { level: self.level },
            // a token can lie once, where ClickHouse crashed between it and its rows; the next one was never used
            (_, true, true) if self.level > 0 => Step::Contradicted,
            (_, true, true) => {
                (self.level, self.answered_ok) = (self.level + 1, false);
                Step::Insert { level: self.level }
            }
        }
    }

    /// An insert was refused whole, because another one runs: whatever that brings is waited out and read back first.
    pub fn refused(&mut self) -> Step {
        self.waited = false;
        Step::ReadBack
    }

    /// An insert was answered, well or not; either way the range is read back next. After an error the level stays.
    pub fn inserted(&mut self, ok: bool) -> Step {
        (self.answered_ok, self.waited) = (ok, false);
        Step::ReadBack
    }
}

impl Default for Repair {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
