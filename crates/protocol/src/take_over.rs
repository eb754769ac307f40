//! What a take-over decides about the row that it found: what the switches of the sinks change, whether older inserts may still be in
//! flight, and the plan that the new owner follows. No I/O, clock or randomness: the model and the program call the same functions.

pub mod steps;

use std::error::Error;
use std::fmt;

use crate::ledger::{Claim, FORMAT, Frontiers, Row, SinkName};
use crate::offset::{Offset, Range};

/// The first row format in which all inserts of a partition use one query id.
const FORMAT_OF_ONE_INSERT_ID: i32 = 2;

/// What to do if retention deleted records that were never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnLostRecords {
    /// Stop and report it.
    Stop,
    /// Record the gap and continue.
    Skip,
}

/// What a sink does with the records that it missed while it was off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenSwitchedOn {
    /// Store them.
    Fill,
    /// Leave them out and record the gap.
    Skip,
}

/// Which sinks are on, and what a sink does with the records that it missed while it was off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switches {
    /// What PostgreSQL's rows do after a time off. None if they are off now.
    pub postgres: Option<WhenSwitchedOn>,
    /// What ClickHouse's rows do after a time off. None if they are off now.
    pub clickhouse: Option<WhenSwitchedOn>,
    /// What to do about records that retention deleted before they were stored.
    pub on_lost_records: OnLostRecords,
}

/// Records that a sink will never hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gap {
    /// The sink; none means every sink.
    pub sink: Option<SinkName>,
    /// The missing offsets.
    pub range: Range,
    /// The reason, in a few words.
    pub reason: &'static str,
}

/// Why a pipeline stops. If it continued, it could lose or double a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// A newer program wrote the row, in this format.
    NewerFormat(i32),
    /// A frontier lies inside a claimed range.
    InsideClaim {
        /// The sink.
        sink: &'static str,
        /// The sink's frontier.
        next: Offset,
        /// The claim's range.
        range: Range,
    },
    /// The ends of the claims do not rise, or the last one is not `claimed`. Holds the ends and `claimed`.
    Claims(Vec<Offset>, Offset),
    /// Retention deleted records that were never stored.
    Lost {
        /// The deleted offsets.
        range: Range,
    },
    /// The log ends below the claimed offset.
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
                "the topic's retention deleted records {range} before they were stored; \
                 `footprint offsets accept-gap` gives them up for one partition, and kafka.on_lost_records = \"skip\" for all: the \
                 gap is recorded in footprint_gap; give the topic a longer retention"
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

/// Applies the switches to a row. A sink that was switched off remembers where it stopped. A sink that was switched on again is filled from
/// there, or skips to `claimed` and leaves a gap. Claims that every remaining sink has acknowledged are dropped.
pub fn switch(mut row: Row, switches: &Switches) -> (Row, Vec<Gap>) {
    let mut gaps = Vec::new();
    let mut filled = false;
    let claimed = row.claimed;
    for (sink, next, stopped, wanted) in [
        (SinkName::Postgres, &mut row.frontiers.postgres, &mut row.postgres_stopped, switches.postgres),
        (SinkName::ClickHouse, &mut row.frontiers.clickhouse, &mut row.clickhouse_stopped, switches.clickhouse),
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
        // Claims are made again from the lowest frontier on. The question for ClickHouse's highest offset finds what ClickHouse may hold of
        // the old claims. PostgreSQL holds a claimed range as a whole or not at all. ClickHouse may remember tokens of old claims whose
        // rows were lost.
        row.doubtful_below = row.doubtful_below.max(Some(claimed));
        row.claimed = row.frontiers.lowest();
        row.claims.clear();
    }
    let lowest = row.frontiers.lowest();
    row.claims.retain(|claim| claim.end > lowest);
    (row, gaps)
}

/// Whether older inserts of the partition may still be in flight, so that a take-over must end them or wait. The answer is no only if the
/// row, as it was found and before any switch, proves that its last owner left nothing behind:
/// - all its claims were acknowledged;
/// - `is_certain`: the row was there before, and the ledger was not lost;
/// - the ledger cannot have gone back in time: a row restored from before a claim looks clean;
/// - ClickHouse was on: a row whose ClickHouse was off has forgotten its claims.
pub fn must_drain(row: &Row, is_certain: bool, may_have_gone_back: bool) -> bool {
    let was_clean = row.claims.iter().all(|claim| claim.end <= row.frontiers.lowest());
    !was_clean || !is_certain || may_have_gone_back || row.frontiers.clickhouse.is_none()
}

/// Whether all older inserts that may be in flight use the query id of this ledger's inserts, so that a drain ends them. Otherwise the
/// take-over can only wait: the ledger was lost, or the row is from another cluster (`is_from_other_cluster`), or its owner was a program
/// that did not use this id yet.
pub fn insert_id_is_known(row: &Row, ledger_lost: bool, is_from_other_cluster: bool) -> bool {
    !ledger_lost && !is_from_other_cluster && row.format >= FORMAT_OF_ONE_INSERT_ID
}

/// The offset from which on ClickHouse is asked for the highest offset that it holds. It should hold none there.
pub fn question_from(row: &Row) -> Offset {
    row.claimed.max(row.frontiers.clickhouse.unwrap_or(0))
}

/// What a take-over saw besides the row itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The log's start.
    pub log_start: Offset,
    /// The log's last stable offset.
    pub log_end: Offset,
    /// The row was settled under another PostgreSQL server, or before this one started: it may have gone back in time.
    pub may_have_gone_back: bool,
    /// The highest offset that ClickHouse holds at or above [`question_from`].
    pub clickhouse_highest: Option<Offset>,
    /// The ledger row was lost and created again: nothing below the log's end is certain.
    pub ledger_lost: bool,
}

/// What an owner knows and does after its take-over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The first offset of the first batch: the lowest frontier.
    pub start: Offset,
    /// Where reading starts: `start`, or the log's start if that is higher.
    pub read_from: Offset,
    /// The end of what earlier owners claimed. Batches below it are cut at `cuts` and need no claim.
    pub claimed: Offset,
    /// The offsets at which a batch must end, in rising order: the ends of the claims found, and the frontiers above `start`.
    pub cuts: Vec<Offset>,
    /// The claims found in the row, in rising order.
    pub claims: Vec<Claim>,
    /// The frontiers found in the row.
    pub frontiers: Frontiers,
    /// A range that starts at or below this offset may already be in ClickHouse, cut in any way.
    pub uncertain_through: Option<Offset>,
    /// H: a range that starts below it is read back even after an OK.
    pub doubtful_below: Option<Offset>,
    /// The ledger row's birth, which is part of every token.
    pub birth: i64,
}

/// The decision of a take-over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settled {
    /// The row as the new owner writes it.
    pub row: Row,
    /// The plan that the new owner follows.
    pub plan: Plan,
    /// Gaps to record in the same transaction.
    pub gaps: Vec<Gap>,
}

/// Decides what the new owner does, from the row after the switches and from what was observed.
///
/// # Errors
/// The row is damaged, or the log has lost records.
pub fn settle(mut row: Row, observed: &Observed, switches: &Switches) -> Result<Settled, Corrupt> {
    if row.format > FORMAT {
        return Err(Corrupt::NewerFormat(row.format));
    }
    check_claims(&row)?;
    let mut gaps = Vec::new();
    let start = row.frontiers.lowest();
    if observed.log_end < row.claimed {
        return Err(Corrupt::LogWentBack { log_end: observed.log_end, claimed: row.claimed });
    }
    if observed.log_start > start {
        let range = Range::new(start, observed.log_start);
        if switches.on_lost_records == OnLostRecords::Stop {
            return Err(Corrupt::Lost { range });
        }
        gaps.push(Gap { sink: None, range, reason: "deleted by retention before it was stored" });
    }
    let went_back = observed.may_have_gone_back || observed.clickhouse_highest.is_some() || observed.ledger_lost;
    if went_back {
        row.doubtful_below = Some(row.doubtful_below.unwrap_or(0).max(observed.log_end));
    }
    row.doubtful_below = row.doubtful_below.filter(|&h| h > start);
    row.format = FORMAT;
    let mut cuts: Vec<Offset> = row.claims.iter().map(|claim| claim.end).collect();
    cuts.push(row.frontiers.dead_letters);
    cuts.extend(row.frontiers.postgres);
    cuts.extend(row.frontiers.clickhouse);
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
        frontiers: row.frontiers,
        uncertain_through: if observed.ledger_lost { Some(observed.log_end) } else { observed.clickhouse_highest },
        doubtful_below: row.doubtful_below,
        birth: row.birth,
    };
    Ok(Settled { row, plan, gaps })
}

pub(crate) fn check_claims(row: &Row) -> Result<(), Corrupt> {
    let ends: Vec<Offset> = row.claims.iter().map(|claim| claim.end).collect();
    let lowest = row.frontiers.lowest();
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
            ("the dead letters", Some(row.frontiers.dead_letters)),
            ("postgresql", row.frontiers.postgres),
            ("clickhouse", row.frontiers.clickhouse),
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
