//! Makes and changes the tables in ClickHouse. ClickHouse has no transactions for definitions, so a list of migrations could disagree with
//! the tables that are there. Instead, every run reads the catalog. migrations/clickhouse/R__route_table.sql makes a missing table, and
//! [`super::shape`] adds what an existing table lacks. Every statement may run twice. PostgreSQL's lock keeps two runs apart; without it
//! they would do no harm.

use std::time::Duration;

use clickhouse::Client;
use clickhouse::error::Error;
use footprint_event::route::Route;
use footprint_service::clickhouse::client;
use footprint_service::clickhouse::error::ClickHouseError;
use footprint_service::clickhouse::settings::Pins;
use footprint_service::config::ClickHouse;
use footprint_service::report::{Chain, Remedy};
use serde::Deserialize;
use tokio::time::timeout;

use super::rights::Right;
use super::shape::{FoundColumn, FoundTable, ShapeError, check_fits, minmax_columns, plan};

/// The time limit of one statement. Adding a column touches no data.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);
/// The time limit of one question.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// "Syntax error".
const SYNTAX_ERROR: u32 = 62;

/// Why ClickHouse could not be brought to the wanted state.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// ClickHouse refused, or could not be reached.
    #[error("clickhouse: {what}")]
    Refused {
        /// What was tried.
        what: String,
        /// ClickHouse's error.
        source: ClickHouseError,
    },
    /// The user is read-only: it may change settings at most.
    #[error("clickhouse: settings: the user is read-only (readonly = {0})")]
    ReadOnly(String, #[source] Remedy),
    /// A change was made, but the table looks as before.
    #[error(
        "clickhouse: table {table}: after `{change}` it still looks as before; may the user see the table (grant show)?"
    )]
    Unseen {
        /// The table.
        table: String,
        /// The change.
        change: String,
    },
    /// No answer in time.
    #[error("clickhouse: {what}: no answer in {waited:?}")]
    TimedOut {
        /// What was tried.
        what: String,
        /// For how long.
        waited: Duration,
        /// What to do.
        source: Remedy,
    },
    /// A table cannot be used.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl MigrateError {
    /// For a server that does not answer.
    pub fn timed_out(what: &str, waited: Duration) -> Self {
        Self::TimedOut { what: what.to_owned(), waited, source: Remedy::only("is it up, is CH_HOST right?") }
    }

    /// Whether asking again may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { source, .. } => !matches!(source, ClickHouseError::Place { .. }),
            Self::TimedOut { .. } => true,
            Self::ReadOnly(..) | Self::Unseen { .. } | Self::Shape(_) => false,
        }
    }

    /// The reason, and what to do, without the action that failed.
    pub fn parts(&self) -> (String, String) {
        let (why, what_to_do) = match self {
            Self::Refused { source, .. } => Chain(source).parts(),
            error => Chain(error).parts(),
        };
        (why.trim_start_matches("clickhouse: ").to_owned(), what_to_do)
    }
}

/// Reads and changes the definitions of tables.
pub struct Migrator {
    /// A client that sends no settings.
    plain: Client,
    pins: Pins,
    database: String,
}

impl Migrator {
    /// Makes a migrator, and asks nothing yet. Its requests name the database `system`, which always exists, because the configured
    /// database may be missing.
    pub fn new(settings: &ClickHouse) -> Self {
        let plain = client(settings).with_database("system");
        let pins = Pins::definitions(&plain, STATEMENT_TIMEOUT);
        Self { plain, pins, database: settings.database.clone() }
    }

    /// Checks that the server accepts the user. The question sends no settings, so it works even if the user's profile forbids one.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn check_login(&self) -> Result<(), MigrateError> {
        self.answer("connecting", QUESTION_TIMEOUT, self.plain.query("select 1").execute()).await
    }

    /// The server's version. The question sends every setting that any request of the program sends, so a forbidden one is found here.
    ///
    /// # Errors
    /// The user's profile forbids one of the settings, or ClickHouse does not answer.
    pub async fn version(&self) -> Result<String, MigrateError> {
        let pins = Pins::all(&self.plain, QUESTION_TIMEOUT);
        let client = self.answer("settings", QUESTION_TIMEOUT, pins.client()).await?;
        let asked = client.query("select version(), toString(getSetting('readonly'))").fetch_one::<(String, String)>();
        let (version, readonly) = self.answer("settings", QUESTION_TIMEOUT, asked).await?;
        // with 2 the user may change every setting, and write nothing
        if readonly == "0" {
            return Ok(version);
        }
        Err(MigrateError::ReadOnly(readonly, Remedy::only("set readonly = 0 in its profile")))
    }

    /// The database and the table of a route.
    pub(super) fn names<'a>(&'a self, route: &'a Route) -> (&'a str, &'a str) {
        route.clickhouse_names(&self.database)
    }

    /// The client that sends no settings.
    pub(super) fn plain(&self) -> &Client {
        &self.plain
    }

    /// The answer to a question.
    pub(super) async fn question<T>(
        &self,
        what: &str,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, MigrateError> {
        self.answer(what, QUESTION_TIMEOUT, asking).await
    }

    /// The client with all settings of a statement that changes definitions.
    pub(super) async fn client(&self, what: &str) -> Result<&Client, MigrateError> {
        self.answer(what, QUESTION_TIMEOUT, self.pins.client()).await
    }

    /// The rights that the user lacks for [`Self::route_table`] and to run the route. Changes nothing.
    ///
    /// # Errors
    /// ClickHouse refuses, or the table cannot be adopted.
    pub async fn missing_rights(&self, route: &Route) -> Result<Vec<Right>, MigrateError> {
        let (database, _) = route.clickhouse_names(&self.database);
        let mut wanted = Vec::new();
        if !self.has_database(database).await? {
            wanted.push(Right::to_make_database(database));
        }
        let found = self.find(route).await?;
        let changes = plan(route, &self.database, found.as_ref())?;
        wanted.extend(Right::of_route(route, &self.database, &changes));
        self.lacking(&wanted).await
    }

    /// Those of `rights` that the user lacks.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn lacking(&self, rights: &[Right]) -> Result<Vec<Right>, MigrateError> {
        let mut missing = Vec::new();
        for right in rights {
            if !self.has(right).await? && !missing.contains(right) {
                missing.push(right.clone());
            }
        }
        Ok(missing)
    }

    /// Makes or adopts the table of a route. Returns what was done.
    ///
    /// # Errors
    /// ClickHouse refuses, or the table cannot be adopted.
    pub async fn route_table(&self, route: &Route) -> Result<Vec<String>, MigrateError> {
        let mut done = Vec::new();
        let (database, _) = route.clickhouse_names(&self.database);
        if !self.has_database(database).await? {
            let sql = format!("create database if not exists \"{}\"", database.replace('"', "\\\""));
            self.execute(&format!("making database {database}"), &sql).await?;
            done.push(format!("clickhouse: made database {database}"));
        }
        let found = self.find(route).await?;
        for change in plan(route, &self.database, found.as_ref())? {
            self.execute(&change.what, &change.sql).await?;
            done.push(format!("clickhouse: {}", change.what));
        }
        // this finds a table that exists and that the user may not see: `create if not exists` has then changed nothing
        let found = self.find(route).await?;
        let left = plan(route, &self.database, found.as_ref())?;
        match left.first() {
            None => Ok(done),
            Some(change) => {
                Err(MigrateError::Unseen { table: route.clickhouse_table.clone(), change: change.what.clone() })
            }
        }
    }

    /// Checks that the table takes the rows of a route without a change.
    ///
    /// # Errors
    /// The table does not take them ([`MigrateError::Shape`]), or ClickHouse refuses or does not answer.
    pub async fn check_fits(&self, route: &Route) -> Result<(), MigrateError> {
        Ok(check_fits(route, &self.database, self.find(route).await?.as_ref())?)
    }

    async fn has_database(&self, database: &str) -> Result<bool, MigrateError> {
        let what = "looking for the database";
        let client = self.client(what).await?;
        let count = client.query("select count() from system.databases where name = ?").bind(database);
        Ok(self.answer(what, QUESTION_TIMEOUT, count.fetch_one::<u64>()).await? > 0)
    }

    /// The table of a route as the server describes it. None: it does not exist.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn find(&self, route: &Route) -> Result<Option<FoundTable>, MigrateError> {
        #[derive(clickhouse::Row, Deserialize)]
        struct Table {
            engine: String,
            engine_full: String,
            sorting_key: String,
            partition_key: String,
            create_table_query: String,
        }
        #[derive(clickhouse::Row, Deserialize)]
        struct Column {
            name: String,
            column_type: String,
            default_kind: String,
            in_key: u8,
        }
        let (database, table) = route.clickhouse_names(&self.database);
        let what = format!("looking at table {table}");
        let client = self.client(&what).await?;
        let query = "select engine, engine_full, sorting_key, partition_key, create_table_query from system.tables \
                     where database = ? and name = ?";
        let query = client.query(query).bind(database).bind(table);
        let Some(row) = self.answer(&what, QUESTION_TIMEOUT, query.fetch_optional::<Table>()).await? else {
            return Ok(None);
        };
        let query = "select name, type as column_type, toString(default_kind) as default_kind, \
                     is_in_sorting_key or is_in_primary_key or is_in_partition_key or is_in_sampling_key as in_key \
                     from system.columns where database = ? and table = ? order by position";
        let query = client.query(query).bind(database).bind(table);
        let columns = self.answer(&what, QUESTION_TIMEOUT, query.fetch_all::<Column>()).await?;
        Ok(Some(FoundTable {
            engine: row.engine,
            engine_full: row.engine_full,
            sorting_key: row.sorting_key,
            partition_key: row.partition_key,
            columns: columns
                .into_iter()
                .map(|column| FoundColumn {
                    name: column.name,
                    column_type: column.column_type,
                    default_kind: column.default_kind,
                    in_key: column.in_key != 0,
                })
                .collect(),
            minmax: minmax_columns(&row.create_table_query),
        }))
    }

    /// The names of a table's constraints, for `check`: a constraint may refuse a row.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn constraints(&self, database: &str, table: &str) -> Result<Vec<String>, MigrateError> {
        let sql = "select arrayJoin(extractAll(create_table_query, 'CONSTRAINT (\\S+) CHECK')) from system.tables \
                   where database = ? and name = ?";
        let what = "looking for constraints";
        let query = self.client(what).await?.query(sql).bind(database).bind(table);
        self.answer(what, QUESTION_TIMEOUT, query.fetch_all::<String>()).await
    }

    /// The active parts of a route's table. None: the table is not there, or its engine has no parts.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn active_parts(&self, route: &Route) -> Result<Option<u64>, MigrateError> {
        let (database, table) = route.clickhouse_names(&self.database);
        let what = format!("counting the parts of table {table}");
        let sql = "select active_parts from system.tables where database = ? and name = ?";
        let query = self.client(&what).await?.query(sql).bind(database).bind(table);
        Ok(self.answer(&what, QUESTION_TIMEOUT, query.fetch_optional::<Option<u64>>()).await?.flatten())
    }

    /// The answer to a yes-or-no question.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn ask_flag(&self, what: &str, sql: &str) -> Result<bool, MigrateError> {
        let client = self.client(what).await?;
        Ok(self.answer(what, QUESTION_TIMEOUT, client.query(sql).fetch_one::<u8>()).await? != 0)
    }

    /// Whether the user has a right. If the server does not know this question, the answer is yes: the server names a missing right later.
    async fn has(&self, right: &Right) -> Result<bool, MigrateError> {
        match self.ask_flag("asking for the user's rights", &right.question()).await {
            Err(MigrateError::Refused { source, .. }) if source.code() == Some(SYNTAX_ERROR) => Ok(true),
            answer => answer,
        }
    }

    pub(super) async fn execute(&self, what: &str, sql: &str) -> Result<(), MigrateError> {
        // in a statement, the client takes a `?` for a value to bind
        let sql = sql.replace('?', "??");
        let client = self.client(what).await?;
        self.answer(what, STATEMENT_TIMEOUT, client.query(&sql).execute()).await
    }

    async fn answer<T>(
        &self,
        what: &str,
        waited: Duration,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, MigrateError> {
        match timeout(waited, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                Err(MigrateError::Refused { what: what.to_owned(), source: ClickHouseError::from(error).of_command() })
            }
            Err(_) => Err(MigrateError::timed_out(what, waited)),
        }
    }
}
