//! The table of a route in PostgreSQL: its wanted form, its present form, and the statements that lead from one to the other. Pure:
//! `migrate` runs the statements, `check` only prints them. No statement removes a row or a value.

use footprint_event::route::{Column, IDENTITY_COLUMNS, Kind, Route, quoted};

const TEMPLATE: &str = include_str!("../../../migrations/postgres/R__route_table.sql");
const IDENTITY_TYPES: [&str; 4] = ["bigint", "integer", "bigint", "timestamp with time zone"];

/// One step towards the wanted form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What the step does, for people to read.
    pub what: String,
    /// The SQL statement.
    pub sql: String,
}

/// A table as the catalog describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTable {
    /// The name as `schema.table`.
    pub name: String,
    /// `pg_class.relkind`: `r` a table, `p` a partitioned one.
    pub kind: String,
    /// Whether a crash empties it.
    pub unlogged: bool,
    /// The columns, in the table's order.
    pub columns: Vec<FoundColumn>,
    /// Columns that come first in an index.
    pub indexed: Vec<String>,
    /// Unique indexes: name and columns.
    pub unique: Vec<(String, Vec<String>)>,
}

/// A column as the catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundColumn {
    /// The name in the table.
    pub name: String,
    /// The type as `format_type` spells it.
    pub column_type: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether it has a default or is an identity column.
    pub has_default: bool,
    /// Whether it is computed and cannot be written.
    pub generated: bool,
}

/// Why a table cannot be used for the route.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("postgresql table {table}: {why}")]
pub struct ShapeError {
    /// The table's name in the route.
    pub table: String,
    /// What prevents it, and what to do.
    pub why: String,
}

/// The column's PostgreSQL type, as `format_type` spells it.
pub fn column_type(kind: Kind) -> &'static str {
    kind.form().postgres_type
}

/// The steps from `found` to the wanted form. The list is empty if nothing must change.
///
/// # Errors
/// The table cannot be changed to the wanted form without losing something.
pub fn plan(route: &Route, found: Option<&FoundTable>) -> Result<Vec<Change>, ShapeError> {
    let table = quoted(&route.postgres_table);
    let mut changes = Vec::new();
    let nothing = FoundTable::default();
    match found {
        None => changes.push(Change {
            what: format!("made table {}", route.postgres_table),
            sql: create_statement(route, &table),
        }),
        Some(found) => changes = plan_columns(route, &table, found)?,
    }
    let indexed = &found.unwrap_or(&nothing).indexed;
    let time = route.columns.iter().find(|column| column.kind == Kind::Timestamp);
    for column in time.map(|column| column.name.as_str()).into_iter().chain(["received_at"]) {
        if !indexed.iter().any(|name| name == column) {
            changes.push(Change {
                what: format!("made a BRIN index on {column} of {}", route.postgres_table),
                sql: format!("create index on {table} using brin ({})", quoted(column)),
            });
        }
    }
    Ok(changes)
}

/// Checks that the table takes the route's rows without a change. This is for definitions that are no longer the configured one.
///
/// # Errors
/// The table does not take them; the error says what to do first.
pub fn check_fits(route: &Route, found: Option<&FoundTable>) -> Result<(), ShapeError> {
    let found = found.ok_or_else(|| error(route, "it is gone; `footprint migrate` makes it".into()))?;
    let changes = plan_columns(route, &quoted(&route.postgres_table), found)?;
    if changes.is_empty() {
        return Ok(());
    }
    let statements: Vec<String> = changes.into_iter().map(|change| change.sql).collect();
    Err(error(route, format!("it has changed since; run in postgresql: {}", statements.join("; "))))
}

/// The steps after which the table takes the route's rows.
fn plan_columns(route: &Route, table: &str, found: &FoundTable) -> Result<Vec<Change>, ShapeError> {
    refuse_unfit(route, found)?;
    let mut changes = Vec::new();
    for column in &route.columns {
        plan_column(route, table, column, found, &mut changes)?;
    }
    plan_identity(route, table, found, &mut changes)?;
    Ok(changes)
}

fn create_statement(route: &Route, table: &str) -> String {
    let columns: Vec<String> = route
        .columns
        .iter()
        .map(|column| {
            let null = if column.is_nullable() { "" } else { " not null" };
            format!("    {} {}{null}", quoted(&column.name), column_type(column.kind))
        })
        .collect();
    TEMPLATE.replace("{{table}}", table).replace("{{columns}}", &columns.join(",\n"))
}

fn error(route: &Route, why: String) -> ShapeError {
    ShapeError { table: route.postgres_table.clone(), why }
}

/// Refuses a table that no step can make usable.
fn refuse_unfit(route: &Route, found: &FoundTable) -> Result<(), ShapeError> {
    if found.kind != "r" && found.kind != "p" {
        return Err(error(route, "there is a view, a sequence or a foreign table of that name; rename one".into()));
    }
    if found.unlogged {
        return Err(error(
            route,
            "it is unlogged, so a crash empties it; `alter table ... set logged`, or name another".into(),
        ));
    }
    let is_ours = |name: &str| route.columns.iter().any(|column| column.name == name);
    for (index, columns) in &found.unique {
        if !columns.is_empty() && columns.iter().all(|column| is_ours(column)) {
            return Err(error(
                route,
                format!(
                    "its unique index {index} on ({}) would refuse an event like an earlier one; drop it",
                    columns.join(", ")
                ),
            ));
        }
    }
    for column in &found.columns {
        let filled = is_ours(&column.name) || IDENTITY_COLUMNS.contains(&column.name.as_str());
        if filled && column.generated {
            return Err(error(route, format!("its column {} is generated and cannot be written", column.name)));
        }
        if !filled && !column.nullable && !column.has_default && !column.generated {
            return Err(error(
                route,
                format!(
                    "its column {0} is not null and the route does not fill it; give {0} a default, allow null, or add \
                     it to the route",
                    column.name
                ),
            ));
        }
    }
    Ok(())
}

/// The steps for one column. An added column is nullable even if the route says otherwise: older rows have no value for it.
fn plan_column(
    route: &Route,
    table: &str,
    column: &Column,
    found: &FoundTable,
    changes: &mut Vec<Change>,
) -> Result<(), ShapeError> {
    let name = quoted(&column.name);
    let wanted = column_type(column.kind);
    let Some(have) = found.columns.iter().find(|have| have.name == column.name) else {
        changes.push(Change {
            what: format!("added column {} to {}", column.name, route.postgres_table),
            sql: format!("alter table {table} add column if not exists {name} {wanted}"),
        });
        return Ok(());
    };
    if have.column_type != wanted {
        let mut sql = format!("alter table {table} alter column {name} type {wanted}");
        let mut how = String::new();
        match widening(column.kind, &have.column_type) {
            Widening::Same => {}
            Widening::InZone => {
                sql.push_str(&format!(" using {name} at time zone '{}'", route.timezone));
                how = format!(", its values taken as times of {}", route.timezone);
            }
            Widening::Impossible => {
                return Err(error(
                    route,
                    format!(
                        "its column {} is {}, the route's is {wanted}, and it cannot be converted without loss; \
                         name another table, or another column",
                        column.name, have.column_type
                    ),
                ));
            }
        }
        let what = format!(
            "changed column {} of {} from {} to {wanted}{how}",
            column.name, route.postgres_table, have.column_type
        );
        changes.push(Change { what, sql });
    }
    if column.is_nullable() && !have.nullable {
        changes.push(Change {
            what: format!("allowed null in column {} of {}", column.name, route.postgres_table),
            sql: format!("alter table {table} alter column {name} drop not null"),
        });
    }
    Ok(())
}

/// How a column of another type gets the wanted type.
enum Widening {
    /// Every value stays the same.
    Same,
    /// A local time becomes an instant, in the route's time zone.
    InZone,
    /// Something would be lost.
    Impossible,
}

fn widening(kind: Kind, have: &str) -> Widening {
    let (name, modifier) = have.split_once('(').map_or((have, ""), |(name, rest)| (name.trim_end(), rest));
    match kind {
        Kind::Timestamp if name == "timestamp with time zone" || modifier.ends_with("with time zone") => Widening::Same,
        Kind::Timestamp if name == "timestamp without time zone" || modifier.ends_with("without time zone") => {
            Widening::InZone
        }
        kind if kind.form().postgres_narrower.contains(&name) => Widening::Same,
        _ => Widening::Impossible,
    }
}

/// The steps for the identity columns. They are added as nullable, because rows of the old system have no identity. No check looks at those
/// rows.
fn plan_identity(route: &Route, table: &str, found: &FoundTable, changes: &mut Vec<Change>) -> Result<(), ShapeError> {
    for (name, wanted) in IDENTITY_COLUMNS.into_iter().zip(IDENTITY_TYPES) {
        match found.columns.iter().find(|have| have.name == name) {
            None => changes.push(Change {
                what: format!("added column {name} to {}", route.postgres_table),
                sql: format!("alter table {table} add column if not exists {name} {wanted}"),
            }),
            Some(have) if have.column_type == wanted => {}
            Some(have) => {
                return Err(error(
                    route,
                    format!("its column {name} is {}, footprint's own is {wanted}; rename it", have.column_type),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
