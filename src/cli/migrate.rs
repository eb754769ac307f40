//! `footprint migrate`: makes or adopts every table, and says what it did.

use crate::cli::Exit;
use crate::config::Config;
use crate::migrations::migrate;

/// Make the tables that are missing and adopt those that the old system made.
///
/// Makes the ledger and the dead letters in PostgreSQL, and every route's table in PostgreSQL and ClickHouse. An existing
/// table keeps every row: it gains the columns, indexes and settings it lacks, varchar becomes text, and a time without a
/// zone becomes an instant of the route's zone (which rewrites the table: stop the old consumer first). Running it again, or
/// twice at once, does no harm.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {}

/// Runs the command.
///
/// # Errors
/// A database refuses or does not answer, or a table cannot be adopted.
pub async fn run(_args: &MigrateArgs, config: &Config) -> anyhow::Result<Exit> {
    let mut count = 0_usize;
    migrate(config, |line| {
        count += 1;
        println!("{line}");
    })
    .await?;
    if count == 0 {
        println!("nothing to do: every table is as it should be");
    }
    Ok(Exit::Done)
}
