//! Makes and changes the tables in PostgreSQL, in two ways:
//!
//! - Tables of every installation (the ledger, the dead letters) are in versioned files, migrations/postgres/V*.sql. Refinery runs each
//!   file once, all in one transaction. A merged file is never edited.
//! - Tables that depend on the configuration (those of routes) are compared with the catalog at every run. The file
//!   migrations/postgres/R__route_table.sql makes a missing table. [`super::shape`] adds what an existing table lacks: the table of the old
//!   system, or a table whose route has gained a column. A second run changes nothing.
//!
//! All of this happens under one lock of the database, so two runs at once do it one after the other.

use std::time::Duration;

use footprint_event::route::{Route, quoted};
use footprint_service::config::Postgres;
use footprint_service::postgres::session::Purpose;
use footprint_service::postgres::{ConnectError, PostgresError, connect};
use refinery::{Migration, Runner};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::rights::{VERSION_TABLE, missing_rights_for_ledger, missing_rights_for_route};
use super::shape::{FoundColumn, FoundTable, ShapeError, plan};
use crate::ledger::statements::routes;

/// The migration files, in order.
const VERSIONS: [(&str, &str); 9] = [
    ("V1__ledger", include_str!("../../../migrations/postgres/V1__ledger.sql")),
    ("V2__birth", include_str!("../../../migrations/postgres/V2__birth.sql")),
    ("V3__first_start", include_str!("../../../migrations/postgres/V3__first_start.sql")),
    ("V5__refused", include_str!("../../../migrations/postgres/V5__refused.sql")),
    ("V6__definitions", include_str!("../../../migrations/postgres/V6__definitions.sql")),
    ("V7__holders", include_str!("../../../migrations/postgres/V7__holders.sql")),
    ("V10__replay", include_str!("../../../migrations/postgres/V10__replay.sql")),
    ("V11__proof", include_str!("../../../migrations/postgres/V11__proof.sql")),
    ("V12__pause", include_str!("../../../migrations/postgres/V12__pause.sql")),
];
/// The advisory lock that `migrate` takes: the bytes of "footprin".
const LOCK: i64 = i64::from_be_bytes(*b"footprin");
/// How long to wait for another `migrate`, or for a table that is in use.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one statement may take: PostgreSQL rewrites an old table when its times get a time zone.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Why PostgreSQL could not be brought to the wanted state.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// PostgreSQL refused.
    #[error("postgresql: {what}")]
    Refused {
        /// What was tried.
        what: String,
        /// PostgreSQL's error.
        source: PostgresError,
    },
    /// A versioned file failed, or was edited after it had been run.
    #[error("postgresql: the files of migrations/postgres")]
    Files(#[source] refinery::Error),
    /// No answer in time.
    #[error("postgresql: {what}: no answer in {waited:?}")]
    TimedOut {
        /// What was tried.
        what: String,
        /// For how long.
        waited: Duration,
    },
    /// A table cannot be used.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The tables belong to another route, or the route to other tables.
    #[error("{0}")]
    TablesInUse(String),
}

impl MigrateError {
    fn refused(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let what = what.into();
        |error| Self::Refused { what, source: error.into() }
    }
}

/// A connection that holds the lock: no other `migrate` works while it lives.
pub struct Migrator {
    client: Client,
}

impl Migrator {
    /// Connects and waits for the lock.
    ///
    /// # Errors
    /// No connection, or another `migrate` runs for longer than a minute.
    pub async fn connect(settings: &Postgres) -> Result<Self, MigrateError> {
        let client = connect(settings, "footprint-migrate", Purpose::Migrate).await?;
        let what = "waiting for another `migrate`";
        let lock = format!("select pg_advisory_lock({LOCK})");
        let waited = LOCK_TIMEOUT + Duration::from_secs(5);
        match timeout(waited, client.batch_execute(&lock)).await {
            Ok(answer) => answer.map_err(MigrateError::refused(what))?,
            Err(_) => return Err(MigrateError::TimedOut { what: what.into(), waited }),
        }
        // a statement ends soon after its client is gone, and not only when it is done (PostgreSQL 14 and later)
        let sql =
            "select set_config(name, '1s', false) from pg_settings where name = 'client_connection_check_interval'";
        match timeout(waited, client.execute(sql, &[])).await {
            Ok(answer) => answer.map_err(MigrateError::refused(what))?,
            Err(_) => return Err(MigrateError::TimedOut { what: what.into(), waited }),
        };
        Ok(Self { client })
    }

    /// The rights that the user lacks, as statements. Changes nothing.
    ///
    /// # Errors
    /// PostgreSQL refuses, a table cannot be adopted, or it belongs to another route.
    pub async fn missing_rights(
        &self,
        routes: &[(&Route, String)],
        with_tables: bool,
    ) -> Result<Vec<String>, MigrateError> {
        missing_rights(&self.client, routes, with_tables).await
    }

    /// Runs the migration files that were not run yet. Returns what was done.
    ///
    /// # Errors
    /// PostgreSQL refuses, or a file was edited after it had been run.
    pub async fn ledger(&mut self) -> Result<Vec<String>, MigrateError> {
        let migrations = VERSIONS
            .iter()
            .map(|(name, sql)| Migration::unapplied(name, sql))
            .collect::<Result<Vec<_>, _>>()
            .map_err(MigrateError::Files)?;
        let mut runner = Runner::new(&migrations).set_grouped(true);
        runner.set_migration_table_name(VERSION_TABLE);
        let running = runner.run_async(&mut self.client);
        let report = timeout(STATEMENT_TIMEOUT, running)
            .await
            .map_err(|_| MigrateError::TimedOut { what: "the ledger's files".into(), waited: STATEMENT_TIMEOUT })?
            .map_err(MigrateError::Files)?;
        Ok(report.applied_migrations().iter().map(|file| format!("postgresql: ran {file}")).collect())
    }

    /// Makes or adopts the table of a route, in one transaction. Returns what was done.
    ///
    /// # Errors
    /// PostgreSQL refuses, or the table cannot be adopted.
    pub async fn route_table(&mut self, route: &Route) -> Result<Vec<String>, MigrateError> {
        let changing = async {
            let what = || format!("table {}", route.postgres_table);
            let transaction = self.client.transaction().await.map_err(MigrateError::refused(what()))?;
            let found = find(&transaction, &route.postgres_table).await.map_err(MigrateError::refused(what()))?;
            let changes = plan(route, found.as_ref())?;
            for change in &changes {
                transaction.batch_execute(&change.sql).await.map_err(MigrateError::refused(&change.what))?;
            }
            transaction.commit().await.map_err(MigrateError::refused(what()))?;
            Ok(changes.into_iter().map(|change| format!("postgresql: {}", change.what)).collect())
        };
        timeout(STATEMENT_TIMEOUT, changing).await.unwrap_or_else(|_| {
            Err(MigrateError::TimedOut { what: route.postgres_table.clone(), waited: STATEMENT_TIMEOUT })
        })
    }

    /// Checks that the route may have the pair of tables. A route keeps its tables for good, because the ledger counts what they hold.
    ///
    /// # Errors
    /// PostgreSQL refuses, the route has other tables, or another route has one of these.
    pub async fn check_free(&self, route: &Route, clickhouse_table: &str) -> Result<(), MigrateError> {
        check_free(&self.client, route, clickhouse_table).await
    }

    /// Registers the pair of tables for the route.
    ///
    /// # Errors
    /// PostgreSQL refuses, or the pair is not free.
    pub async fn register(&self, route: &Route, clickhouse_table: &str) -> Result<Vec<String>, MigrateError> {
        let what = "registering the route";
        let registering = routes::register(&self.client, route, clickhouse_table);
        let is_new = match timeout(LOCK_TIMEOUT, registering).await {
            Ok(is_new) => is_new.map_err(MigrateError::refused(what))?,
            Err(_) => return Err(MigrateError::TimedOut { what: what.into(), waited: LOCK_TIMEOUT }),
        };
        self.check_free(route, clickhouse_table).await?;
        Ok(if is_new { vec![format!("registered route {}", route.name)] } else { Vec::new() })
    }
}

/// The rights that the user lacks to run the migration files and, if `with_tables`, to make or adopt each route's table and to write to it.
/// `routes`: each with its table in ClickHouse.
///
/// # Errors
/// PostgreSQL refuses, a table cannot be adopted, or it belongs to another route.
pub async fn missing_rights(
    client: &Client,
    routes: &[(&Route, String)],
    with_tables: bool,
) -> Result<Vec<String>, MigrateError> {
    let what = "asking for the user's rights";
    let asking = async {
        let version = version(client).await.map_err(MigrateError::refused(what))?;
        let is_pending = version.is_none_or(|version| version < newest_version());
        let mut missing = missing_rights_for_ledger(client, is_pending).await.map_err(MigrateError::refused(what))?;
        for (route, clickhouse_table) in routes {
            if version.is_some() {
                check_free(client, route, clickhouse_table).await?;
            }
            if !with_tables {
                continue;
            }
            let found = find(client, &route.postgres_table).await.map_err(MigrateError::refused(what))?;
            let changes = plan(route, found.as_ref())?;
            let more = missing_rights_for_route(client, route, found.as_ref(), &changes).await;
            for statement in more.map_err(MigrateError::refused(what))? {
                if !missing.contains(&statement) {
                    missing.push(statement);
                }
            }
        }
        Ok(missing)
    };
    let waited = LOCK_TIMEOUT;
    timeout(waited, asking).await.unwrap_or_else(|_| Err(MigrateError::TimedOut { what: what.into(), waited }))
}

/// The version of the newest migration file that was run. None if no file was run.
async fn version(client: &Client) -> Result<Option<i32>, tokio_postgres::Error> {
    let there = client.query_one("select to_regclass($1::text) is not null", &[&VERSION_TABLE]).await?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let sql = format!("select max(version) from {VERSION_TABLE}");
    Ok(client.query_one(&sql, &[]).await?.get(0))
}

async fn check_free(client: &Client, route: &Route, clickhouse_table: &str) -> Result<(), MigrateError> {
    let asking = routes::registered(client, route, clickhouse_table);
    let what = "looking for the route's tables";
    let owners = match timeout(LOCK_TIMEOUT, asking).await {
        Ok(owners) => owners.map_err(MigrateError::refused(what))?,
        Err(_) => return Err(MigrateError::TimedOut { what: what.into(), waited: LOCK_TIMEOUT }),
    };
    match owners.into_iter().find(|owner| !owner.is_ours) {
        None => Ok(()),
        Some(other) => Err(MigrateError::TablesInUse(format!(
            "route {}: tables {} and {clickhouse_table} are configured, but {} and {} belong to route {} for good, because \
             its ledger counts what they hold; give other tables another route name",
            route.name, route.postgres_table, other.postgres_table, other.clickhouse_table, other.route
        ))),
    }
}

/// The version of the newest migration file.
pub fn newest_version() -> i32 {
    let number = |name: &str| name.trim_start_matches('V').split("__").next().and_then(|number| number.parse().ok());
    VERSIONS.last().and_then(|(name, _)| number(name)).unwrap_or_default()
}

/// A table as the catalog describes it.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn find(
    client: &impl tokio_postgres::GenericClient,
    table: &str,
) -> Result<Option<FoundTable>, tokio_postgres::Error> {
    let table = quoted(table);
    let sql = "select n.nspname || '.' || c.relname, c.relkind::text, c.relpersistence <> 'p' from pg_class c \
               join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1::text)";
    let Some(row) = client.query_opt(sql, &[&table]).await? else { return Ok(None) };
    let sql = "select attname::text, format_type(atttypid, atttypmod), not attnotnull, atthasdef or attidentity <> '', \
               attgenerated <> '' from pg_attribute \
               where attrelid = to_regclass($1::text) and attnum > 0 and not attisdropped order by attnum";
    let columns = client.query(sql, &[&table]).await?;
    let sql = "select c.relname::text, i.indisunique, \
               array(select a.attname::text from unnest(i.indkey) with ordinality k (number, place) \
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number order by k.place) \
               from pg_index i join pg_class c on c.oid = i.indexrelid \
               where i.indrelid = to_regclass($1::text) and i.indisvalid";
    let indexes = client.query(sql, &[&table]).await?;
    let mut found = FoundTable { name: row.get(0), kind: row.get(1), unlogged: row.get(2), ..FoundTable::default() };
    found.columns = columns
        .iter()
        .map(|column| FoundColumn {
            name: column.get(0),
            column_type: column.get(1),
            nullable: column.get(2),
            has_default: column.get(3),
            generated: column.get(4),
        })
        .collect();
    for index in indexes {
        let columns: Vec<String> = index.get(2);
        found.indexed.extend(columns.first().cloned());
        if index.get(1) {
            found.unique.push((index.get(0), columns));
        }
    }
    Ok(Some(found))
}
