//! The kinds of columns, each described once. [`Kind::form`] is the table of each kind's name, and of its spelling and reading in
//! each database. CONTRIBUTING.md ("Add a column kind") lists the remaining code, one arm each: loops over values, which must not
//! look anything up.

use serde::{Deserialize, Serialize};

/// What a column holds. Both databases hold the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// UTF-8 text without NUL.
    Text,
    /// An instant, microseconds since the epoch.
    Timestamp,
    /// A signed 64-bit integer.
    Integer,
    /// A finite double.
    Float,
    /// A truth value.
    Boolean,
    /// A UUID, 128 bits.
    Uuid,
}

/// A default of a column, as the configuration spells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DefaultValue {
    /// For [`Kind::Boolean`].
    Boolean(bool),
    /// For [`Kind::Integer`], and [`Kind::Timestamp`] as epoch time by magnitude.
    Integer(i64),
    /// For [`Kind::Float`].
    Float(f64),
    /// For [`Kind::Text`], [`Kind::Timestamp`] as RFC 3339 text with an offset, and [`Kind::Uuid`] as its text.
    Text(String),
}

/// The name of a kind, and how each database stores it. `{}` is the column's name.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// What an event's JSON must hold, in the words of a dead letter's reason.
    pub expected: &'static str,
    /// PostgreSQL's type, as `format_type` spells it. COPY carries its binary form.
    pub postgres_type: &'static str,
    /// Types of an adopted PostgreSQL column whose values all fit the kind. The column is widened.
    pub postgres_narrower: &'static [&'static str],
    /// A PostgreSQL column as the Rust type of its values.
    pub postgres_value: &'static str,
    /// ClickHouse's type.
    pub clickhouse_type: &'static str,
    /// Types of an adopted ClickHouse column whose values all fit the kind. The column is widened.
    pub clickhouse_narrower: &'static [&'static str],
    /// A ClickHouse column as `verify` reads it, nullable.
    pub clickhouse_value: &'static str,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Text, Self::Timestamp, Self::Integer, Self::Float, Self::Boolean, Self::Uuid];

    /// The table of kinds.
    pub const fn form(self) -> Form {
        match self {
            Self::Text => Form {
                expected: "text",
                postgres_type: "text",
                postgres_narrower: &["character varying"],
                postgres_value: "{}",
                clickhouse_type: "String",
                clickhouse_narrower: &[],
                clickhouse_value: "cast({}, 'Nullable(String)')",
            },
            // adopted times have precisions and zones; the tables' shapes check them
            Self::Timestamp => Form {
                expected: "a time, RFC 3339 text or an integer",
                postgres_type: "timestamp with time zone",
                postgres_narrower: &[],
                postgres_value: "(extract(epoch from {}) * 1000000)::bigint",
                clickhouse_type: "DateTime64(6, 'UTC')",
                clickhouse_narrower: &[],
                clickhouse_value: "cast(toUnixTimestamp64Micro(toDateTime64({}, 6, 'UTC')), 'Nullable(Int64)')",
            },
            Self::Integer => Form {
                expected: "an integer",
                postgres_type: "bigint",
                postgres_narrower: &["integer", "smallint"],
                postgres_value: "{}",
                clickhouse_type: "Int64",
                clickhouse_narrower: &["Int8", "Int16", "Int32", "UInt8", "UInt16", "UInt32"],
                clickhouse_value: "cast({}, 'Nullable(Int64)')",
            },
            Self::Float => Form {
                expected: "a number",
                postgres_type: "double precision",
                postgres_narrower: &["real"],
                postgres_value: "{}",
                clickhouse_type: "Float64",
                clickhouse_narrower: &["Float32"],
                clickhouse_value: "cast({}, 'Nullable(Float64)')",
            },
            Self::Boolean => Form {
                expected: "true or false",
                postgres_type: "boolean",
                postgres_narrower: &[],
                postgres_value: "{}",
                clickhouse_type: "Bool",
                clickhouse_narrower: &[],
                clickhouse_value: "cast({}, 'Nullable(UInt8)')",
            },
            // no other type is narrower: not every text is a UUID, and other numbers of 128 bits have another byte order
            Self::Uuid => Form {
                expected: "the text of a UUID",
                postgres_type: "uuid",
                postgres_narrower: &[],
                postgres_value: "{}",
                clickhouse_type: "UUID",
                clickhouse_narrower: &[],
                clickhouse_value: "cast({}, 'Nullable(UUID)')",
            },
        }
    }

    /// Whether a column may have such a default. The decoder checks the value.
    pub fn takes(self, default: &DefaultValue) -> bool {
        matches!(
            (self, default),
            (Self::Text, DefaultValue::Text(_))
                | (Self::Timestamp, DefaultValue::Text(_) | DefaultValue::Integer(_))
                | (Self::Integer, DefaultValue::Integer(_))
                | (Self::Float, DefaultValue::Float(_) | DefaultValue::Integer(_))
                | (Self::Boolean, DefaultValue::Boolean(_))
                | (Self::Uuid, DefaultValue::Text(_))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_and_every_value_names_its_column() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "in the order of the enum, without gaps");
            let form = kind.form();
            for value in [form.postgres_value, form.clickhouse_value] {
                assert_eq!(value.matches("{}").count(), 1, "{kind:?}: {value}");
            }
            assert!(form.clickhouse_value.contains("Nullable("), "{kind:?}: verify reads a mark before each value");
        }
    }
}
