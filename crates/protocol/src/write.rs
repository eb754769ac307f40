//! How a claimed range is written: what each sink still needs, what a lost answer means, and how a range is repaired if its state in
//! ClickHouse is uncertain. No I/O, clock or randomness.

use crate::offset::{Offset, Range};
use crate::take_over::Plan;

/// How a range goes to ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Not at all: ClickHouse acknowledged the range before this take-over, or is off.
    Skip,
    /// One insert; an OK acknowledges it.
    Insert,
    /// One insert, then a read-back: ClickHouse may remember the token from before a restore, and then drops the rows.
    InsertThenReadBack,
    /// A read-back first: some of the rows may be there.
    ReadBackFirst,
}

impl Plan {
    /// How `range` goes to ClickHouse.
    pub fn clickhouse_delivery(&self, range: Range) -> Delivery {
        match self.frontiers.clickhouse {
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
        self.frontiers.postgres.is_some_and(|next| next < range.end)
    }

    /// Whether PostgreSQL still needs the dead letters of `range`.
    pub fn wants_dead_letters(&self, range: Range) -> bool {
        self.frontiers.dead_letters < range.end
    }

    /// The claims found that were made by another definition than `own`, in rising order, each with that definition's fingerprint. The
    /// definition that made a claim also finishes it.
    pub fn claims_of_others(&self, own: i64) -> Vec<(Range, i64)> {
        let starts = std::iter::once(self.start).chain(self.claims.iter().map(|claim| claim.end));
        let others = starts.zip(&self.claims).filter(|(_, claim)| claim.fingerprint != own);
        others.map(|(start, claim)| (Range::new(start, claim.end), claim.fingerprint)).collect()
    }

    /// Whether another definition claimed `range`, and PostgreSQL has stored it. PostgreSQL's rows and dead letters are then the truth.
    pub fn postgres_is_truth(&self, range: Range, fingerprint: i64) -> bool {
        self.claims.iter().any(|claim| claim.end == range.end && claim.fingerprint != fingerprint)
            && !self.postgres_wants_rows(range)
            && self.frontiers.postgres.is_some()
    }
}

/// What the row, read `for update`, says about a statement whose answer was lost or was a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The statement landed.
    Landed,
    /// The statement did not land. Send it again. If the first one still lands, the comparison makes the second one fail.
    SendAgain,
    /// The partition has another owner, or the row is not as expected: take over again.
    TakeOver,
}

/// Decides what a lost answer or a refusal means. `is_ours` says whether epoch and owner are still ours. `value` is the present value of
/// the compared column.
pub fn resolve(is_ours: bool, value: Option<Offset>, range: Range) -> Resolution {
    match (is_ours, value) {
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
    /// Wait until no older insert of the partition runs, then read back again: an insert that ran during the read-back may have landed
    /// since.
    WaitOut,
    /// Two levels were answered OK, and rows are still missing: something hides them. Further inserts would store them without end.
    Contradicted,
    /// Every row is there.
    Done,
}

/// The repair of one range under one proof of ownership. A new proof starts a new repair (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repair {
    level: u32,
    /// The last insert under this level was answered OK.
    answered_ok: bool,
    /// Older inserts were waited out since this repair's last insert.
    has_waited_out: bool,
}

impl Repair {
    /// A repair that knows nothing yet.
    pub fn new() -> Self {
        Self { level: 0, answered_ok: false, has_waited_out: false }
    }

    /// A repair after a first write that was answered OK and must still be read back.
    pub fn after_ok() -> Self {
        Self { level: 0, answered_ok: true, has_waited_out: false }
    }

    /// A read-back found that `missing` rows are not there.
    pub fn read_back(&mut self, missing: usize) -> Step {
        match (missing, self.answered_ok, self.has_waited_out) {
            (0, _, _) => Step::Done,
            (_, _, false) => {
                self.has_waited_out = true;
                Step::WaitOut
            }
            (_, false, true) => Step::Insert { level: self.level },
            // a token can lie once, if ClickHouse crashed between the token and its rows; the next level's token was never used before
            (_, true, true) if self.level > 0 => Step::Contradicted,
            (_, true, true) => {
                (self.level, self.answered_ok) = (self.level + 1, false);
                Step::Insert { level: self.level }
            }
        }
    }

    /// An insert was refused as a whole, because another one runs. That one may bring the missing rows, so the repair waits it out and
    /// reads back first.
    pub fn refused(&mut self) -> Step {
        self.has_waited_out = false;
        Step::ReadBack
    }

    /// An insert was answered with an OK or an error. The range is read back next. After an error the level stays.
    pub fn inserted(&mut self, ok: bool) -> Step {
        (self.answered_ok, self.has_waited_out) = (ok, false);
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
