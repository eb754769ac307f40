//! What a session cannot pin and therefore asks, before it writes: is this server for writing, do the tables keep every row,
//! and does the user see every row of them? A wrong answer stops the program and names what is in the way; written on
//! regardless, rows would be lost without a word. `check` asks the same, and more.

use footprint_event::route::{Route, quoted};
use tokio_postgres::Client;

/// A table that every installation has, and what footprint does to it.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, without a schema.
    pub name: &'static str,
    /// The rights that it needs.
    pub rights: &'static [&'static str],
}

const fn table(name: &'static str, rights: &'static [&'static str]) -> Table {
    Table { name, rights }
}

/// Every table beside those of the routes. The last one holds the records that no table takes, the others are the ledger.
pub const TABLES: [Table; 7] = [
    table("footprint_route", &["select"]),
    table("footprint_source", &["select", "insert"]),
    table("footprint_first_start", &["select", "insert"]),
    table("footprint_definition", &["select", "insert"]),
    table("footprint_ledger", &["select", "insert", "update"]),
    table("footprint_gap", &["select", "insert"]),
    table(DEAD_LETTERS, &["select", "insert"]),
];

/// Where records go that no table takes.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The names of the ledger's tables.
pub fn ledger_tables() -> Vec<&'static str> {
    TABLES.iter().map(|table| table.name).filter(|&name| name != DEAD_LETTERS).collect()
}

/// Why a session must not write.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// PostgreSQL refused the question, or the connection broke.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// The server follows another one. It may become the one that is followed.
    #[error("it is a standby and takes no writes; set DB_HOST to the primary")]
    Standby,
    /// Somebody said that this role, or this database, is not written to.
    #[error(
        "the session is read-only, since default_transaction_read_only is on for {user}, the database or the server; \
         switch it off there, for example by `alter role {user} reset default_transaction_read_only`"
    )]
    ReadOnly {
        /// The role.
        user: String,
    },
    /// Rows of the table are hidden from the user, or refused.
    #[error(
        "row-level security of table {table} applies to {user}: it would hide rows, and they would be stored again; \
         `alter role {user} bypassrls`, or make {user} the owner and `alter table {table} no force row level security`"
    )]
    RowSecurity {
        /// The table.
        table: String,
        /// The role.
        user: String,
    },
    /// The table is emptied by a crash.
    #[error("table {0}, or a partition of it, is unlogged: a crash empties it; `alter table {0} set logged`")]
    Unlogged(String),
    /// The route's table is another one than the ledger counts.
    #[error(
        "{wanted} is now table {found}, but the ledger of route {route} counts what {registered} holds; write \
         `postgres_table = \"{registered}\"`, or give another table another route name"
    )]
    Elsewhere {
        /// The route.
        route: String,
        /// As configured.
        wanted: String,
        /// Where that leads now.
        found: String,
        /// Where its rows are.
        registered: String,
    },
}

/// What the catalog says of a table that matters to whoever writes it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// As it was asked for.
    pub name: String,
    /// Whether a policy would hide rows from this user.
    pub row_security: bool,
    /// Whether a crash empties it, or a partition of it.
    pub unlogged: bool,
    /// Triggers that may change a row before it is stored, or drop it.
    pub before_triggers: Vec<String>,
    /// Constraints that may refuse a row: checks, foreign keys, exclusions; and columns that are computed.
    pub conditions: Vec<String>,
}

const FACTS: &str = "select t.name, row_security_active(c.oid), \
    c.relpersistence <> 'p' or exists (select from pg_partition_tree(c.oid) p join pg_class q on q.oid = p.relid \
        where q.relpersistence <> 'p'), \
    array(select tgname::text from pg_trigger where tgrelid = c.oid and not tgisinternal and tgenabled <> 'D' \
        and tgtype & 7 = 7 order by tgname), \
    array(select 'constraint ' || conname from pg_constraint where conrelid = c.oid and contype in ('c', 'f', 'x') \
        order by conname) || array(select 'computed column ' || attname from pg_attribute where attrelid = c.oid \
        and attnum > 0 and attgenerated <> '' and not attisdropped order by attnum), \
    current_user::text \
    from unnest($1::text[]) t (name) join pg_class c on c.oid = to_regclass(t.name)";

/// What the catalog says of those of the tables that are there.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn facts(client: &Client, tables: &[&str]) -> Result<Vec<Facts>, tokio_postgres::Error> {
    let names: Vec<String> = tables.iter().map(|table| quoted(table)).collect();
    let rows = client.query(FACTS, &[&names]).await?;
    Ok(rows
        .iter()
        .map(|row| Facts {
            name: row.get::<_, String>(0).replace('"', ""),
            row_security: row.get(1),
            unlogged: row.get(2),
            before_triggers: row.get(3),
            conditions: row.get(4),
        })
        .collect())
}

impl Facts {
    /// What forbids to write the table.
    pub fn unfit(&self, user: &str) -> Option<Unfit> {
        if self.row_security {
            return Some(Unfit::RowSecurity { table: self.name.clone(), user: user.to_owned() });
        }
        self.unlogged.then(|| Unfit::Unlogged(self.name.clone()))
    }
}

/// Asks whether the session may write these tables, and the route's where there is one.
///
/// # Errors
/// It must not, or PostgreSQL refuses.
pub(crate) async fn may_write(client: &Client, tables: &[&str], route: Option<&Route>) -> Result<(), Unfit> {
    let sql = "select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', current_user::text";
    let row = client.query_one(sql, &[]).await?;
    let user: String = row.get(2);
    if row.get(0) {
        return Err(Unfit::Standby);
    }
    if row.get(1) {
        return Err(Unfit::ReadOnly { user });
    }
    let mut tables = tables.to_vec();
    tables.extend(route.map(|route| route.postgres_table.as_str()));
    if let Some(unfit) = facts(client, &tables).await?.iter().find_map(|facts| facts.unfit(&user)) {
        return Err(unfit);
    }
    match route {
        Some(route) => is_where_it_was(client, route).await,
        None => Ok(()),
    }
}

/// Whether the route's table is the one that `migrate` registered: a table of the same name in a schema that comes first
/// would take its place.
async fn is_where_it_was(client: &Client, route: &Route) -> Result<(), Unfit> {
    let sql = "select r.postgres_table, n.nspname || '.' || c.relname from footprint_route r, pg_class c \
               join pg_namespace n on n.oid = c.relnamespace \
               where r.route = $1 and c.oid = to_regclass($2::text) and r.postgres_table <> n.nspname || '.' || c.relname";
    match client.query_opt(sql, &[&route.name, &quoted(&route.postgres_table)]).await? {
        None => Ok(()),
        Some(row) => Err(Unfit::Elsewhere {
            route: route.name.clone(),
            wanted: route.postgres_table.clone(),
            found: row.get(1),
            registered: row.get(0),
        }),
    }
}
