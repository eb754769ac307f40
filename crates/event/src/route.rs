//! A route: which JSON fields of a topic's events become which columns of which tables. It decides names and kinds, and never
//! touches a record. `user_footprint` is the first route of the shipped configuration and has no special role.

use serde::{Deserialize, Serialize};

pub use crate::kind::{DefaultValue, Kind};
use crate::limits::ROUTE_COLUMNS_MAX;

/// The meaning of a missing field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// The record becomes a dead letter.
    Required,
    /// The column is nullable and holds null. An explicit JSON null means the same.
    Optional,
    /// The column is not nullable and holds this value, which has the column's kind. An explicit JSON null is a dead letter.
    Default(DefaultValue),
}

/// One column of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The column's name in both databases.
    pub name: String,
    /// The event's JSON field. By default, the column's name.
    #[serde(default)]
    pub field: String,
    /// The kind of its values.
    pub kind: Kind,
    /// The meaning of a missing field.
    #[serde(default = "required")]
    pub presence: Presence,
    /// There are few distinct values, so ClickHouse keeps a dictionary (`LowCardinality`). Only for [`Kind::Text`].
    #[serde(default)]
    pub low_cardinality: bool,
}

fn required() -> Presence {
    Presence::Required
}

impl Column {
    /// Whether the column can hold null.
    pub fn is_nullable(&self) -> bool {
        self.presence == Presence::Optional
    }
}

/// One topic, its two tables, and the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The route's name: its key in the ledger.
    pub name: String,
    /// The Kafka topic.
    pub topic: String,
    /// PostgreSQL's table, `table` or `schema.table`.
    pub postgres_table: String,
    /// ClickHouse's table, `table` or `database.table`; without a database, the configured one.
    pub clickhouse_table: String,
    /// The zone of a timestamp without an offset: an IANA name.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The columns, in the order both encoders use.
    pub columns: Vec<Column>,
}

fn utc() -> String {
    "UTC".into()
}

/// Why a route cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RouteError {
    /// A name that is not a plain SQL identifier.
    #[error(
        "route {route}: {what} {name:?} is not a plain name; use letters, digits and _, at most 63, not starting with a digit"
    )]
    Name {
        /// The route.
        route: String,
        /// Which kind of name.
        what: &'static str,
        /// The name refused.
        name: String,
    },
    /// Any other fault.
    #[error("route {route}: {reason}")]
    Invalid {
        /// The route.
        route: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// One fault of a route, and the setting that it is about.
#[derive(Debug, PartialEq)]
pub struct RouteFault {
    /// The setting's key in the route: `topic`, or `columns.2`, counted from 0.
    pub setting: String,
    /// What is wrong.
    pub error: RouteError,
}

/// The columns that every table has besides the route's: a row's identity, and when Kafka received it.
pub const IDENTITY_COLUMNS: [&str; 4] = ["kafka_source", "kafka_partition", "kafka_offset", "received_at"];

/// A table or column name as both databases read it: `a.b` becomes `"a"."b"`. The names of a checked route contain no quote.
pub fn quoted(name: &str) -> String {
    debug_assert!(name.split('.').all(is_plain), "not a plain name: {name:?}");
    format!("\"{}\"", name.replace('.', "\".\""))
}

fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 63
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl Route {
    /// ClickHouse's database and table. `database` is used if the configured name has none.
    pub fn clickhouse_names<'a>(&'a self, database: &'a str) -> (&'a str, &'a str) {
        self.clickhouse_table.split_once('.').unwrap_or((database, &self.clickhouse_table))
    }

    /// ClickHouse's table as `database.table`. `database` is used if the configured name has none.
    pub fn clickhouse_full_name(&self, database: &str) -> String {
        let (database, table) = self.clickhouse_names(database);
        format!("{database}.{table}")
    }

    /// Fills in what was left out and checks every name, so that SQL may be built from them.
    ///
    /// # Errors
    /// The first fault of [`Self::faults`].
    pub fn validated(mut self) -> Result<Self, RouteError> {
        self.fill();
        match self.faults().into_iter().next() {
            Some(fault) => Err(fault.error),
            None => Ok(self),
        }
    }

    /// Fills in what was left out: a column's field is its name.
    pub fn fill(&mut self) {
        for column in &mut self.columns {
            if column.field.is_empty() {
                column.field.clone_from(&column.name);
            }
        }
    }

    /// Every fault: a name that is not a plain identifier, a column named twice or like an identity column, no columns or too
    /// many, a default of another kind, an unknown time zone.
    pub fn faults(&self) -> Vec<RouteFault> {
        let mut faults = Vec::new();
        let mut check = |setting: &str, checked: Result<(), RouteError>| {
            faults.extend(checked.err().map(|error| RouteFault { setting: setting.to_owned(), error }));
        };
        check("name", self.check_name("route name", &self.name));
        check("postgres_table", self.check_table("PostgreSQL table", &self.postgres_table));
        check("clickhouse_table", self.check_table("ClickHouse table", &self.clickhouse_table));
        if self.topic.is_empty() {
            check("topic", Err(self.invalid("the topic is empty".into())));
        }
        if self.columns.is_empty() || self.columns.len() > ROUTE_COLUMNS_MAX {
            check("columns", Err(self.invalid(format!("it needs 1 to {ROUTE_COLUMNS_MAX} columns"))));
        }
        if self.timezone.parse::<chrono_tz::Tz>().is_err() {
            let reason = format!("timezone {:?} is not an IANA name such as UTC or Asia/Seoul", self.timezone);
            check("timezone", Err(self.invalid(reason)));
        }
        for (index, column) in self.columns.iter().enumerate() {
            check(&format!("columns.{index}"), self.check_column(index, column));
        }
        faults
    }

    fn check_table(&self, what: &'static str, table: &str) -> Result<(), RouteError> {
        if table.split('.').count() > 2 {
            return Err(self.invalid(format!("{what} {table:?} has more than one dot")));
        }
        table.split('.').try_for_each(|part| self.check_name(what, part))
    }

    fn check_column(&self, index: usize, column: &Column) -> Result<(), RouteError> {
        self.check_name("column", &column.name)?;
        if IDENTITY_COLUMNS.contains(&column.name.as_str()) {
            return Err(
                self.invalid(format!("column {} is kept by footprint itself; choose another name", column.name))
            );
        }
        for other in &self.columns[..index] {
            if other.name == column.name || other.field == column.field {
                return Err(
                    self.invalid(format!("column {} or its field {:?} appears twice", column.name, column.field))
                );
            }
        }
        if column.low_cardinality && column.kind != Kind::Text {
            return Err(self.invalid(format!("column {}: low_cardinality is for text", column.name)));
        }
        if let Presence::Default(value) = &column.presence
            && !column.kind.takes(value)
        {
            return Err(self.invalid(format!("column {}: the default is not of kind {:?}", column.name, column.kind)));
        }
        Ok(())
    }

    fn check_name(&self, what: &'static str, name: &str) -> Result<(), RouteError> {
        if is_plain(name) {
            return Ok(());
        }
        Err(RouteError::Name { route: self.name.clone(), what, name: name.to_owned() })
    }

    fn invalid(&self, reason: String) -> RouteError {
        RouteError::Invalid { route: self.name.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: Kind) -> Column {
        Column { name: name.into(), field: name.into(), kind, presence: Presence::Required, low_cardinality: false }
    }

    fn route() -> Route {
        Route {
            name: "visits".into(),
            topic: "visits".into(),
            postgres_table: "visits".into(),
            clickhouse_table: "visits".into(),
            timezone: utc(),
            columns: vec![column("link", Kind::Text), column("at", Kind::Timestamp)],
        }
    }

    /// The settings with a fault after `change`.
    fn faulty(change: impl FnOnce(&mut Route)) -> Vec<String> {
        let mut route = route();
        change(&mut route);
        route.faults().into_iter().map(|fault| fault.setting).collect()
    }

    #[test]
    fn names_are_quoted_part_by_part() {
        assert_eq!((quoted("visits"), quoted("prd._v1")), ("\"visits\"".into(), "\"prd\".\"_v1\"".into()));
        let mut route = route();
        assert_eq!(route.clickhouse_names("prd"), ("prd", "visits"));
        route.clickhouse_table = "stage.visits".into();
        assert_eq!(route.clickhouse_names("prd"), ("stage", "visits"));
        assert_eq!(route.clickhouse_full_name("prd"), "stage.visits");
    }

    #[test]
    fn a_column_without_a_field_has_its_name_as_field() {
        let mut route = route();
        route.columns[0].field.clear();
        route.columns[1].field = "when".into();
        let filled = route.validated().unwrap();
        assert_eq!((filled.columns[0].field.as_str(), filled.columns[1].field.as_str()), ("link", "when"));
    }

    #[test]
    fn every_fault_is_found_at_its_setting() {
        assert!(faulty(|_| {}).is_empty());
        let longest = "a".repeat(63);
        for plain in ["_", "a1", longest.as_str(), "prd.visits"] {
            assert!(faulty(|route| route.postgres_table = plain.into()).is_empty(), "{plain}");
        }
        for odd in ["", "1a", "a-b", "a\"b", &"a".repeat(64), "a.b.c", "a..b", ".a", "ü"] {
            assert_eq!(faulty(|route| route.postgres_table = odd.into()), ["postgres_table"], "{odd}");
            assert_eq!(faulty(|route| route.clickhouse_table = odd.into()), ["clickhouse_table"], "{odd}");
        }
        assert_eq!(faulty(|route| route.name = "a.b".into()), ["name"]);
        assert_eq!(faulty(|route| route.topic.clear()), ["topic"]);
        assert_eq!(faulty(|route| route.timezone = "Mars/Olympus".into()), ["timezone"]);
        assert_eq!(faulty(|route| route.columns.clear()), ["columns"]);
        let many = |count: usize| (0..count).map(|n| column(&format!("c{n}"), Kind::Integer)).collect();
        assert!(faulty(|route| route.columns = many(ROUTE_COLUMNS_MAX)).is_empty());
        assert_eq!(faulty(|route| route.columns = many(ROUTE_COLUMNS_MAX + 1)), ["columns"]);
        assert_eq!(faulty(|route| route.columns[1].name = "link".into()), ["columns.1"]);
        assert_eq!(faulty(|route| route.columns[1].field = "link".into()), ["columns.1"]);
        for name in IDENTITY_COLUMNS {
            assert_eq!(faulty(|route| route.columns[0].name = name.into()), ["columns.0"]);
        }
        assert!(faulty(|route| route.columns[0].low_cardinality = true).is_empty());
        assert_eq!(faulty(|route| route.columns[1].low_cardinality = true), ["columns.1"]);
        let with_default = |default| move |route: &mut Route| route.columns[0].presence = Presence::Default(default);
        assert!(faulty(with_default(DefaultValue::Text("none".into()))).is_empty());
        assert_eq!(faulty(with_default(DefaultValue::Integer(7))), ["columns.0"]);
    }

    #[test]
    fn without_a_zone_it_is_utc() {
        assert_eq!(utc(), "UTC");
    }
}
