//! `footprint migrate`: creates or adopts every table, and says what it did.

use std::time::Duration;

use footprint_service::config::Config;
use footprint_service::console::{Output, complain};
use footprint_service::signals::Signals;
use tokio::time::sleep;

use crate::cli::Exit;
use crate::upkeep::migrate;

/// How long work in progress may still take after a signal.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Create the missing tables and adopt those of the old system.
///
/// Creates the ledger and the dead letters in PostgreSQL, and every route's table in PostgreSQL and ClickHouse. An existing table
/// keeps every row: it gains the missing columns, indexes and settings, varchar becomes text, and a time without a zone becomes
/// an instant of the route's zone (this rewrites the table, so stop the old consumer first). It is safe to run it again, or twice
/// at once.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {}

/// Whether it came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// Every table is as it should be.
    Whole,
    /// A signal came first.
    Interrupted,
}

/// Runs the command.
///
/// # Errors
/// A database refuses or does not answer, or a table cannot be adopted.
pub async fn run(_args: &MigrateArgs, config: &Config, signals: &Signals, output: &mut Output) -> anyhow::Result<Exit> {
    Ok(match migrate(config, signals, output).await? {
        Migrated::Whole => Exit::Done,
        Migrated::Interrupted => Exit::Failed,
    })
}

/// Migrates, and prints what was done. After a signal, the work in progress gets some time to end, and is then given up.
/// PostgreSQL rolls it back. A statement of ClickHouse is either whole or never began.
///
/// # Errors
/// A database refuses or does not answer, or a table cannot be adopted.
pub async fn migrate(config: &Config, signals: &Signals, output: &mut Output) -> anyhow::Result<Migrated> {
    let mut count = 0_usize;
    let done = |line: &str| {
        count += 1;
        output.line(line);
    };
    let given_up = async {
        signals.wait().await;
        sleep(FINISH_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        migrated = migrate::migrate(config, done) => migrated?,
        () = given_up => {
            complain("interrupted: not every table is as it should be; run `footprint migrate` again");
            return Ok(Migrated::Interrupted);
        }
    }
    if count == 0 {
        output.line("nothing to do: every table is as it should be");
    }
    Ok(Migrated::Whole)
}
