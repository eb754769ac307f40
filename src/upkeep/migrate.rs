//! Brings both databases to what the configuration needs: the ledger and the dead letters, each route's pair of tables, and the
//! note that the pair belongs to the route. It is safe to run it twice, or by two processes at once, and no row is lost.
//! store/postgres/migrate.rs and store/clickhouse/migrate.rs say how each database does it.

use footprint_service::config::Config;

use crate::store::{clickhouse, postgres};

/// Why a database cannot be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] postgres::migrate::MigrateError),
    /// ClickHouse.
    #[error(transparent)]
    ClickHouse(#[from] clickhouse::migrate::MigrateError),
    /// Rights are missing; nothing was changed.
    #[error("nothing was changed, because rights are missing; as an administrator, run{}", statements(.clickhouse.as_deref(), .postgres))]
    Rights {
        /// The statement that grants all missing rights in ClickHouse.
        clickhouse: Option<String>,
        /// The statements that do so in PostgreSQL.
        postgres: Vec<String>,
    },
}

fn statements(clickhouse: Option<&str>, postgres: &[String]) -> String {
    let mut text = String::new();
    for statement in postgres {
        text.push_str(&format!("\n  in postgresql: {statement}"));
    }
    if let Some(statement) = clickhouse {
        text.push_str(&format!("\n  in clickhouse: {statement}"));
    }
    text
}

/// Looks at everything that [`migrate`] would do before it does any of it. If a right were missing half-way, one database would
/// be changed and the other would not.
async fn may_migrate(
    config: &Config,
    postgres: &postgres::migrate::Migrator,
    clickhouse: &clickhouse::migrate::Migrator,
) -> Result<(), MigrationError> {
    let routes: Vec<_> =
        config.routes.iter().map(|route| (route, route.clickhouse_full_name(&config.clickhouse.database))).collect();
    let missing_in_postgres = postgres.missing_rights(&routes, config.postgres.enabled).await?;
    let mut missing = Vec::new();
    if config.clickhouse.enabled {
        for (route, _) in &routes {
            for right in clickhouse.missing_rights(route).await? {
                if !missing.contains(&right) {
                    missing.push(right);
                }
            }
        }
    }
    let statement = clickhouse::rights::grant(&missing, &config.clickhouse.user);
    if statement.is_none() && missing_in_postgres.is_empty() {
        return Ok(());
    }
    Err(MigrationError::Rights { clickhouse: statement, postgres: missing_in_postgres })
}

/// Migrates both databases, and reports each thing to `done` as it is done. PostgreSQL's lock is held from first to last, so a
/// second process waits, and then finds nothing to do. A sink that is switched off is not touched. The ledger is created in any
/// case.
///
/// # Errors
/// A right is missing, or a table cannot be adopted: then nothing was changed. Or a database refuses or does not answer: then all
/// that was done before stays, and you can run it again.
pub async fn migrate(config: &Config, mut done: impl FnMut(&str)) -> Result<(), MigrationError> {
    let mut postgres = postgres::migrate::Migrator::connect(&config.postgres).await?;
    let clickhouse = clickhouse::migrate::Migrator::new(&config.clickhouse);
    may_migrate(config, &postgres, &clickhouse).await?;
    let mut tell = |lines: Vec<String>| lines.iter().for_each(|line| done(line));
    tell(postgres.ledger().await?);
    for route in &config.routes {
        // before any table is touched, because a table of another route is not ours to change
        let clickhouse_table = route.clickhouse_full_name(&config.clickhouse.database);
        postgres.check_free(route, &clickhouse_table).await?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use footprint_service::clickhouse::error::ClickHouseError;
    use footprint_service::postgres::ConnectError;
    use footprint_service::report::printed_once;

    use super::*;

    #[test]
    fn each_error_tells_its_cause_once_and_what_to_do_last() {
        let refused = ::clickhouse::error::Error::BadResponse("Code: 60. DB::Exception: no table".into());
        let source = ClickHouseError::from(refused).of_command();
        let error = "port=none".parse::<tokio_postgres::Config>().unwrap_err();
        let what = || "table visits".to_owned();
        let cases: [(MigrationError, &str); 5] = [
            (
                clickhouse::migrate::MigrateError::Refused { what: what(), source }.into(),
                "clickhouse: table visits: Code: 60. DB::Exception: no table; run `footprint migrate`: the table is missing",
            ),
            (
                clickhouse::migrate::MigrateError::timed_out(&what(), Duration::from_secs(10)).into(),
                "clickhouse: table visits: no answer in 10s; is it up, is CH_HOST right?",
            ),
            (
                postgres::migrate::MigrateError::Refused { what: what(), source: error.into() }.into(),
                "postgresql: table visits: invalid connection string: invalid value for option `port`",
            ),
            (
                postgres::migrate::MigrateError::from(ConnectError::timed_out("db:5432/visits".into())).into(),
                "postgresql at db:5432/visits did not answer in 10s; is it up, is DB_HOST right?",
            ),
            (
                MigrationError::Rights { clickhouse: Some("GRANT x".into()), postgres: vec!["grant y".into()] },
                "nothing was changed, because rights are missing; as an administrator, run\n  in postgresql: grant y\n  in \
                 clickhouse: GRANT x",
            ),
        ];
        for (error, told) in cases {
            assert_eq!(printed_once(&error), told);
        }
    }
}
