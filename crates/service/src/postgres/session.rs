//! The settings that every PostgreSQL session pins, whatever `alter role ... set`, `alter database ... set` and the server's own
//! configuration say. This is the only place: no other file sends a `set`.
//!
//! They are sent as one batch of `set` right after connecting. Startup options would not do, because poolers such as PgBouncer
//! refuse them. A pooler must give each client its own server connection (session mode), which the ledger's fences and the
//! writers' transactions need too. `statement_timeout` comes first, because a role's own may be shorter than the batch takes.
//!
//! Not pinned are settings that a person sets on purpose and that cannot make an answer wrong (planner, memory, parallelism,
//! logging, `default_tablespace`). Neither is `default_transaction_read_only`, which says "do not write": see [`super::asked`].

use std::fmt::Write as _;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::config::Postgres;
use crate::report::Remedy;

/// The purpose of a session. It decides how long its statements may take.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// The ledger's statements, each short.
    Ledger,
    /// A writer's transactions. The writer limits the server's silence, not their time.
    Writer,
    /// Reading the rows of one batch, for this long at most.
    StoredRows(Duration),
    /// Changing tables. An old table with many rows is rewritten.
    Migrate,
    /// Questions of `check`.
    Check,
    /// One pass over a whole table may take any time. `verify` has its own deadlines.
    Verify,
    /// Questions of the audit, each for this long at most. A transaction that writes says so itself.
    Audit(Duration),
}

/// A setting that has the same value for every purpose. The comment says why it must not have another.
struct Pinned {
    name: &'static str,
    /// The value in SQL.
    value: &'static str,
    /// The first major version that knows it. An older server would refuse the whole batch.
    since: u32,
}

const fn pinned(name: &'static str, value: &'static str) -> Pinned {
    Pinned { name, value, since: 0 }
}

const PINNED: [Pinned; 18] = [
    // repeatable read: a compare-and-set that meets another's commit fails with 40001 instead of comparing. Each lane's commit
    // would end the other's, and one take-over would follow another
    pinned("default_transaction_isolation", "'read committed'"),
    // a deferrable transaction may wait before its first statement
    pinned("default_transaction_deferrable", "off"),
    // "acknowledged" means on disk here, and on the standbys that synchronous_standby_names lists
    pinned("synchronous_commit", "on"),
    // a row hidden by a policy must be an error, and not look like a missing row
    pinned("row_security", "off"),
    // if the server ended an idle ledger connection, every ownership would be lost
    Pinned { name: "idle_session_timeout", value: "0", since: 14 },
    // a transaction is bounded by the writer's limit on silence, and by statement_timeout
    Pinned { name: "transaction_timeout", value: "0", since: 17 },
    // every error would end the session, and with the ledger's session every ownership
    pinned("exit_on_error", "off"),
    // `system` or `view` would refuse the catalog's views that `migrate` and `check` read
    Pinned { name: "restrict_nonsystem_relation_kind", value: "''", since: 17 },
    // times are written and read in binary; these are for literals, and for the few times that are read as text
    pinned("timezone", "'UTC'"),
    pinned("datestyle", "'ISO'"),
    pinned("intervalstyle", "'postgres'"),
    pinned("extra_float_digits", "1"),
    pinned("bytea_output", "'hex'"),
    // all text that is sent and read is UTF-8, whatever the database's own encoding is
    pinned("client_encoding", "'UTF8'"),
    // a backslash in a literal is a backslash
    pinned("standard_conforming_strings", "on"),
    // `null` in an array is null, and `x = null` is not `x is null`
    pinned("array_nulls", "on"),
    pinned("transform_null_equals", "off"),
    // `verify` finds rows again by their ctid: the table must have them, and the planner must use them
    pinned("enable_tidscan", "on"),
];

/// Only for `migrate`: properties of a table that it creates.
const PINNED_MIGRATE: [Pinned; 2] = [
    // rows are appended and have a ctid
    pinned("default_table_access_method", "heap"),
    // objects that `create if not exists` finds are not worth a line
    pinned("client_min_messages", "warning"),
];

/// Only for the audit: it must cost little, and it writes nothing but its result.
const PINNED_AUDIT: [Pinned; 2] =
    [pinned("default_transaction_read_only", "on"), pinned("max_parallel_workers_per_gather", "0")];

/// How long a session waits, in milliseconds. 0: without limit.
struct Limits {
    statement: u128,
    lock: u128,
    idle_in_transaction: u128,
}

impl Purpose {
    fn limits(self) -> Limits {
        let (statement, lock) = match self {
            Self::Ledger => (15_000, 5_000),
            // a statement timeout would count a whole COPY, and a slow server needs longer
            Self::Writer => (0, 5_000),
            Self::StoredRows(write) => (write.as_millis(), 5_000),
            Self::Migrate => (3_600_000, 60_000),
            Self::Check => (10_000, 5_000),
            Self::Verify => (0, 5_000),
            Self::Audit(statement) => (statement.as_millis(), 5_000),
        };
        // only a stopped program waits in a transaction, and its locks must not outlive it
        Limits { statement, lock, idle_in_transaction: 30_000 }
    }
}

/// The batch for a server of this major version.
fn batch(purpose: Purpose, major_version: u32) -> String {
    let Limits { statement, lock, idle_in_transaction } = purpose.limits();
    let mut sql = format!(
        "set statement_timeout = {statement}; set lock_timeout = {lock}; \
         set idle_in_transaction_session_timeout = {idle_in_transaction}"
    );
    let more: &[Pinned] = match purpose {
        Purpose::Migrate => &PINNED_MIGRATE,
        Purpose::Audit(_) => &PINNED_AUDIT,
        _ => &[],
    };
    for setting in PINNED.iter().chain(more).filter(|setting| setting.since <= major_version) {
        let _ = write!(sql, "; set {} = {}", setting.name, setting.value);
    }
    sql
}

/// Why a session cannot be set up as the program needs it.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// PostgreSQL refused, or the connection broke.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// Another encoding cannot hold every event.
    #[error("the database's encoding is {0}, and it cannot hold every text; UTF8 is needed")]
    Encoding(String, #[source] Remedy),
    /// The ledger is in several schemas.
    #[error("footprint_ledger is in the schemas {0}: which one is meant?")]
    Ambiguous(String, #[source] Remedy),
    /// There is no schema of that name.
    #[error("there is no schema {0:?}, or the user may not use it")]
    NoSchema(String, #[source] Remedy),
    /// The role's search_path names no schema that is there.
    #[error("the role's search_path names no schema that is there")]
    NoDefaultSchema(#[source] Remedy),
}

impl SessionError {
    fn encoding(encoding: &str) -> Self {
        let remedy = "make a database with `encoding 'UTF8' template template0` and set DB_NAME to it";
        Self::Encoding(encoding.to_owned(), Remedy::only(remedy))
    }

    fn no_schema(schema: &str, user: &str) -> Self {
        let (name, user) = (identifier(schema), identifier(user));
        let sql = format!("create schema if not exists {name}; grant usage, create on schema {name} to {user}");
        let remedy = format!("look at postgres.schema; or, as a superuser, run: {sql}");
        Self::NoSchema(schema.to_owned(), Remedy::only(remedy))
    }

    pub(super) fn no_default_schema() -> Self {
        Self::NoDefaultSchema(Remedy::only("set postgres.schema"))
    }
}

/// What the server says about itself at the login.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// `18` of `18.1`. 0: the server does not say.
    pub(super) major_version: u32,
    /// The encoding of the database.
    pub(super) encoding: Option<String>,
}

impl Server {
    /// From the parameters `server_version` and `server_encoding`.
    pub(super) fn of(version: Option<&str>, encoding: Option<&str>) -> Self {
        let digits = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().ok();
        Self { major_version: version.and_then(digits).unwrap_or(0), encoding: encoding.map(str::to_owned) }
    }
}

/// Sets a new connection up as a session of the program.
///
/// # Errors
/// PostgreSQL refuses, the database has another encoding, or it is not clear which schema is meant.
pub(super) async fn pin(
    client: &Client,
    server: &Server,
    settings: &Postgres,
    purpose: Purpose,
) -> Result<(), SessionError> {
    if let Some(encoding) = server.encoding.as_deref().filter(|encoding| *encoding != "UTF8") {
        return Err(SessionError::encoding(encoding));
    }
    client.batch_execute(&batch(purpose, server.major_version)).await?;
    let mut path: Vec<String> = schemas(client, settings).await?.iter().map(|name| identifier(name)).collect();
    // temporary tables come last, so that none is taken for a table of the same name
    path.push("pg_temp".into());
    client.batch_execute(&format!("set search_path = {}", path.join(", "))).await?;
    Ok(())
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Where tables without a schema in their name are looked up: first in the configured schema, or else where the ledger is; then
/// where the ledger's routes have their tables; then in `public`. Before the first `migrate`, it is where the role creates its
/// tables. A later change of the role's `search_path` must not lead to another ledger: everything would be stored again.
async fn schemas(client: &Client, settings: &Postgres) -> Result<Vec<String>, SessionError> {
    let Some(home) = home(client, settings).await? else {
        let role: Vec<String> = client.query_one("select pg_catalog.current_schemas(false)::text[]", &[]).await?.get(0);
        return if role.is_empty() { Err(SessionError::no_default_schema()) } else { Ok(role) };
    };
    let sql = format!(
        "select distinct pg_catalog.split_part(postgres_table, '.', 1) from {}.footprint_route \
         where postgres_table like '%.%' order by 1",
        identifier(&home)
    );
    let routes: Vec<String> = match client.query(&sql, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        // not migrated yet, or no right to read it: a statement that needs it will say so
        Err(error) if matches!(error.code().map(SqlState::code), Some("42P01" | "42501")) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut schemas = vec![home];
    for schema in routes.into_iter().chain(["public".to_owned()]) {
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }
    Ok(schemas)
}

/// The configured schema, or the ledger's. None: there is no ledger yet.
async fn home(client: &Client, settings: &Postgres) -> Result<Option<String>, SessionError> {
    let configured = settings.schema.as_str();
    if !configured.is_empty() {
        let sql = "select 1 from pg_catalog.pg_namespace n \
                   where n.nspname = $1 and pg_catalog.has_schema_privilege(n.oid, 'usage')";
        let found = client.query(sql, &[&configured]).await?;
        return if found.is_empty() {
            Err(SessionError::no_schema(configured, &settings.user))
        } else {
            Ok(Some(configured.into()))
        };
    }
    let sql = "select n.nspname::text from pg_catalog.pg_class c \
               join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
               where c.relname = 'footprint_ledger' and c.relkind = 'r' and n.nspname !~ '^pg_' \
               and pg_catalog.has_schema_privilege(n.oid, 'usage') order by n.nspname";
    let mut ledgers: Vec<String> = client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
    match ledgers.len() {
        0 | 1 => Ok(ledgers.pop()),
        _ => Err(SessionError::Ambiguous(ledgers.join(", "), Remedy::only("set postgres.schema"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_statement_takes_the_roles_time_limit_off_and_a_server_gets_only_what_it_knows() {
        let old = batch(Purpose::Ledger, 16);
        assert!(old.starts_with("set statement_timeout = 15000; set lock_timeout = 5000; "), "{old}");
        assert!(old.contains("set default_transaction_isolation = 'read committed'"), "{old}");
        assert!(!old.contains("transaction_timeout = 0; set t") && !old.contains("set transaction_timeout"), "{old}");
        assert!(batch(Purpose::Verify, 18).contains("set transaction_timeout = 0"));
        assert!(batch(Purpose::Migrate, 18).contains("default_table_access_method"));
        assert!(batch(Purpose::Writer, 18).starts_with("set statement_timeout = 0;"));
        assert!(batch(Purpose::StoredRows(Duration::from_secs(60)), 18).starts_with("set statement_timeout = 60000;"));
    }

    #[test]
    fn a_version_is_read_from_whatever_distributions_write() {
        for (text, major) in [("18.1", 18), ("16.4 (Debian 16.4-1.pgdg120+2)", 16), ("18beta1", 18), ("", 0)] {
            assert_eq!(Server::of(Some(text), None).major_version, major, "{text}");
        }
    }
}
