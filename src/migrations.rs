//! Brings both databases to what the configuration needs: the ledger and the dead letters, each route's pair of tables, and
//! the note that the pair is the route's. Safe to run twice and by two at once; no row is lost. How each database does it
//! stands in sink/postgres/migrate.rs and sink/clickhouse/migrate.rs.

use crate::config::Config;
use crate::sink::{clickhouse, postgres};

/// Why a database is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] postgres::migrate::MigrateError),
    /// ClickHouse.
    #[error(transparent)]
    ClickHouse(#[from] clickhouse::migrate::MigrateError),
}

/// Migrates both databases, telling `done` each thing as it is done. PostgreSQL's lock is held from first to last, so a
/// second one waits, then finds nothing to do. A sink that is switched off is left alone; the ledger is made in any case.
///
/// # Errors
/// A database refuses or does not answer, or a table cannot be adopted. What was done before stays; run it again.
pub async fn migrate(config: &Config, mut done: impl FnMut(&str)) -> Result<(), MigrationError> {
    let mut postgres = postgres::migrate::Migrator::connect(&config.postgres).await?;
    let clickhouse = clickhouse::migrate::Migrator::new(&config.clickhouse);
    let mut tell = |lines: Vec<String>| lines.iter().for_each(|line| done(line));
    tell(postgres.ledger().await?);
    for route in &config.routes {
        // before any table is touched: a table of another route is not ours to change
        let (database, table) = clickhouse::migrate::names(route, &config.clickhouse.database);
        let clickhouse_table = format!("{database}.{table}");
        postgres.is_free(route, &clickhouse_table).await?;
        if config.postgres.enabled {
            tell(postgres.route_table(route).await?);
        }
        if config.clickhouse.enabled {
            tell(clickhouse.route_table(route).await?);
        }
        tell(postgres.register(route, &clickhouse_table).await?);
    }
    Ok(())
}
