//! The comparison itself, pure. It compares what Kafka's log, PostgreSQL, ClickHouse and the dead letters hold of one window of
//! one partition's offsets. Each side is one count and one content number for each offset, so memory depends on the window and
//! not on the table.
//!
//! | the log has       | dead letter | rows                      | finding                                             |
//! |-------------------|-------------|---------------------------|-----------------------------------------------------|
//! | a good record     | none        | in each sink, equal to it | none                                                |
//! | a good record     | none        | equal to each other only  | decoded otherwise                                   |
//! | a good record     | one         | none                      | decoded otherwise                                   |
//! | a bad record      | one, equal  | none                      | none                                                |
//! | a bad record      | none        | equal to each other       | decoded otherwise                                   |
//! | no record, or the | one         | none                      | none (not in log, where the log reaches back so far) |
//! | log was shortened | none        | in each sink, equal       | none (likewise)                                     |
//!
//! A dead letter for one database alone, which refused the row, takes the place of the row: that database must not hold the row,
//! and the other must.
//!
//! All other cases are missing, doubled, differing or unexpected.

mod tally;

use std::collections::BTreeMap;

use footprint_protocol::offset::{Offset, Range};

use self::tally::Logged;
pub(in crate::upkeep) use self::tally::{LogTally, Refused, Tally};
use crate::upkeep::verify::report::{FindingKind, Findings, Place};

/// What the ledger promises of one place.
#[derive(Clone, Debug, Default)]
pub(in crate::upkeep) struct Promise {
    /// No row may be below it: those offsets were there before the first start.
    pub none_below: Offset,
    /// Every row from `none_below` on and below this must be there. Rows from here on are in flight.
    pub due_below: Offset,
    /// No row may be there from here on.
    pub none_from: Offset,
    /// Ranges whose absence is known and recorded, in rising order. No two of them meet: a purge of dead letters may leave many.
    pub gaps: Vec<Range>,
}

impl Promise {
    /// Whether the absence of this offset is known.
    fn excuses(&self, offset: Offset) -> bool {
        let next = self.gaps.partition_point(|gap| gap.end <= offset);
        self.gaps.get(next).is_some_and(|gap| gap.contains(offset))
    }
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(in crate::upkeep) struct Side<'a> {
    /// What it holds. None: it could not be asked, and nothing is promised for it.
    pub tally: &'a Tally,
    /// What it must hold.
    pub promise: &'a Promise,
    /// Dead letters for it alone.
    pub refused: &'a Refused,
}

/// What one place says of one offset.
#[derive(Clone, Copy)]
struct View {
    place: Place,
    /// Whether this offset is compared on this side.
    due: bool,
    /// Whether absence is a fault at this offset.
    demanded: bool,
    /// Whether it is due and there.
    present: bool,
    /// The content, if it is there exactly once. Of several copies, nobody can say which is right.
    number: Option<u64>,
    /// The content of a dead letter for this side alone.
    letter: Option<u64>,
}

impl Side<'_> {
    /// Looks at one offset. Copies and rows beyond the promise are reported here.
    fn view(&self, place: Place, offset: Offset, findings: &mut Findings) -> View {
        let index = (offset - self.tally.base) as usize;
        let count = self.tally.counts[index];
        let due = self.promise.none_below <= offset && offset < self.promise.due_below;
        if count > 0 && (offset < self.promise.none_below || offset >= self.promise.none_from) {
            findings.push(FindingKind::Unexpected, place, offset);
        } else if count > 1 {
            findings.push(FindingKind::Doubled, place, offset);
        }
        let number = (due && count == 1).then(|| self.tally.numbers[index]);
        let letter = self.refused.0.get(&offset).copied();
        if letter.is_some_and(|(letters, _)| letters > 1) {
            findings.push(FindingKind::Doubled, Place::DeadLetters, offset);
        }
        if letter.is_some() && (count > 0 || offset < 0) {
            findings.push(FindingKind::Unexpected, Place::DeadLetters, offset);
        }
        let excused = letter.is_some() || self.promise.excuses(offset);
        View {
            place,
            due,
            demanded: due && !excused,
            present: due && count > 0,
            number,
            letter: letter.map(|(_, number)| number),
        }
    }
}

impl View {
    fn is_missing(&self) -> bool {
        self.demanded && !self.present
    }
}

/// All that is known of one window.
#[derive(Clone, Copy, Debug)]
pub(in crate::upkeep) struct Window<'a> {
    /// Kafka.
    pub log: &'a LogTally,
    /// PostgreSQL's rows.
    pub postgres: Side<'a>,
    /// ClickHouse's rows.
    pub clickhouse: Side<'a>,
    /// The dead letters.
    pub dead_letters: Side<'a>,
}

impl Window<'_> {
    /// Compares every offset of the window.
    pub(in crate::upkeep) fn compare(&self, findings: &mut Findings) {
        let base = self.log.base;
        assert!([self.postgres, self.clickhouse, self.dead_letters].iter().all(|side| side.tally.base == base));
        for index in 0..self.log.states.len() {
            let empty = self.log.states[index]
                | self.postgres.tally.counts[index]
                | self.clickhouse.tally.counts[index]
                | self.dead_letters.tally.counts[index];
            if empty != 0 {
                self.compare_offset(base + index as i64, findings);
            }
        }
        // dead letters for one database at offsets where nothing else is
        let refused: BTreeMap<Offset, ()> = self
            .postgres
            .refused
            .offsets()
            .chain(self.clickhouse.refused.offsets())
            .map(|offset| (offset, ()))
            .collect();
        for offset in refused.into_keys() {
            let index = (offset - base) as usize;
            let sides = [&self.postgres, &self.clickhouse, &self.dead_letters];
            if self.log.states[index] == 0 && sides.iter().all(|side| side.tally.counts[index] == 0) {
                self.compare_offset(offset, findings);
            }
        }
    }

    fn compare_offset(&self, offset: Offset, findings: &mut Findings) {
        let rows = [
            self.postgres.view(Place::Postgres, offset, findings),
            self.clickhouse.view(Place::Clickhouse, offset, findings),
        ];
        let dead = self.dead_letters.view(Place::DeadLetters, offset, findings);
        if dead.present && rows.iter().any(|row| row.letter.is_some()) {
            findings.push(FindingKind::Unexpected, Place::DeadLetters, offset);
        }
        match self.log.at(offset) {
            Logged::Good(number) => {
                let sent = self.log.letters.get(&offset).copied().flatten();
                if rows.iter().any(|row| row.letter.is_some_and(|letter| Some(letter) != sent)) {
                    findings.push(FindingKind::Differing, Place::DeadLetters, offset);
                }
                compare_good(number, rows, dead, offset, findings);
            }
            Logged::Bad(number) => compare_bad(number, rows, dead, offset, findings),
            Logged::Nothing => {
                if dead.present || rows.iter().any(|row| row.present) {
                    findings.push(FindingKind::NotInLog, Place::Log, offset);
                }
                compare_unlogged(rows, dead, offset, findings);
            }
            Logged::Unknown => compare_unlogged(rows, dead, offset, findings),
        }
    }
}

/// Whether the rows that are there hold the same, and none is missing.
fn agree(rows: [View; 2]) -> bool {
    !rows.iter().any(View::is_missing) && rows[0].number.zip(rows[1].number).is_none_or(|(one, other)| one == other)
}

fn compare_good(number: u64, rows: [View; 2], dead: View, offset: Offset, findings: &mut Findings) {
    let any_row = rows.iter().any(|row| row.present);
    if dead.present {
        if !any_row {
            return findings.push(FindingKind::DecodedOtherwise, Place::Log, offset);
        }
        findings.push(FindingKind::Unexpected, Place::DeadLetters, offset);
    }
    for row in rows.iter().filter(|row| row.is_missing()) {
        findings.push(FindingKind::Missing, row.place, offset);
    }
    match rows[0].number.zip(rows[1].number) {
        Some((one, other)) if one != other => {
            for row in rows.iter().filter(|row| row.number != Some(number)) {
                findings.push(FindingKind::Differing, row.place, offset);
            }
        }
        // one witness, or two that agree: another decoder may have made it
        _ => {
            if rows.iter().any(|row| row.number.is_some_and(|seen| seen != number)) {
                findings.push(FindingKind::DecodedOtherwise, Place::Log, offset);
            }
        }
    }
}

fn compare_bad(number: u64, rows: [View; 2], dead: View, offset: Offset, findings: &mut Findings) {
    let any_row = rows.iter().any(|row| row.present);
    if dead.present {
        if dead.number.is_some_and(|seen| seen != number) {
            findings.push(FindingKind::Differing, Place::DeadLetters, offset);
        }
    } else if (any_row || rows.iter().any(|row| row.letter.is_some())) && agree(rows) {
        return findings.push(FindingKind::DecodedOtherwise, Place::Log, offset);
    } else if dead.is_missing() {
        findings.push(FindingKind::Missing, Place::DeadLetters, offset);
    }
    for row in rows.iter().filter(|row| row.present) {
        findings.push(FindingKind::Unexpected, row.place, offset);
    }
}

fn compare_unlogged(rows: [View; 2], dead: View, offset: Offset, findings: &mut Findings) {
    let any_row = rows.iter().any(|row| row.present);
    if dead.present {
        if any_row {
            findings.push(FindingKind::Unexpected, Place::DeadLetters, offset);
        }
        return;
    }
    let any_letter = rows.iter().any(|row| row.letter.is_some());
    if !(any_row || any_letter) || !rows.iter().all(|row| row.due) {
        return;
    }
    if rows[0].number.zip(rows[1].number).is_some_and(|(one, other)| one != other) {
        findings.push(FindingKind::Differing, Place::Either, offset);
    }
    for row in rows.iter().filter(|row| row.is_missing()) {
        findings.push(FindingKind::Missing, row.place, offset);
    }
}

#[cfg(test)]
mod tests;
