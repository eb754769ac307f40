//! What a take-over does with the row it found: the switches of the sinks, what may still be on its way, and the plan that
//! the new owner follows. No I/O, clock or randomness: the model and the program call the same functions.

pub mod steps;

use std::error::Error;
use std::fmt;

use crate::ledger::{Claim, FORMAT, Nexts, Row, SinkName};
use crate::offset::{Offset, Range};

/// From this format of a row on its inserts go under one query id.
const FORMAT_OF_ONE_INSERT_ID: i32 = 2;

/// What to do when retention took records that were never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnLostRecords {
    /// Stop and tell.
    Stop,
    /// Record the gap and go on.
    Skip,
}

/// What a sink does with the records it missed while it was off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenSwitchedOn {
    /// Store them.
    Fill,
    /// Leave them out and record the gap.
    Skip,
}

/// Which sinks are on, and what a sink that was off does with what it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switches {
    /// PostgreSQL's rows: on, and what to do after a time off.
    pub postgres: Option<WhenSwitchedOn>,
    /// ClickHouse's rows: on, and what to do after a time off.
    pub clickhouse: Option<WhenSwitchedOn>,
    /// Records destroyed by retention before they were stored.
    pub on_lost_records: OnLostRecords,
}

/// Records that a sink will never hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gap {
    /// The sink; none means every sink.
    pub sink: Option<SinkName>,
    /// The offsets.
    pub range: Range,
    /// Why, one sentence.
    pub reason: &'static str,
}

/// What stops a pipeline rather than lose or double a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// A newer program wrote the row: its format.
    NewerFormat(i32),
    /// A frontier lies inside a claimed range.
    InsideClaim {
        /// The sink.
        sink: &'static str,
        /// Its next offset.
        next: Offset,
        /// The claim's range.
        range: Range,
    },
    /// The claims, of which these are the ends, do not rise, or do not end at `claimed`.
    Claims(Vec<Offset>, Offset),
    /// Retention took records that were never stored.
    Lost {
        /// The offsets.
        range: Range,
    },
    /// The log ends below what is stored.
    LogWentBack {
        /// The log's end.
        log_end: Offset,
        /// The ledger's claimed offset.
        claimed: Offset,
    },
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAMAGED: &str = "the ledger was edited or is damaged: run `footprint verify`";
        match self {
            Self::NewerFormat(format) => {
                write!(f, "the ledger row has format {format}, this program knows {FORMAT}; run the newer footprint")
            }
            Self::InsideClaim { sink, next, range } => {
                write!(f, "{sink}'s frontier {next} lies inside the claimed range {range}; {DAMAGED}")
            }
            Self::Claims(ends, claimed) => {
                write!(f, "the ledger's claims {ends:?} do not rise to {claimed}; {DAMAGED}")
            }
            Self::Lost { range } => write!(
                f,
                "records {range} were destroyed by the topic's retention before they were stored; \
                 set kafka.on_lost_records = \"skip\" to record the gap in footprint_gap and go on, \
                 and give the topic a longer retention"
            ),
            Self::LogWentBack { log_end, claimed } => write!(
                f,
                "the log ends at {log_end}, below the ledger's {claimed}: kafka lost records that it had acknowledged; \
                 see what happened to the broker before going on"
            ),
        }
    }
}

impl Error for Corrupt {}

/// Applies the switches to a row: a sink that was on and is off remembers where it stopped; one that is on again is
/// filled from there, or skips to `claimed` and leaves a gap. Claims that every sink left has acknowledged are dropped.
pub fn switch(mut row: Row, switches: &Switches) -> (Row, Vec<Gap>) {
    let mut gaps = Vec::new();
    let mut filled = false;
    let claimed = row.claimed;
    for (sink, next, stopped, wanted) in [
        (SinkName::Postgres, &mut row.nexts.postgres, &mut row.postgres_stopped, switches.postgres),
        (SinkName::ClickHouse, &mut row.nexts.clickhouse, &mut row.clickhouse_stopped, switches.clickhouse),
    ] {
        match (*next, wanted) {
            (Some(_), Some(_)) | (None, None) => {}
            (Some(at), None) => (*next, *stopped) = (None, Some(at)),
            (None, Some(WhenSwitchedOn::Fill)) => {
                *next = Some(stopped.take().unwrap_or(0));
                filled = true;
            }
            (None, Some(WhenSwitchedOn::Skip)) => {
                let from = stopped.take().unwrap_or(0);
                *next = Some(claimed.max(from));
                if from < claimed {
                    let reason = "left out when the sink was switched on again";
                    gaps.push(Gap { sink: Some(sink), range: Range::new(from, claimed), reason });
                }
            }
        }
    }
    if filled {
        // Claims are made again from the lowest frontier on. What ClickHouse may hold of the old ones is found by asking for its
        // highest offset; PostgreSQL's are all or nothing. ClickHouse may remember tokens of old claims whose rows were lost.
        row.doubtful_below = row.doubtful_below.max(Some(claimed));
        row.claimed = row.nexts.lowest();
        row.claims.clear();
    }
    let lowest = row.nexts.lowest();
    row.claims.retain(|claim| claim.end > lowest);
    (row, gaps)
}

/// Whether older inserts of the partition may still be on their way, so that a take-over must end them or wait. Not so
/// only where the row, as it was found and before any switch, proves that its last owner left nothing behind:
/// - `is_certain`: it was there before, and the ledger was not lost;
/// - the ledger cannot have gone back in time: a row restored from before a claim looks clean;
/// - ClickHouse was on: a row whose ClickHouse was off has forgotten its claims.
pub fn must_drain(row: &Row, is_certain: bool, may_have_gone_back: bool) -> bool {
    let was_clean = row.claims.iter().all(|claim| claim.end <= row.nexts.lowest());
    !was_clean || !is_certain || may_have_gone_back || row.nexts.clickhouse.is_none()
}

/// Whether every insert of the partition that may still be on its way goes under the query id that this ledger's inserts go
/// under, so that a drain ends it. Else it can only be waited out: its ledger was lost, or is `another` cluster's, or its
/// owner was a program that did not use that id yet.
pub fn insert_id_is_known(row: &Row, ledger_lost: bool, is_anothers: bool) -> bool {
    !ledger_lost && !is_anothers && row.format >= FORMAT_OF_ONE_INSERT_ID
}

/// At or above which offset ClickHouse is asked for the highest it holds: it should hold none.
pub fn question_from(row: &Row) -> Offset {
    row.claimed.max(row.nexts.clickhouse.unwrap_or(0))
}

/// What was seen outside the ledger at a take-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The log's start.
    pub log_start: Offset,
    /// The log's last stable offset.
    pub log_end: Offset,
    /// The row was settled under another PostgreSQL, or before this one's start.
    pub may_have_gone_back: bool,
    /// The highest offset that ClickHouse holds at or above [`question_from`].
    pub clickhouse_highest: Option<Offset>,
    /// The ledger row was lost and made again: nothing below the log's end is certain.
    pub ledger_lost: bool,
}

/// What an owner knows and does from its take-over on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The first offset of the first batch: the lowest frontier.
    pub start: Offset,
    /// Where reading starts: `start`, or the log's start when that is higher.
    pub read_from: Offset,
    /// What was claimed before this owner: batches below it are cut at `cuts` and need no claim.
    pub claimed: Offset,
    /// Where a batch must end, rising: ends of the claims found, and frontiers that lie ahead.
    pub cuts: Vec<Offset>,
    /// The claims found, rising.
    pub claims: Vec<Claim>,
    /// The frontiers found.
    pub nexts: Nexts,
    /// Ranges that start at or below it may be in ClickHouse already, cut in whatever way.
    pub uncertain_through: Option<Offset>,
    /// H.
    pub doubtful_below: Option<Offset>,
    /// The ledger row's, for the tokens.
    pub birth: i64,
}

/// The row as the new owner writes it, its plan, and the gaps to note.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settled {
    /// The row.
    pub row: Row,
    /// The plan.
    pub plan: Plan,
    /// Gaps to note in the same transaction.
    pub gaps: Vec<Gap>,
}

/// Decides what the new owner does, from the switched row and what was observed.
///
/// # Errors
/// A damaged row, a log that lost records.
pub fn settle(mut row: Row, observed: &Observed, switches: &Switches) -> Result<Settled, Corrupt> {
    if row.format > FORMAT {
        return Err(Corrupt::NewerFormat(row.format));
    }
    check_claims(&row)?;
    let mut gaps = Vec::new();
    let start = row.nexts.lowest();
    if observed.log_end < row.claimed {
        return Err(Corrupt::LogWentBack { log_end: observed.log_end, claimed: row.claimed });
    }
    if observed.log_start > start {
        let range = Range::new(start, observed.log_start);
        if switches.on_lost_records == OnLostRecords::Stop {
            return Err(Corrupt::Lost { range });
        }
        gaps.push(Gap { sink: None, range, reason: "destroyed by retention before it was stored" });
    }
    let went_back = observed.may_have_gone_back || observed.clickhouse_highest.is_some() || observed.ledger_lost;
    if went_back {
        row.doubtful_below = Some(row.doubtful_below.unwrap_or(0).max(observed.log_end));
    }
    row.doubtful_below = row.doubtful_below.filter(|&h| h > start);
    row.format = FORMAT;
    let mut cuts: Vec<Offset> = row.claims.iter().map(|claim| claim.end).collect();
    cuts.push(row.nexts.dead_letters);
    cuts.extend(row.nexts.postgres);
    cuts.extend(row.nexts.clickhouse);
    cuts.push(row.claimed);
    cuts.retain(|&cut| cut > start);
    cuts.sort_unstable();
    cuts.dedup();
    let plan = Plan {
        start,
        read_from: start.max(observed.log_start),
        claimed: row.claimed,
        cuts,
        claims: row.claims.clone(),
        nexts: row.nexts,
        uncertain_through: if observed.ledger_lost { Some(observed.log_end) } else { observed.clickhouse_highest },
        doubtful_below: row.doubtful_below,
        birth: row.birth,
    };
    Ok(Settled { row, plan, gaps })
}

fn check_claims(row: &Row) -> Result<(), Corrupt> {
    let ends: Vec<Offset> = row.claims.iter().map(|claim| claim.end).collect();
    let lowest = row.nexts.lowest();
    let rising = ends.windows(2).all(|pair| pair[0] < pair[1]);
    let reach = match (ends.first(), ends.last()) {
        (Some(&first), Some(&last)) => first > lowest && last == row.claimed,
        _ => lowest >= row.claimed,
    };
    if !rising || !reach || row.claimed < 0 || lowest < 0 {
        return Err(Corrupt::Claims(ends, row.claimed));
    }
    let mut start = lowest;
    for end in ends {
        let range = Range::new(start, end);
        for (sink, next) in [
            ("the dead letters", Some(row.nexts.dead_letters)),
            ("postgresql", row.nexts.postgres),
            ("clickhouse", row.nexts.clickhouse),
        ] {
            if let Some(next) = next.filter(|&next| range.start < next && next < range.end) {
                return Err(Corrupt::InsideClaim { sink, next, range });
            }
        }
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
