//! What a person changes about a partition: records that are never stored, and a range that is stored again. No I/O, clock or randomness.

use std::error::Error;
use std::fmt;

use crate::ledger::{Row, SinkName};
use crate::offset::{Offset, Range};
use crate::take_over::{Corrupt, Gap, check_claims};

/// Why a row is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotChanged {
    /// Everything below the offset is stored already. Holds the lowest frontier.
    StoredAlready(Offset),
    /// The offset is past the log's end.
    PastTheLog(Offset),
    /// The offset is below the log's start, so its records are gone.
    BeforeTheLog(Offset),
    /// Nothing at or above the offset was claimed yet. Holds the claimed offset.
    NotClaimedYet(Offset),
    /// The row is damaged.
    Corrupt(Corrupt),
}

impl fmt::Display for NotChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoredAlready(lowest) => write!(f, "everything below offset {lowest} is stored already"),
            Self::PastTheLog(end) => write!(f, "the log ends at offset {end}"),
            Self::BeforeTheLog(start) => write!(f, "the log starts at offset {start}: the records below are gone"),
            Self::NotClaimedYet(claimed) => {
                write!(f, "storing goes on at offset {claimed}: there is nothing to store again from there on")
            }
            Self::Corrupt(corrupt) => corrupt.fmt(f),
        }
    }
}

impl Error for NotChanged {}

/// Never stores the records below `to` that are not stored yet. Each sink that is on goes on at `to`, and so do the dead letters. What each
/// one lacks is a gap.
///
/// A sink's frontier is at the end of a claim. So if `to` is inside a claim, every sink that lacks the claim goes on inside of it, at the
/// new start of the claim: the rest of it is still claimed, and the next owner ends the older insert and reads the rest back.
///
/// # Errors
/// There is nothing to skip, the log does not reach so far, or the row is damaged.
pub fn skip(row: &Row, to: Offset, log_end: Offset, reason: &'static str) -> Result<(Row, Vec<Gap>), NotChanged> {
    check_claims(row).map_err(NotChanged::Corrupt)?;
    let lowest = row.frontiers.lowest();
    if to <= lowest {
        return Err(NotChanged::StoredAlready(lowest));
    }
    if to > log_end {
        return Err(NotChanged::PastTheLog(log_end));
    }
    let mut row = row.clone();
    let mut gaps = Vec::new();
    // below, only one sink lacks rows; from there on, nobody has the dead letters either
    let both_from = row.frontiers.dead_letters.min(to);
    for (sink, next) in
        [(SinkName::Postgres, &mut row.frontiers.postgres), (SinkName::ClickHouse, &mut row.frontiers.clickhouse)]
    {
        if let Some(next) = next.as_mut().filter(|next| **next < to) {
            if *next < both_from {
                gaps.push(Gap { sink: Some(sink), range: Range::new(*next, both_from), reason });
            }
            *next = to;
        }
    }
    if both_from < to {
        gaps.push(Gap { sink: None, range: Range::new(both_from, to), reason });
        row.frontiers.dead_letters = to;
    }
    row.claims.retain(|claim| claim.end > to);
    row.claimed = row.claimed.max(to);
    check_claims(&row).map_err(NotChanged::Corrupt)?;
    Ok((row, gaps))
}

/// Stores everything from `to` on again. The caller has seen that no table holds a row from there on, that no insert of the partition is
/// in flight, and deletes the dead letters and gaps from there on. `birth` is a new random number, so no old token is met.
///
/// # Errors
/// The records are gone, nothing was claimed from there on, or the row is damaged.
pub fn rewind(row: &Row, to: Offset, log_start: Offset, birth: i64) -> Result<Row, NotChanged> {
    check_claims(row).map_err(NotChanged::Corrupt)?;
    if to < log_start {
        return Err(NotChanged::BeforeTheLog(log_start));
    }
    if to >= row.claimed.max(row.frontiers.highest()) {
        return Err(NotChanged::NotClaimedYet(row.claimed));
    }
    let mut row = row.clone();
    let lower = |next: Option<Offset>| next.map(|next| next.min(to));
    row.frontiers.postgres = lower(row.frontiers.postgres);
    row.frontiers.clickhouse = lower(row.frontiers.clickhouse);
    row.frontiers.dead_letters = row.frontiers.dead_letters.min(to);
    (row.postgres_stopped, row.clickhouse_stopped) = (lower(row.postgres_stopped), lower(row.clickhouse_stopped));
    row.claims.retain(|claim| claim.end < to);
    // a claim that reaches over `to` begins again there, by another token
    let lowest = row.frontiers.lowest();
    row.claimed = if lowest < to { row.claims.last().map_or(lowest, |claim| claim.end) } else { to };
    row.first_offset = row.first_offset.map(|first| first.min(to));
    row.birth = birth;
    check_claims(&row).map_err(NotChanged::Corrupt)?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Claim, FORMAT, Frontiers, OwnerId};

    fn row(dead_letters: Offset, postgres: Option<Offset>, clickhouse: Option<Offset>, claims: &[Offset]) -> Row {
        let frontiers = Frontiers { dead_letters, postgres, clickhouse };
        Row {
            epoch: 3,
            owner: OwnerId(1),
            claimed: claims.last().copied().unwrap_or(frontiers.lowest()),
            frontiers,
            postgres_stopped: None,
            clickhouse_stopped: None,
            claims: claims.iter().map(|&end| Claim { end, fingerprint: 1 }).collect(),
            doubtful_below: None,
            birth: 5,
            first_offset: Some(10),
            format: FORMAT,
        }
    }

    type Skipped = (Frontiers, Offset, Vec<Offset>, Vec<(&'static str, Offset, Offset)>);

    fn skipped(row: &Row, to: Offset) -> Skipped {
        let (row, gaps) = skip(row, to, 1_000, "by hand").unwrap();
        let gap = |gap: &Gap| (gap.sink.map_or("both", SinkName::as_str), gap.range.start, gap.range.end);
        (row.frontiers, row.claimed, row.claims.iter().map(|claim| claim.end).collect(), gaps.iter().map(gap).collect())
    }

    fn at(dead_letters: Offset, postgres: Offset, clickhouse: Offset) -> Frontiers {
        Frontiers { dead_letters, postgres: Some(postgres), clickhouse: Some(clickhouse) }
    }

    #[test]
    fn what_each_sink_lacks_is_a_gap() {
        let idle = row(50, Some(50), Some(50), &[]);
        assert_eq!(skipped(&idle, 80), (at(80, 80, 80), 80, vec![], vec![("both", 50, 80)]));
        // clickhouse is behind
        let behind = row(60, Some(60), Some(50), &[60, 70]);
        let gaps = vec![("clickhouse", 50, 60), ("both", 60, 80)];
        assert_eq!(skipped(&behind, 80), (at(80, 80, 80), 80, vec![], gaps));
        assert_eq!(skipped(&behind, 60), (at(60, 60, 60), 70, vec![70], vec![("clickhouse", 50, 60)]));
        // clickhouse is ahead: postgres and the dead letters lack what it has
        let ahead = row(50, Some(50), Some(60), &[60, 70]);
        assert_eq!(skipped(&ahead, 60), (at(60, 60, 60), 70, vec![70], vec![("both", 50, 60)]));
    }

    #[test]
    fn the_rest_of_a_claim_stays_claimed() {
        let pending = row(60, Some(60), Some(50), &[60, 70]);
        assert_eq!(skipped(&pending, 55), (at(60, 60, 55), 70, vec![60, 70], vec![("clickhouse", 50, 55)]));
        let gaps = vec![("clickhouse", 50, 60), ("both", 60, 65)];
        assert_eq!(skipped(&pending, 65), (at(65, 65, 65), 70, vec![70], gaps));
    }

    #[test]
    fn a_sink_that_is_off_stays_where_it_stopped() {
        let off = row(40, None, Some(50), &[]);
        let off = Row { claimed: 40, postgres_stopped: Some(30), ..off };
        let (changed, gaps) = skip(&off, 60, 1_000, "by hand").unwrap();
        assert_eq!((changed.frontiers.postgres, changed.postgres_stopped, changed.claimed), (None, Some(30), 60));
        assert_eq!(gaps, [Gap { sink: None, range: Range::new(40, 60), reason: "by hand" }]);
    }

    #[test]
    fn what_cannot_be_skipped_is_said() {
        let idle = row(50, Some(50), Some(50), &[]);
        let refused = |to| skip(&idle, to, 100, "by hand").unwrap_err();
        assert_eq!(refused(50), NotChanged::StoredAlready(50));
        assert_eq!(refused(101), NotChanged::PastTheLog(100));
        let damaged = Row { claimed: 70, ..idle.clone() };
        assert!(matches!(skip(&damaged, 80, 100, "by hand"), Err(NotChanged::Corrupt(_))));
    }

    #[test]
    fn a_rewound_row_begins_again_with_another_birth() {
        let done = row(50, Some(50), Some(50), &[]);
        let again = rewind(&done, 20, 5, 77).unwrap();
        assert_eq!((again.frontiers, again.claimed, again.birth), (at(20, 20, 20), 20, 77));
        assert_eq!(again.first_offset, Some(10));
        assert_eq!(rewind(&done, 7, 5, 77).unwrap().first_offset, Some(7));
        let pending = row(50, Some(50), Some(40), &[50, 60]);
        let again = rewind(&pending, 45, 5, 77).unwrap();
        assert_eq!((again.frontiers, again.claimed, again.claims), (at(45, 45, 40), 40, vec![]));
        assert_eq!(rewind(&done, 4, 5, 77), Err(NotChanged::BeforeTheLog(5)));
        assert_eq!(rewind(&done, 50, 5, 77), Err(NotChanged::NotClaimedYet(50)));
    }
}
