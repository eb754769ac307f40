//! Rows that ClickHouse's table refuses. ClickHouse has no transaction to hide a try in, but a violated constraint is certain:
//! the server checks a block before it writes any of it, and names the row. Its dead letter for ClickHouse is written to
//! PostgreSQL under the fence; from then on this owner and every later one leave the record out of what they insert and of what
//! they look for when they read the range back. Whoever dies before that has changed nothing, whoever dies after it has left a
//! dead letter that the next take-over reads. The token stays the range's: nothing was ever stored under it.

use std::time::Duration;

use footprint_event::route::Route;
use footprint_event::rows::Rows;
use footprint_protocol::ledger::SinkName;
use footprint_service::config::{Kafka, Postgres};
use footprint_service::failpoint::{self, Point};
use footprint_service::metrics;
use tracing::warn;

use crate::batch::Batch;
use crate::ledger::statements::{Fence, Ledger, LedgerError};
use crate::limits::REFUSED_ROWS_MIN;
use crate::store::letters::Letters;
use crate::store::sink::SinkError;

/// What is done about rows that ClickHouse refuses.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// Where dead letters are.
    pub postgres: Postgres,
    /// Where a refused record is read again.
    pub kafka: Kafka,
    /// Of a batch's rows that may be refused.
    pub share_max: f64,
    /// Of the connection to PostgreSQL.
    pub application_name: String,
}

/// A row that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Its offset, and when Kafka received it.
    pub(super) place: (i64, i64),
    /// ClickHouse's words.
    pub(super) why: String,
}

impl Refused {
    /// The row of `rows` that was the `nth` of a block; none when there is no such row.
    pub(super) fn of(rows: &Rows, selection: Option<&[usize]>, nth: usize, why: String) -> Option<Self> {
        let row = selection.map_or(Some(nth), |selection| selection.get(nth).copied())?;
        Some(Self { place: (*rows.offsets.get(row)?, *rows.received_at_us.get(row)?), why })
    }
}

/// What is open while refused rows of one batch are left out.
#[derive(Default)]
pub(super) struct Leaving(Option<(Letters, Ledger)>);

impl Leaving {
    /// Writes the dead letter of a refused row, and leaves the row out from now on.
    pub(super) async fn leave_out(
        &mut self,
        refusals: &Refusals,
        route: &Route,
        batch: &Batch,
        refused: &Refused,
        timeout: Duration,
    ) -> Result<(), SinkError> {
        let ownership = &batch.ownership;
        let (partition, offset) = (ownership.partition, refused.place.0);
        let before = ownership.left_out.of(SinkName::ClickHouse, batch.range).len();
        let allowed = ((refusals.share_max * batch.rows.len() as f64) as usize).max(REFUSED_ROWS_MIN);
        if before >= allowed {
            let why = format!(
                "clickhouse: more than {allowed} of {} rows of partition {partition} {} are refused, now offset {offset}: {}",
                batch.rows.len(),
                batch.range,
                refused.why
            );
            let remedy = "let the table take such rows, or raise pipeline.refused_rows_share_max".into();
            return Err(SinkError::Stop { why, remedy });
        }
        let (letters, ledger) = match &mut self.0 {
            Some(open) => open,
            none => {
                let letters = Letters::open(&refusals.kafka, route, timeout).await?;
                let ledger = Ledger::connect(&refusals.postgres, &route.name, &refusals.application_name);
                none.insert((letters, ledger.await.map_err(sink_error)?))
            }
        };
        let letter = letters.letter(partition, refused.place, SinkName::ClickHouse, &refused.why).await?;
        letters.check_life(ownership).await?;
        failpoint::hit(Point::LeaveOut);
        let leaving = ledger.leave_out(Fence::from(&**ownership), SinkName::ClickHouse, &letter);
        let is_ours = failpoint::sent(Point::LeaveOutSent, leaving).await.map_err(sink_error)?;
        failpoint::hit(Point::LeaveOutAnswered);
        if !is_ours {
            let why = "clickhouse: a refused row could not be left out: the partition is another's".into();
            return Err(SinkError::Retry { why, uncertain: true });
        }
        ownership.left_out.add(SinkName::ClickHouse, offset);
        metrics::refused(SinkName::ClickHouse, 1);
        if before == 0 {
            warn!(
                partition,
                range = %batch.range,
                first_offset = offset,
                "clickhouse refuses a row: it is a dead letter for clickhouse, postgresql keeps it: {}", refused.why
            );
        }
        Ok(())
    }
}

/// What is to be done about a batch that ClickHouse refuses, and not for one row that it names.
pub(super) fn named(route: &Route, batch: &Batch, error: SinkError) -> SinkError {
    let partition = batch.ownership.partition;
    let command = || {
        format!(
            "if one record is at fault, leave it out: footprint dead-letters add --route {} --partition {partition} \
             --offset OFFSET --database clickhouse",
            route.name
        )
    };
    match error {
        SinkError::Unclear { why, remedy } => SinkError::Unclear {
            why: format!("{why} (partition {partition}, offsets {})", batch.range),
            remedy: format!("{remedy}; {}", command()),
        },
        other => other,
    }
}

fn sink_error(error: LedgerError) -> SinkError {
    if error.is_passing() {
        SinkError::Retry { why: error.to_string(), uncertain: true }
    } else {
        SinkError::Stop { why: error.to_string(), remedy: String::new() }
    }
}
