//! The first pass over each table: how many rows each window of each partition holds.

use footprint_protocol::ledger::SinkName;
use footprint_service::config::Config;

use crate::upkeep::verify::error::VerifyError;
use crate::upkeep::verify::postgres::{Extents, Table, Tables};
use crate::upkeep::verify::{Options, clickhouse};

/// The result of one pass over each table.
pub(super) struct Counted {
    pub(super) rows: Extents,
    pub(super) dead: Extents,
    pub(super) refused: [Extents; 2],
    pub(super) clickhouse_rows: clickhouse::Extents,
}

/// One pass over each table. If a sink is switched off and its table is not there, that is a note and no error.
pub(super) async fn count(
    config: &Config,
    options: &Options,
    tables: &Tables,
    table: Option<&clickhouse::Table>,
    notes: &mut Vec<String>,
) -> Result<Counted, VerifyError> {
    let has_rows_table = config.postgres.enabled || tables.has_rows_table().await?;
    if !has_rows_table {
        notes.push("postgresql is switched off and has no table of this route".into());
    }
    let postgres = async {
        let extents = |table| tables.extents(table, options.window_bits);
        let rows = async {
            match has_rows_table {
                true => extents(Table::Rows).await,
                false => Ok(Extents::new()),
            }
        };
        // side by side, as far as the pool has sessions
        let (rows, dead, of_postgres, of_clickhouse) = tokio::try_join!(
            rows,
            extents(Table::DeadLetters),
            extents(Table::Refused(SinkName::Postgres)),
            extents(Table::Refused(SinkName::ClickHouse))
        )?;
        Ok((rows, dead, [of_postgres, of_clickhouse]))
    };
    let clickhouse = async {
        match table {
            Some(table) => table.extents(options.window_bits).await,
            None => Ok(clickhouse::Extents::new()),
        }
    };
    let ((rows, dead, refused), clickhouse_rows) = tokio::try_join!(postgres, clickhouse)?;
    Ok(Counted { rows, dead, refused, clickhouse_rows })
}
