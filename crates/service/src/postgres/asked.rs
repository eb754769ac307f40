//! What a session cannot pin, and so asks for before it writes: is this a server to write to, do the tables keep every row, and
//! does the user see every row of them? A wrong answer stops the program and names the obstacle. Without these questions rows
//! would be lost silently. `check` asks the same, and more.

use footprint_event::route::{Route, quoted};
use tokio_postgres::Client;

use crate::report::Remedy;

/// A table that every installation has, and the rights that footprint needs on it.
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

/// Every table besides those of the routes. The last one holds the records that no table takes. The others are the ledger.
pub const TABLES: [Table; 8] = [
    table("footprint_route", &["select"]),
    table("footprint_source", &["select", "insert"]),
    table("footprint_first_start", &["select", "insert"]),
    table("footprint_definition", &["select", "insert"]),
    table("footprint_ledger", &["select", "insert", "update"]),
    table("footprint_gap", &["select", "insert"]),
    // only `dead-letters replay` writes it, and names the right if it is missing
    table("footprint_replay", &["select"]),
    table(DEAD_LETTERS, &["select", "insert"]),
];

/// The table for records that no other table takes.
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
    /// The server is a standby. It may become the primary.
    #[error("it is a standby and takes no writes; set DB_HOST to the primary")]
    Standby,
    /// A setting forbids this role, or this database, to write.
    #[error(
        "the session is read-only, since default_transaction_read_only is on for {user}, the database or the server; \
         switch it off there, for example by `alter role {user} reset default_transaction_read_only`"
    )]
    ReadOnly {
        /// The role.
        user: String,
    },
    /// The user cannot see or write some rows of the table.
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
    /// A crash empties the table.
    #[error("table {0}, or a partition of it, is unlogged: a crash empties it; `alter table {0} set logged`")]
    Unlogged(String),
    /// A table is missing.
    #[error("table {table} is not there")]
    NoTable {
        /// The table.
        table: String,
        /// What to do.
        source: Remedy,
    },
    /// The user lacks rights on a table.
    #[error("{lacking}")]
    NoRight {
        /// Who lacks which rights on which table.
        lacking: String,
        /// What to do.
        source: Remedy,
    },
    /// The route's table is not the one that the ledger counts.
    #[error(
        "{wanted} is now table {found}, but the ledger of route {route} counts what {registered} holds; write \
         `postgres_table = \"{registered}\"`, or give another table another route name"
    )]
    Elsewhere {
        /// The route.
        route: String,
        /// The configured name.
        wanted: String,
        /// The table that this name means now.
        found: String,
        /// The table that has its rows.
        registered: String,
    },
}

/// The facts of the catalog that matter to a writer of the table.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The name that was asked for.
    pub name: String,
    /// Whether a policy would hide rows from this user.
    pub row_security: bool,
    /// Whether a crash empties it, or one of its partitions.
    pub unlogged: bool,
    /// Triggers that may change a row before it is stored, or drop it.
    pub before_triggers: Vec<String>,
    /// Constraints that may refuse a row: checks, foreign keys, exclusions. Also generated columns.
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

/// The facts about those of the tables that exist.
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
    /// Why the table must not be written.
    pub fn unfit(&self, user: &str) -> Option<Unfit> {
        if self.row_security {
            return Some(Unfit::RowSecurity { table: self.name.clone(), user: user.to_owned() });
        }
        self.unlogged.then(|| Unfit::Unlogged(self.name.clone()))
    }
}

/// Asks whether the session may write these tables, and the route's table if one is given.
///
/// # Errors
/// It must not, or PostgreSQL refuses.
pub async fn may_write(client: &Client, tables: &[&str], route: Option<&Route>) -> Result<(), Unfit> {
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

/// Asks whether the tables are there, and whether the user has these rights on them.
///
/// # Errors
/// A table or a right is missing, or PostgreSQL refuses.
pub async fn may_use(client: &Client, tables: &[(&str, &[&str])]) -> Result<(), Unfit> {
    let sql = "select quote_ident(current_user), t.name, to_regclass(t.name) is null, \
               array_to_string(array(select r from unnest(string_to_array(t.rights, ',')) r \
               where not has_table_privilege(to_regclass(t.name), r)), ', ') \
               from unnest($1::text[], $2::text[]) t (name, rights)";
    let names: Vec<String> = tables.iter().map(|(name, _)| quoted(name)).collect();
    let rights: Vec<String> = tables.iter().map(|(_, rights)| rights.join(",")).collect();
    for row in client.query(sql, &[&names, &rights]).await? {
        let (user, table, is_missing, rights): (String, String, bool, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let table = table.replace('"', "");
        if is_missing {
            return Err(Unfit::NoTable { table, source: Remedy::only("run `footprint migrate`") });
        }
        if !rights.is_empty() {
            let source = Remedy::only(format!("as its owner, run: grant {rights} on {table} to {user}"));
            let lacking = format!("{user} lacks the right to {rights} on {table}");
            return Err(Unfit::NoRight { lacking, source });
        }
    }
    Ok(())
}

/// Whether the route's table is the one that `migrate` registered. A table of the same name in an earlier schema would take its
/// place.
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
