//! Rows that ClickHouse's table refuses. ClickHouse cannot roll back, but a violated constraint is a certain answer: the server checks a
//! block before it writes any of it, and names the row. The row's dead letter for ClickHouse is written to PostgreSQL under the fence. From
//! then on, this owner and every later one leave the record out when they insert the range and when they read it back. If the process dies
//! before the dead letter is written, nothing has changed. If it dies later, the next take-over reads the dead letter. The token of the
//! range stays the same, because nothing was stored under it.

use std::time::Duration;

use footprint_event::route::Route;
use footprint_event::rows::Rows;
use footprint_protocol::ledger::SinkName;
use footprint_service::config::{Kafka, Postgres};
use footprint_service::failpoint::{self, Point};
use footprint_service::metrics::Meters;
use footprint_service::report::Remedy;
use tracing::warn;

use crate::batch::Batch;
use crate::ledger::statements::{Fence, Ledger, LedgerError};
use crate::limits::REFUSED_ROWS_MIN;
use crate::store::refused_records::RefusedRecords;
use crate::store::sink::SinkError;
use crate::store::write_failure::{REFUSED_ROWS_REMEDY, WriteFailure};

/// What the sink needs to deal with rows that ClickHouse refuses.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// The connection to PostgreSQL, which gets the dead letters.
    pub postgres: Postgres,
    /// The connection to Kafka, from which a refused record is read again.
    pub kafka: Kafka,
    /// The share of a batch's rows that may be refused.
    pub share_max: f64,
    /// Application name of the connection to PostgreSQL.
    pub application_name: String,
    /// The counters of the route.
    pub meters: Meters,
}

/// A row that ClickHouse refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Its offset, and when Kafka received it, microseconds since the epoch.
    pub(super) place: (i64, i64),
    /// ClickHouse's message.
    pub(super) why: String,
}

impl Refused {
    /// The row of `rows` that was the `nth` in the block. None: there is no such row.
    pub(super) fn of(rows: &Rows, selection: Option<&[usize]>, nth: usize, why: String) -> Option<Self> {
        let row = selection.map_or(Some(nth), |selection| selection.get(nth).copied())?;
        Some(Self { place: (*rows.offsets.get(row)?, *rows.received_at_us.get(row)?), why })
    }
}

/// Writes the dead letters of one batch's refused rows. It connects when it writes the first one.
#[derive(Default)]
pub(super) struct DeadLetterWriter(Option<(RefusedRecords, Ledger)>);

impl DeadLetterWriter {
    /// Writes the dead letter of a refused row. From then on the row is left out.
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
            return Err(SinkError::Stop(WriteFailure::TooManyRefused {
                server: "clickhouse",
                count: before + 1,
                rows: batch.rows.len(),
                partition,
                range: batch.range,
                offset,
                source: Remedy::new(REFUSED_ROWS_REMEDY, refused.why.clone()),
            }));
        }
        let (records, ledger) = match &mut self.0 {
            Some(open) => open,
            none => {
                let records = RefusedRecords::open(&refusals.kafka, route, timeout).await?;
                let ledger = Ledger::connect(&refusals.postgres, &route.name, &refusals.application_name);
                none.insert((records, ledger.await.map_err(sink_error)?))
            }
        };
        let letter = records.dead_letter(partition, refused.place, SinkName::ClickHouse, &refused.why).await?;
        records.check_topic(ownership).await?;
        failpoint::hit(Point::LeaveOut);
        let leaving = ledger.leave_out(Fence::from(&**ownership), SinkName::ClickHouse, &letter);
        let is_ours = failpoint::sent(Point::LeaveOutSent, leaving).await.map_err(sink_error)?;
        failpoint::hit(Point::LeaveOutAnswered);
        if !is_ours {
            return Err(SinkError::Uncertain(WriteFailure::NotLeftOut));
        }
        ownership.left_out.add(SinkName::ClickHouse, offset);
        refusals.meters.refused(SinkName::ClickHouse, 1);
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

/// Adds the batch, and the command that leaves a record out, to a refusal that names no row.
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
        SinkError::Unclear(failure) => {
            let source = Remedy::new(command(), failure);
            SinkError::Unclear(WriteFailure::Batch { partition, range: batch.range, source })
        }
        other => other,
    }
}

fn sink_error(error: LedgerError) -> SinkError {
    let class = if error.is_passing() { SinkError::Uncertain } else { SinkError::Stop };
    class(error.into())
}
