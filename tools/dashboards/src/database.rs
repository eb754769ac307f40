//! The two databases, as Grafana knows them.

use serde_json::{Value, json};

/// A database that has each panel's SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    PostgreSql,
    ClickHouse,
}

/// How a panel reads an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    TimeSeries,
    Table,
}

impl Database {
    /// The name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PostgreSql => "PostgreSQL",
            Self::ClickHouse => "ClickHouse",
        }
    }

    /// The name in uids and in the files of `queries/`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::ClickHouse => "clickhouse",
        }
    }

    /// The data source of `grafana/provisioning`.
    pub(crate) fn data_source(self) -> Value {
        let plugin = match self {
            Self::PostgreSql => "grafana-postgresql-datasource",
            Self::ClickHouse => "grafana-clickhouse-datasource",
        };
        json!({ "type": plugin, "uid": format!("footprint-{}", self.key()) })
    }

    /// A query as the data source's own editor would save it.
    pub(crate) fn target(self, ref_id: &str, sql: &str, format: Format) -> Value {
        let source = self.data_source();
        match self {
            Self::PostgreSql => json!({
                "datasource": source,
                "editorMode": "code",
                "format": if format == Format::TimeSeries { "time_series" } else { "table" },
                "rawQuery": true,
                "rawSql": sql,
                "refId": ref_id,
            }),
            Self::ClickHouse => json!({
                "datasource": source,
                "editorType": "sql",
                "format": if format == Format::TimeSeries { 0 } else { 1 },
                "pluginVersion": "4.20.0",
                "queryType": if format == Format::TimeSeries { "timeseries" } else { "table" },
                "rawSql": sql,
                "refId": ref_id,
            }),
        }
    }
}
