//! Reads the rows of a range that PostgreSQL holds. If another decoder claimed the range, ClickHouse must get the same rows.

use std::sync::Arc;
use std::time::Duration;

use footprint_event::route::{Column, Route, quoted};
use footprint_event::rows::{ColumnData, Rows, Values};
use footprint_service::config::Postgres;
use footprint_service::failpoint::{self, Point};
use footprint_service::postgres::session::Purpose;
use footprint_service::postgres::{PostgresError, connect};
use futures::TryStreamExt as _;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::batch::Batch;
use crate::ledger::ownership::Ownership;
use crate::store::sink::SinkError;
use crate::store::write_failure::WriteFailure;

/// Reads stored rows. Each read makes a new connection: this happens at most once after an upgrade.
pub struct PostgresRows {
    settings: Postgres,
    application_name: String,
    route: Arc<Route>,
    timeout: Duration,
}

impl PostgresRows {
    /// Reads the table of a route.
    pub fn new(settings: &Postgres, application_name: &str, route: &Arc<Route>, timeout: Duration) -> Self {
        let application_name = application_name.to_owned();
        Self { settings: settings.clone(), application_name, route: Arc::clone(route), timeout }
    }

    /// The stored rows of a batch's range, in offset order.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn of(&self, batch: &Batch) -> Result<Rows, SinkError> {
        failpoint::hit(Point::StoredRows);
        let answer = timeout(self.timeout, self.read(batch)).await;
        failpoint::hit(Point::StoredRowsAnswered);
        match answer {
            Ok(answer) => answer.map_err(SinkError::Uncertain),
            Err(_) => Err(SinkError::Uncertain(WriteFailure::NoAnswer { server: "postgresql", waited: self.timeout })),
        }
    }

    async fn read(&self, batch: &Batch) -> Result<Rows, WriteFailure> {
        let purpose = Purpose::StoredRows(self.timeout);
        let client = connect(&self.settings, &self.application_name, purpose).await?;
        let Ownership { source, partition, .. } = *batch.ownership;
        let parameters: [&(dyn ToSql + Sync); 4] = [&source.0, &partition, &batch.range.start, &batch.range.end];
        let rows = rows_where(&client, &self.route, "kafka_offset >= $3 and kafka_offset < $4", &parameters).await;
        rows.map_err(|error| WriteFailure::Postgres(PostgresError::from(error).into()))
    }
}

/// The rows of one partition that meet a condition, in offset order. The first two parameters are source and partition.
///
/// # Errors
/// PostgreSQL refuses, or the connection breaks.
pub async fn rows_where(
    client: &Client,
    route: &Route,
    condition: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Rows, tokio_postgres::Error> {
    let columns: Vec<String> = route.columns.iter().map(expression).collect();
    let sql = format!(
        "select kafka_offset, (extract(epoch from received_at) * 1000000)::bigint, {} from {} \
         where kafka_source = $1 and kafka_partition = $2 and {condition} order by kafka_offset",
        columns.join(", "),
        quoted(&route.postgres_table)
    );
    let found = client.query_raw(&sql, parameters.iter().copied()).await?;
    futures::pin_mut!(found);
    let mut rows = Rows::empty(route);
    // row by row, so that a second copy of the rows is in memory as columns, but no third one as PostgreSQL's rows
    while let Some(row) = found.try_next().await? {
        rows.offsets.push(row.try_get(0)?);
        rows.received_at_us.push(row.try_get(1)?);
        for (index, column) in rows.columns.iter_mut().enumerate() {
            push(column, &row, index + 2)?;
        }
    }
    Ok(rows)
}

fn expression(column: &Column) -> String {
    column.kind.form().postgres_value.replace("{}", &quoted(&column.name))
}

fn push(column: &mut ColumnData, row: &Row, index: usize) -> Result<(), tokio_postgres::Error> {
    let present = match &mut column.values {
        Values::Text { bytes, ends } => {
            let text: Option<&str> = row.try_get(index)?;
            bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
            ends.push(bytes.len() as u32);
            text.is_some()
        }
        Values::Timestamp(values) | Values::Integer(values) => {
            let value: Option<i64> = row.try_get(index)?;
            values.push(value.unwrap_or_default());
            value.is_some()
        }
        Values::Float(values) => {
            let value: Option<f64> = row.try_get(index)?;
            values.push(value.unwrap_or_default());
            value.is_some()
        }
        Values::Boolean(values) => {
            let value: Option<bool> = row.try_get(index)?;
            values.push(value.unwrap_or_default());
            value.is_some()
        }
        Values::Uuid(values) => {
            let value: Option<Uuid> = row.try_get(index)?;
            values.push(value.unwrap_or_default().as_u128());
            value.is_some()
        }
    };
    if let Some(validity) = &mut column.validity {
        validity.push(present);
    }
    Ok(())
}
