//! Brings PostgreSQL to what this program needs, by one mechanism each:
//!
//! - what every installation has alike (the ledger, the dead letters) stands in versioned files, migrations/postgres/V*.sql,
//!   run once each by refinery, all in one transaction. A file once merged is never edited;
//! - what follows from the configuration (a route's table) is compared with the catalog at every run: migrations/postgres/
//!   R__route_table.sql makes a table that is missing, [`super::shape`] adds what an existing one lacks. So the old
//!   system's table, a route that gained a column and a table of ours take the same way, and a second run does nothing.
//!
//! All of it happens under one lock of the database, so two at once do it one after the other.

use std::time::Duration;

use refinery::{Migration, Runner};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::shape::{FoundColumn, FoundTable, ShapeError, plan};
use super::{ConnectError, connect, describe};
use crate::config::Postgres;
use crate::route::{Route, quoted};

/// The ledger's files, in order.
const VERSIONS: [(&str, &str); 1] = [("V1__ledger", include_str!("../../../migrations/postgres/V1__ledger.sql"))];
/// Where refinery notes which files were run.
pub const VERSION_TABLE: &str = "footprint_migration";
/// The advisory lock of whoever migrates: the bytes of "footprin".
const LOCK: i64 = i64::from_be_bytes(*b"footprin");
/// How long to wait for the other one that migrates, or for a table in use.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one statement may take: an old table of many rows is rewritten when its times get their zone.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Why PostgreSQL is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// PostgreSQL refused.
    #[error("postgresql: {what}: {}", describe(.source))]
    Refused {
        /// What was tried.
        what: String,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A versioned file failed, or was edited after it had been run.
    #[error("postgresql: the files of migrations/postgres: {0}")]
    Files(String),
    /// No answer in time.
    #[error("postgresql: {what}: no answer in {waited:?}")]
    TimedOut {
        /// What was tried.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// A table that cannot be adopted.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A pair of tables belongs to one route only.
    #[error("{0}")]
    Taken(String),
}

impl MigrateError {
    fn refused(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let what = what.into();
        |source| Self::Refused { what, source }
    }
}

/// A connection that holds the lock: nobody else migrates while it lives.
pub struct Migrator {
    client: Client,
}

impl Migrator {
    /// Connects and waits for the lock.
    ///
    /// # Errors
    /// No connection, or another one migrates for longer than a minute.
    pub async fn connect(settings: &Postgres) -> Result<Self, MigrateError> {
        let client = connect(settings, "footprint-migrate").await?;
        let what = "waiting for another `migrate`";
        let lock = format!(
            "set lock_timeout = '{}s'; set statement_timeout = '{}s'; set timezone = 'UTC'; \
             set client_min_messages = warning; select pg_advisory_lock({LOCK})",
            LOCK_TIMEOUT.as_secs(),
            STATEMENT_TIMEOUT.as_secs()
        );
        let waited = LOCK_TIMEOUT + Duration::from_secs(5);
        match timeout(waited, client.batch_execute(&lock)).await {
            Ok(answer) => answer.map_err(MigrateError::refused(what))?,
            Err(_) => return Err(MigrateError::TimedOut { what: what.into(), waited }),
        }
        Ok(Self { client })
    }

    /// Runs the ledger's files that were not run yet. Gives back what was done.
    ///
    /// # Errors
    /// PostgreSQL refuses, or a file was edited after it had been run.
    pub async fn ledger(&mut self) -> Result<Vec<String>, MigrateError> {
        let files = |error: refinery::Error| MigrateError::Files(with_causes(&error));
        let migrations = VERSIONS
            .iter()
            .map(|(name, sql)| Migration::unapplied(name, sql))
            .collect::<Result<Vec<_>, _>>()
            .map_err(files)?;
        let mut runner = Runner::new(&migrations).set_grouped(true);
        runner.set_migration_table_name(VERSION_TABLE);
        let running = runner.run_async(&mut self.client);
        let report = timeout(STATEMENT_TIMEOUT, running)
            .await
            .map_err(|_| MigrateError::TimedOut { what: "the ledger's files".into(), waited: STATEMENT_TIMEOUT })?
            .map_err(files)?;
        Ok(report.applied_migrations().iter().map(|file| format!("postgresql: ran {file}")).collect())
    }

    /// Makes or adopts a route's table, in one transaction. Gives back what was done.
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

    /// Notes that the pair of tables is the route's. A route keeps its tables for good: its ledger counts what they hold.
    ///
    /// # Errors
    /// PostgreSQL refuses, the route has other tables, or another route has one of these.
    pub async fn register(&self, route: &Route, clickhouse_table: &str) -> Result<Vec<String>, MigrateError> {
        let what = "registering the route";
        let qualified = self
            .client
            .query_opt("select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                 where c.oid = to_regclass($1::text)", &[&quoted(&route.postgres_table)])
            .await
            .map_err(MigrateError::refused(what))?;
        // a sink that is switched off may have no table yet
        let postgres_table: String = qualified.map_or_else(|| route.postgres_table.clone(), |row| row.get(0));
        let inserted = self
            .client
            .execute(
                "insert into footprint_route (route, postgres_table, clickhouse_table) values ($1, $2, $3) \
                 on conflict do nothing",
                &[&route.name, &postgres_table, &clickhouse_table],
            )
            .await
            .map_err(MigrateError::refused(what))?;
        let owners = self
            .client
            .query(
                "select route, postgres_table, clickhouse_table from footprint_route \
                 where route = $1 or postgres_table = $2 or clickhouse_table = $3",
                &[&route.name, &postgres_table, &clickhouse_table],
            )
            .await
            .map_err(MigrateError::refused(what))?;
        for owner in owners {
            let (name, postgres, clickhouse): (String, String, String) = (owner.get(0), owner.get(1), owner.get(2));
            if name == route.name && (&postgres, clickhouse.as_str()) == (&postgres_table, clickhouse_table) {
                continue;
            }
            return Err(MigrateError::Taken(format!(
                "route {}: tables {postgres_table} and {clickhouse_table} are asked for, but {postgres} and {clickhouse} \
                 belong to route {name} for good, since its ledger counts what they hold; give new tables a new route name",
                route.name
            )));
        }
        Ok(if inserted == 0 { Vec::new() } else { vec![format!("registered route {}", route.name)] })
    }
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

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
