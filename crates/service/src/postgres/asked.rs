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
pub const TABLES: [Table; 9] = [
    table("footprint_route", &["select"]),
    table("footprint_source", &["select", "insert"]),
    table("footprint_first_start", &["select", "insert"]),
    table("footprint_definition", &["select", "insert"]),
    table("footprint_ledger", &["select", "insert", "update"]),
    table("footprint_gap", &["select", "insert"]),
    // only `dead-letters replay` writes it, and names the right if it is missing
    table("footprint_replay", &["select"]),
    // only `pause` and `resume` write it
    table("footprint_pause", &["select"]),
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
    #[error("it is a standby and takes no writes")]
    Standby(#[source] Remedy),
    /// A setting forbids this role, or this database, to write.
    #[error("the session of {user} is read-only: default_transaction_read_only is on")]
    ReadOnly {
        /// The role.
        user: String,
        /// What to do.
        source: Remedy,
    },
    /// The user cannot see or write some rows of the table.
    #[error(
        "row-level security of table {table} applies to {user}: it would hide rows, and they would be stored again"
    )]
    RowSecurity {
        /// The table.
        table: String,
        /// The role.
        user: String,
        /// What to do.
        source: Remedy,
    },
    /// A crash empties the table.
    #[error("table {table}, or a partition of it, is unlogged: a crash empties it")]
    Unlogged {
        /// The table.
        table: String,
        /// What to do.
        source: Remedy,
    },
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
    #[error("{wanted} is now table {found}, but the ledger of route {route} counts what {registered} holds")]
    Elsewhere {
        /// The route.
        route: String,
        /// The configured name.
        wanted: String,
        /// The table that this name means now.
        found: String,
        /// The table that has its rows.
        registered: String,
        /// What to do.
        source: Remedy,
    },
}

impl Unfit {
    /// For a standby.
    pub fn standby() -> Self {
        Self::Standby(Remedy::only("set DB_HOST to the primary"))
    }
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
    /// Why the table must not be written. `user` is the role as SQL writes it.
    pub fn unfit(&self, user: &str) -> Option<Unfit> {
        let table = self.name.clone();
        if self.row_security {
            let source = Remedy::only(format!("as a superuser, run: alter role {user} bypassrls"));
            return Some(Unfit::RowSecurity { table, user: user.to_owned(), source });
        }
        let source = Remedy::only(format!("as its owner, run: alter table {table} set logged"));
        self.unlogged.then_some(Unfit::Unlogged { table, source })
    }
}

/// Asks whether the server and the session take writes. Returns the role as SQL writes it.
///
/// # Errors
/// They do not, or PostgreSQL refuses.
pub async fn takes_writes(client: &Client) -> Result<String, Unfit> {
    let sql = "select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', \
               quote_ident(current_user), quote_ident(current_database()), source from pg_settings \
               where name = 'default_transaction_read_only'";
    let row = client.query_one(sql, &[]).await?;
    let user: String = row.get(2);
    if row.get(0) {
        return Err(Unfit::standby());
    }
    if row.get(1) {
        let (database, source): (String, String) = (row.get(3), row.get(4));
        // the first statement, because the superuser's own session may be read-only, too
        let remedy = statement_to_set("default_transaction_read_only", "off", &source, &user, &database).replacen(
            "run: ",
            "run: set default_transaction_read_only = off; ",
            1,
        );
        let source = Remedy::only(remedy);
        return Err(Unfit::ReadOnly { user, source });
    }
    Ok(user)
}

/// The statement that sets a setting right where it was set. `source` is pg_settings.source; `user` and `database` are names as SQL
/// writes them.
pub fn statement_to_set(name: &str, wanted: &str, source: &str, user: &str, database: &str) -> String {
    let of = match source {
        "user" => format!("role {user}"),
        "database" => format!("database {database}"),
        "database user" => format!("role {user} in database {database}"),
        "global" => "role all".to_owned(),
        _ => return format!("as a superuser, run: alter system set {name} = {wanted}; select pg_reload_conf()"),
    };
    format!("as a superuser, run: alter {of} reset {name}")
}

/// Asks whether the session may write these tables, and the route's table if one is given.
///
/// # Errors
/// It must not, or PostgreSQL refuses.
pub async fn may_write(client: &Client, tables: &[&str], route: Option<&Route>) -> Result<(), Unfit> {
    let user = takes_writes(client).await?;
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

/// Those of the tables that are missing, or on which the user lacks one of these rights: one error for each.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn unusable(client: &Client, tables: &[(&str, &[&str])]) -> Result<Vec<Unfit>, tokio_postgres::Error> {
    let sql = "select quote_ident(current_user), t.name, to_regclass(t.name) is null, \
               array_to_string(array(select r from unnest(string_to_array(t.rights, ',')) r \
               where not has_table_privilege(to_regclass(t.name), r)), ', ') \
               from unnest($1::text[], $2::text[]) t (name, rights)";
    let names: Vec<String> = tables.iter().map(|(name, _)| quoted(name)).collect();
    let rights: Vec<String> = tables.iter().map(|(_, rights)| rights.join(",")).collect();
    let mut unusable = Vec::new();
    for row in client.query(sql, &[&names, &rights]).await? {
        let (user, table, is_missing, rights): (String, String, bool, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let table = table.replace('"', "");
        if is_missing {
            unusable.push(Unfit::NoTable { table, source: Remedy::only("run `footprint migrate`") });
        } else if !rights.is_empty() {
            let source = Remedy::only(format!("as its owner, run: grant {rights} on {table} to {user}"));
            unusable.push(Unfit::NoRight { lacking: format!("{user} lacks the right to {rights} on {table}"), source });
        }
    }
    Ok(unusable)
}

/// Asks whether the tables are there, and whether the user has these rights on them.
///
/// # Errors
/// A table or a right is missing, or PostgreSQL refuses.
pub async fn may_use(client: &Client, tables: &[(&str, &[&str])]) -> Result<(), Unfit> {
    unusable(client, tables).await?.into_iter().next().map_or(Ok(()), Err)
}

/// Whether the route's table is the one that `migrate` registered. A table of the same name in an earlier schema would take its
/// place.
async fn is_where_it_was(client: &Client, route: &Route) -> Result<(), Unfit> {
    let sql = "select r.postgres_table, n.nspname || '.' || c.relname from footprint_route r, pg_class c \
               join pg_namespace n on n.oid = c.relnamespace \
               where r.route = $1 and c.oid = to_regclass($2::text) and r.postgres_table <> n.nspname || '.' || c.relname";
    match client.query_opt(sql, &[&route.name, &quoted(&route.postgres_table)]).await? {
        None => Ok(()),
        Some(row) => {
            let registered: String = row.get(0);
            let remedy = format!("write `postgres_table = \"{registered}\"`, or give another table another route name");
            Err(Unfit::Elsewhere {
                route: route.name.clone(),
                wanted: route.postgres_table.clone(),
                found: row.get(1),
                registered,
                source: Remedy::only(remedy),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Chain;

    /// The story: what to do about a standby, a read-only session, row-level security and an unlogged table was part of the reason,
    /// so `what_to_do` on /readyz was empty.
    #[test]
    fn what_to_do_is_apart_from_the_reason() {
        let facts =
            |row_security, unlogged| Facts { name: "visits".into(), row_security, unlogged, ..Facts::default() };
        let read_only = |source: &str| Unfit::ReadOnly {
            user: "web".into(),
            source: Remedy::only(statement_to_set("default_transaction_read_only", "off", source, "web", "prd")),
        };
        let cases = [
            (Unfit::standby(), "set DB_HOST to the primary"),
            (read_only("user"), "as a superuser, run: alter role web reset default_transaction_read_only"),
            (read_only("database"), "as a superuser, run: alter database prd reset default_transaction_read_only"),
            (
                read_only("database user"),
                "as a superuser, run: alter role web in database prd reset default_transaction_read_only",
            ),
            (
                read_only("configuration file"),
                "as a superuser, run: alter system set default_transaction_read_only = off; select pg_reload_conf()",
            ),
            (facts(true, false).unfit("web").unwrap(), "as a superuser, run: alter role web bypassrls"),
            (facts(false, true).unfit("web").unwrap(), "as its owner, run: alter table visits set logged"),
        ];
        for (unfit, what_to_do) in cases {
            assert_eq!(Chain(&unfit).parts().1, what_to_do);
        }
        assert!(facts(false, false).unfit("web").is_none());
    }
}
