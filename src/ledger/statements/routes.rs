//! Which pair of tables belongs to which route. `migrate` registers the pair, and `check` compares it.

use footprint_event::route::{Route, quoted};
use tokio_postgres::{Client, Error};

/// A row of footprint_route that names the route or one of its tables.
pub struct Registered {
    /// The route.
    pub route: String,
    /// Its table in PostgreSQL.
    pub postgres_table: String,
    /// Its table in ClickHouse.
    pub clickhouse_table: String,
    /// Whether it is this route with this pair.
    pub is_ours: bool,
}

/// The rows that name the route or one of its tables.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn registered(client: &Client, route: &Route, clickhouse_table: &str) -> Result<Vec<Registered>, Error> {
    let wanted = qualified(client, &route.postgres_table).await?;
    let sql = "select route, postgres_table, clickhouse_table from footprint_route \
               where route = $1 or postgres_table = $2 or clickhouse_table = $3";
    let rows = client.query(sql, &[&route.name, &wanted, &clickhouse_table]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let (name, postgres_table, clickhouse): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            let is_ours = name == route.name && postgres_table == wanted && clickhouse == clickhouse_table;
            Registered { route: name, postgres_table, clickhouse_table: clickhouse, is_ours }
        })
        .collect())
}

/// Registers the pair of tables for the route, unless the route or one of the tables is registered already. Returns whether the pair is
/// new.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn register(client: &Client, route: &Route, clickhouse_table: &str) -> Result<bool, Error> {
    let postgres_table = qualified(client, &route.postgres_table).await?;
    let sql = "insert into footprint_route (route, postgres_table, clickhouse_table) values ($1, $2, $3) \
               on conflict do nothing";
    Ok(client.execute(sql, &[&route.name, &postgres_table, &clickhouse_table]).await? > 0)
}

/// The table as `schema.table`: the schema in which it is, or in which it would be made.
async fn qualified(client: &Client, table: &str) -> Result<String, Error> {
    let sql = "select coalesce((select n.nspname || '.' || c.relname from pg_class c join pg_namespace n \
               on n.oid = c.relnamespace where c.oid = to_regclass($1::text)), \
               case when $2 like '%.%' then $2 else current_schema || '.' || $2 end)";
    Ok(client.query_one(sql, &[&quoted(table), &table]).await?.get(0))
}
