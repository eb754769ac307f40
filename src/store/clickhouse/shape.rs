//! The table of a route in ClickHouse: its wanted form, its present form, and the statements that lead from one to the other. Pure:
//! `migrate` runs the statements, `check` only prints them. Every statement may run twice, and in two processes at once.

use footprint_event::route::{Column, IDENTITY_COLUMNS, Kind, Route, quoted};

use super::native::{IDENTITY_TYPES, column_type, table};

const TEMPLATE: &str = include_str!("../../../migrations/clickhouse/R__route_table.sql");

/// Without these settings an insert is not exactly once: the server would ignore the token silently, or acknowledge rows that are not
/// durable. The first one is a lower bound, the others are switches.
pub const SETTINGS: [(&str, u64); 3] =
    [("non_replicated_deduplication_window", 10_000), ("fsync_after_insert", 1), ("fsync_part_directory", 1)];

/// One step towards the wanted form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What the step does, for people to read.
    pub what: String,
    /// The SQL statement.
    pub sql: String,
    /// The right on the table that the statement needs, as GRANT spells it.
    pub right: &'static str,
}

/// A table as system.tables and system.columns describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTable {
    /// The engine's name.
    pub engine: String,
    /// The engine with its clauses and settings.
    pub engine_full: String,
    /// The sorting key's expression.
    pub sorting_key: String,
    /// The partition key's expression.
    pub partition_key: String,
    /// The columns, in the table's order.
    pub columns: Vec<FoundColumn>,
    /// Columns that have a minmax index.
    pub minmax: Vec<String>,
}

/// A column as system.columns describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundColumn {
    /// The name in the table.
    pub name: String,
    /// The type as system.columns spells it.
    pub column_type: String,
    /// Empty, or DEFAULT, MATERIALIZED, ALIAS, EPHEMERAL.
    pub default_kind: String,
    /// Whether it is part of the sorting, primary, partition or sampling key: then its type cannot change.
    pub in_key: bool,
}

/// Why a table cannot be used for the route.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("clickhouse table {table}: {why}")]
pub struct ShapeError {
    /// The table's name in the route.
    pub table: String,
    /// What prevents it, and what to do.
    pub why: String,
}

impl FoundTable {
    /// The value of a setting in the table's own SETTINGS clause.
    pub fn setting(&self, name: &str) -> Option<u64> {
        let settings = self.engine_full.rsplit_once(" SETTINGS ")?.1;
        settings.split(", ").find_map(|setting| {
            let (key, value) = setting.split_once('=')?;
            (key.trim() == name).then(|| value.trim().parse().ok())?
        })
    }

    /// Whether a setting has at least the value that exactly-once needs.
    pub fn has_setting(&self, name: &str, least: u64) -> bool {
        self.setting(name).is_some_and(|value| value >= least)
    }
}

/// The columns with a minmax index, read from the table's definition. system.data_skipping_indices lists them too, but a user with
/// rights on its own database only may not read it.
pub fn minmax_columns(create_table_query: &str) -> Vec<String> {
    let indexes = create_table_query.split("INDEX ").skip(1);
    indexes
        .filter_map(|index| {
            let (definition, kind) = index.split_once(" TYPE ")?;
            let (_, expression) = definition.split_once(' ')?;
            kind.starts_with("minmax").then(|| expression.trim_matches(['`', '(', ')']).to_owned())
        })
        .collect()
}

/// The sorting key of a new table: the route's first timestamp that is never null, or else the time of arrival.
pub fn sorted_by(route: &Route) -> &str {
    let time = route.columns.iter().find(|column| column.kind == Kind::Timestamp && !column.is_nullable());
    time.map_or("received_at", |column| column.name.as_str())
}

/// The steps from `found` to the wanted form. The list is empty if nothing must change.
///
/// # Errors
/// The table cannot be changed to the wanted form without losing something.
pub fn plan(route: &Route, database: &str, found: Option<&FoundTable>) -> Result<Vec<Change>, ShapeError> {
    let name = table(route, database);
    let Some(found) = found else {
        let what = format!("made table {}", route.clickhouse_table);
        return Ok(vec![Change { what, sql: create_statement(route, &name), right: "CREATE TABLE" }]);
    };
    let mut changes = plan_columns(route, &name, found)?;
    if !found.minmax.iter().any(|column| column == "kafka_offset") {
        changes.push(Change {
            what: format!("added a minmax index on kafka_offset to {}", route.clickhouse_table),
            sql: format!(
                "alter table {name} add index if not exists kafka_offset_minmax kafka_offset type minmax granularity 1"
            ),
            right: "ALTER ADD INDEX",
        });
    }
    let lacking: Vec<String> = SETTINGS
        .iter()
        .filter(|(setting, least)| !found.has_setting(setting, *least))
        .map(|(setting, least)| format!("{setting} = {least}"))
        .collect();
    if !lacking.is_empty() {
        changes.push(Change {
            what: format!("set {} of {}", lacking.join(", "), route.clickhouse_table),
            sql: format!("alter table {name} modify setting {}", lacking.join(", ")),
            right: "ALTER MODIFY SETTING",
        });
    }
    Ok(changes)
}

/// Checks that the table takes the route's rows without a change. This is for definitions that are no longer the configured one.
///
/// # Errors
/// The table does not take them; the error says what to do first.
pub fn check_fits(route: &Route, database: &str, found: Option<&FoundTable>) -> Result<(), ShapeError> {
    let found = found.ok_or_else(|| error(route, "it is gone; `footprint migrate` makes it".into()))?;
    let changes = plan_columns(route, &table(route, database), found)?;
    if changes.is_empty() {
        return Ok(());
    }
    let statements: Vec<String> = changes.into_iter().map(|change| change.sql).collect();
    Err(error(route, format!("it has changed since; run in clickhouse: {}", statements.join("; "))))
}

/// The steps after which the table takes the route's rows.
fn plan_columns(route: &Route, name: &str, found: &FoundTable) -> Result<Vec<Change>, ShapeError> {
    refuse_unfit(route, found)?;
    let mut changes = Vec::new();
    for column in &route.columns {
        plan_column(route, name, column, found, &mut changes)?;
    }
    plan_identity(route, name, found, &mut changes)?;
    Ok(changes)
}

fn create_statement(route: &Route, table: &str) -> String {
    let columns: Vec<String> =
        route.columns.iter().map(|column| format!("    {} {}", quoted(&column.name), column_type(column))).collect();
    let settings: Vec<String> = SETTINGS.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    TEMPLATE
        .replace("{{table}}", table)
        .replace("{{columns}}", &columns.join(",\n"))
        .replace("{{order_by}}", &quoted(sorted_by(route)))
        .replace("{{settings}}", &settings.join(", "))
}

fn error(route: &Route, why: String) -> ShapeError {
    ShapeError { table: route.clickhouse_table.clone(), why }
}

/// Refuses every engine that does not keep all rows: some of the MergeTree family merge rows with the same key.
fn refuse_unfit(route: &Route, found: &FoundTable) -> Result<(), ShapeError> {
    if matches!(found.engine.as_str(), "MergeTree" | "ReplicatedMergeTree" | "SharedMergeTree") {
        return Ok(());
    }
    Err(error(
        route,
        format!(
            "its engine is {}; only MergeTree keeps every row as it was inserted; name another table",
            found.engine
        ),
    ))
}

/// The nullable form of a type.
fn nullable(column_type: &str) -> String {
    match column_type.strip_prefix("LowCardinality(").and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => format!("LowCardinality(Nullable({inner}))"),
        None => format!("Nullable({column_type})"),
    }
}

/// A type without `LowCardinality` and `Nullable`, which do not change its values.
fn bare(column_type: &str) -> &str {
    let mut bare = column_type;
    for wrapper in ["LowCardinality(", "Nullable("] {
        bare = bare.strip_prefix(wrapper).and_then(|rest| rest.strip_suffix(')')).unwrap_or(bare);
    }
    bare
}

/// The steps for one column. An added column is nullable even if the route says otherwise: older rows have no value for it, and
/// ClickHouse would invent an empty text or a zero.
fn plan_column(
    route: &Route,
    table: &str,
    column: &Column,
    found: &FoundTable,
    changes: &mut Vec<Change>,
) -> Result<(), ShapeError> {
    let name = quoted(&column.name);
    let wanted = column_type(column);
    let Some(have) = found.columns.iter().find(|have| have.name == column.name) else {
        let wanted = if column.is_nullable() { wanted } else { nullable(&wanted) };
        changes.push(Change {
            what: format!("added column {} to {}", column.name, route.clickhouse_table),
            sql: format!("alter table {table} add column if not exists {name} {wanted}"),
            right: "ALTER ADD COLUMN",
        });
        return Ok(());
    };
    let have_type = have.column_type.as_str();
    if matches!(have.default_kind.as_str(), "MATERIALIZED" | "ALIAS" | "EPHEMERAL") {
        return Err(error(route, format!("its column {} is computed and cannot be written", column.name)));
    }
    let is_nullable = have_type != bare(have_type) && have_type.contains("Nullable(");
    let fits = fits(column.kind, bare(have_type));
    if fits == Fits::Not {
        return Err(error(
            route,
            format!(
                "its column {} is {have_type}, the route's is {wanted}, and it cannot be converted without loss; \
                 name another table, or another column",
                column.name
            ),
        ));
    }
    if fits == Fits::AsIs && (is_nullable || !column.is_nullable()) {
        return Ok(());
    }
    if have.in_key {
        return Err(error(
            route,
            format!(
                "its column {} is {have_type} and would have to be {wanted}, but ClickHouse cannot change a column of a \
                 key; name another table, or make the route's column required",
                column.name
            ),
        ));
    }
    let to = if is_nullable && !column.is_nullable() { nullable(&wanted) } else { wanted };
    changes.push(Change {
        what: format!("changed column {} of {} from {have_type} to {to}", column.name, route.clickhouse_table),
        sql: format!("alter table {table} modify column {name} {to}"),
        right: "ALTER MODIFY COLUMN",
    });
    Ok(())
}

/// Whether a type can hold every value of a kind.
#[derive(PartialEq, Eq)]
enum Fits {
    /// Yes.
    AsIs,
    /// Yes, after it is widened.
    Widened,
    /// No, and no change helps.
    Not,
}

fn fits(kind: Kind, have: &str) -> Fits {
    match kind {
        _ if have == kind.form().clickhouse_type => Fits::AsIs,
        // the time zone only changes how a value is shown
        Kind::Timestamp if have.starts_with("DateTime64(6") => Fits::AsIs,
        // a coarser time would lose microseconds
        Kind::Timestamp if have.starts_with("DateTime") && !have.starts_with("DateTime64(7") => {
            if matches!(have.get(..12), Some("DateTime64(8" | "DateTime64(9")) { Fits::Not } else { Fits::Widened }
        }
        _ if kind.form().clickhouse_narrower.contains(&have) => Fits::Widened,
        _ => Fits::Not,
    }
}

/// The steps for the identity columns. They are added as nullable, because rows of the old system have no identity. No check looks at those
/// rows.
fn plan_identity(route: &Route, table: &str, found: &FoundTable, changes: &mut Vec<Change>) -> Result<(), ShapeError> {
    for (name, wanted) in IDENTITY_COLUMNS.into_iter().zip(IDENTITY_TYPES) {
        match found.columns.iter().find(|have| have.name == name) {
            None => changes.push(Change {
                what: format!("added column {name} to {}", route.clickhouse_table),
                sql: format!("alter table {table} add column if not exists {name} Nullable({wanted})"),
                right: "ALTER ADD COLUMN",
            }),
            Some(have) if have.column_type == wanted || have.column_type == format!("Nullable({wanted})") => {}
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
