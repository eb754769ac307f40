//! The rights that footprint lacks in PostgreSQL, as statements that a superuser or the owner can run.

use footprint_event::route::{Route, quoted};
use footprint_service::postgres::asked::TABLES;
use tokio_postgres::{Error, GenericClient};

use super::shape::{Change, FoundTable};

/// The table in which refinery notes which migration files were run.
pub const VERSION_TABLE: &str = "footprint_migration";

/// The rights that are missing to run the migration files. `pending`: some files were not run yet.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn missing_rights_for_ledger(client: &impl GenericClient, pending: bool) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    if pending {
        missing.extend(missing_create_right(client, VERSION_TABLE).await?);
        for table in TABLES.iter().map(|table| table.name).chain([VERSION_TABLE]) {
            missing.extend(missing_ownership(client, table).await?);
        }
    }
    Ok(missing)
}

/// The rights that are missing to change a route's table and to write to it.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn missing_rights_for_route(
    client: &impl GenericClient,
    route: &Route,
    found: Option<&FoundTable>,
    changes: &[Change],
) -> Result<Vec<String>, Error> {
    let table = route.postgres_table.as_str();
    if found.is_none() {
        return missing_create_right(client, table).await.map(Vec::from_iter);
    }
    if !changes.is_empty() {
        let missing: Vec<String> = missing_ownership(client, table).await?.into_iter().collect();
        if !missing.is_empty() {
            return Ok(missing);
        }
        // an index is made in the table's schema
        if changes.iter().any(|change| change.sql.starts_with("create index")) {
            return missing_create_right(client, table).await.map(Vec::from_iter);
        }
        return Ok(Vec::new());
    }
    let sql = "select array_to_string(array(select r from unnest(array['select', 'insert']) r \
               where not has_table_privilege(to_regclass($1::text), r)), ', '), quote_ident(current_user)";
    let row = client.query_one(sql, &[&quoted(table)]).await?;
    let (rights, user): (String, String) = (row.get(0), row.get(1));
    Ok(if rights.is_empty() { Vec::new() } else { vec![format!("grant {rights} on {} to {user}", quoted(table))] })
}

/// The right to make something in the table's schema, if it is missing.
async fn missing_create_right(client: &impl GenericClient, table: &str) -> Result<Option<String>, Error> {
    let schema = table.split_once('.').map(|(schema, _)| schema);
    let sql = "select s.name is null, quote_ident(coalesce(s.name, $1::text, 'public')), quote_ident(current_user), \
               coalesce(has_schema_privilege(s.name, 'create') and has_schema_privilege(s.name, 'usage'), false) \
               from (select case when $1::text is null then current_schema()::text \
               else (select nspname::text from pg_namespace where nspname = $1::text) end as name) s";
    let row = client.query_one(sql, &[&schema]).await?;
    let (is_missing, schema, user, may): (bool, String, String, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    Ok(match (is_missing, may) {
        (true, _) => Some(format!("create schema if not exists {schema} authorization {user}")),
        (false, false) => Some(format!("grant usage, create on schema {schema} to {user}")),
        (false, true) => None,
    })
}

/// The ownership of the table, if it is missing. Only the owner may change a table.
async fn missing_ownership(client: &impl GenericClient, table: &str) -> Result<Option<String>, Error> {
    let sql = "select quote_ident(current_user) from pg_class where oid = to_regclass($1::text) \
               and not pg_has_role(relowner, 'usage')";
    let row = client.query_opt(sql, &[&quoted(table)]).await?;
    Ok(row.map(|row| format!("alter table {} owner to {}", quoted(table), row.get::<_, String>(0))))
}
