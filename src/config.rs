//! The configuration: where it comes from, weakest first, and what it means. config/footprint.toml is the documentation;
//! it is compiled in as the default.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::{BATCH_ROWS_MAX, LANES_MAX, RECORD_BYTES_MAX};
use crate::route::{Route, RouteError};

/// The shipped configuration.
pub const DEFAULT: &str = include_str!("../config/footprint.toml");

/// All settings, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The broker and the consumer group.
    pub kafka: Kafka,
    /// PostgreSQL.
    pub postgres: Postgres,
    /// ClickHouse.
    pub clickhouse: ClickHouse,
    /// Batches and bounds.
    pub pipeline: Pipeline,
    /// Logs and metrics.
    pub telemetry: Telemetry,
    /// What becomes of each topic's events.
    pub routes: Vec<Route>,
}

/// A text that no log shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(empty)" } else { "(hidden)" })
    }
}

/// Text, also where the environment's `12345` or `true` was taken for a number or a truth value.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    scalar(&<Value as Deserialize>::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("expected text"))
}

fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(_, text) => text.clone(),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Char(_, character) => character.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(integer), _, _) => integer.to_string(),
            (_, Some(integer), _) => integer.to_string(),
            (_, _, Some(float)) => float.to_string(),
            _ => return None,
        },
        _ => return None,
    })
}

/// A number or truth value where the text is exactly that (`0123` is text), else text.
fn from_environment(text: &str) -> Value {
    match text.parse::<Value>() {
        Ok(value @ (Value::Num(..) | Value::Bool(..))) if scalar(&value).as_deref() == Some(text) => value,
        _ => Value::from(text),
    }
}

/// Properties by dotted name: `a.b.c = 1` and `"a.b.c" = "1"` mean the same.
fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    fn flatten(prefix: &str, dict: &Dict, into: &mut BTreeMap<String, String>) -> Result<(), String> {
        for (key, value) in dict {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            if let Value::Dict(_, inner) = value {
                flatten(&name, inner, into)?;
            } else {
                let text = scalar(value).ok_or_else(|| format!("kafka property {name}: expected one value"))?;
                into.insert(name, text);
            }
        }
        Ok(())
    }
    let mut into = BTreeMap::new();
    flatten("", &Dict::deserialize(deserializer)?, &mut into).map_err(D::Error::custom)?;
    Ok(into)
}

/// Where a partition starts that nothing is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OffsetReset {
    /// At the log's start.
    #[serde(alias = "smallest", alias = "beginning")]
    Earliest,
    /// At the log's end.
    #[serde(alias = "largest", alias = "end")]
    Latest,
}

/// The group protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// The client's assignors; footprint uses cooperative-sticky.
    Classic,
    /// KIP-848: the broker assigns.
    Consumer,
}

/// What to do when retention took records that were never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLostRecords {
    /// Stop and tell.
    Stop,
    /// Record the gap and go on.
    Skip,
}

/// The broker and the consumer group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port[,host:port]`.
    pub bootstrap_servers: String,
    /// The consumer group.
    #[serde(deserialize_with = "text")]
    pub group_id: String,
    /// The first start.
    pub offset_reset: OffsetReset,
    /// The group protocol.
    pub group_protocol: GroupProtocol,
    /// How long the group waits for a silent member, milliseconds; classic protocol only.
    pub session_timeout_ms: u32,
    /// `group.instance.id`, or empty.
    #[serde(deserialize_with = "text")]
    pub instance_name: String,
    /// librdkafka's own queue, KiB.
    pub queue_kbytes_max: u32,
    /// Records destroyed by retention.
    pub on_lost_records: OnLostRecords,
    /// Any librdkafka property.
    #[serde(deserialize_with = "properties", default)]
    pub properties: BTreeMap<String, String>,
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Plain.
    Off,
    /// Encrypted, the server's certificate verified.
    On,
}

/// What a sink does with the records it missed while it was off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenSwitchedOn {
    /// Store them.
    Fill,
    /// Leave them out and record the gap.
    Skip,
}

/// PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Whether rows are written; the ledger and the dead letters are here in any case.
    pub enabled: bool,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its database.
    #[serde(deserialize_with = "text")]
    pub database: String,
    /// The schema of tables whose name bears none; empty: where the ledger is.
    #[serde(deserialize_with = "text")]
    pub schema: String,
    /// Its user.
    #[serde(deserialize_with = "text")]
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// Encryption.
    pub tls: Tls,
    /// Certificate authorities, PEM; empty: the public ones.
    pub ca_file: PathBuf,
    /// Of no effect; files that set it still load.
    pub pool_connections_max: usize,
    /// What is done with the records missed while off.
    pub when_switched_on: WhenSwitchedOn,
}

/// Compression on the way to ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// LZ4 unless the server is on this machine.
    Auto,
    /// LZ4.
    Lz4,
    /// None.
    Off,
}

/// ClickHouse.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickHouse {
    /// Whether rows are written.
    pub enabled: bool,
    /// Its host.
    pub host: String,
    /// Its HTTP port.
    pub port: u16,
    /// Its database.
    #[serde(deserialize_with = "text")]
    pub database: String,
    /// Its user.
    #[serde(deserialize_with = "text")]
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// Encryption.
    pub tls: Tls,
    /// Compression.
    pub compression: Compression,
    /// What is done with the records missed while off.
    pub when_switched_on: WhenSwitchedOn,
}

/// Batches and bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The byte budget.
    pub budget_bytes: usize,
    /// Rows of a batch, at most.
    pub batch_rows_max: usize,
    /// Payload bytes of a batch, at most.
    pub batch_bytes_max: usize,
    /// How long an incomplete batch waits for more, milliseconds.
    pub linger_ms: u64,
    /// Connections to each database that write side by side.
    pub lanes: usize,
    /// How long a stop or a revoke waits for what is on its way, milliseconds.
    pub drain_deadline_ms: u64,
    /// How long one write of one batch may take, milliseconds.
    pub sink_timeout_ms: u64,
    /// Of a batch's rows that one database may refuse; each becomes a dead letter.
    pub refused_rows_share_max: f64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Logs and metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Where `/metrics`, `/livez` and `/readyz` answer; empty: nowhere.
    pub listen: String,
    /// A level or filter.
    pub log: String,
    /// How lines look.
    pub log_format: LogFormat,
    /// Logs go to `consumer.log` in here too; empty: nowhere.
    pub log_dir: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of `--config` is not there.
    #[error("there is no configuration file {}", .0.display())]
    NoFile(PathBuf),
    /// A key or a value is wrong.
    #[error("{}", spell(.0))]
    Wrong(Box<figment::Error>),
    /// A route is wrong.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Settings that do not go together.
    #[error("{0}")]
    Conflict(String),
}

/// Every mistake found, each with its setting and, where it stands in a file, the file.
fn spell(error: &figment::Error) -> String {
    let lines = error.clone().into_iter().map(|error| {
        let file =
            error.metadata.as_ref().and_then(|metadata| metadata.source.as_ref()).and_then(figment::Source::file_path);
        let place = file.map_or(String::new(), |file| format!(" ({})", file.display()));
        if error.path.is_empty() {
            format!("configuration: {}{place}", error.kind)
        } else {
            format!("setting {}: {}{place}", error.path.join("."), error.kind)
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The old consumer's environment names and the settings they mean.
const OLD_NAMES: [(&str, &str); 14] = [
    ("BOOTSTRAP_SERVER", "kafka.bootstrap_servers"),
    ("GROUP_ID", "kafka.group_id"),
    ("OFFSET_RESET_CONFIG", "kafka.offset_reset"),
    ("DB_HOST", "postgres.host"),
    ("DB_PORT", "postgres.port"),
    ("DB_NAME", "postgres.database"),
    ("DB_USER", "postgres.user"),
    ("DB_PASSWORD", "postgres.password"),
    ("CH_HOST", "clickhouse.host"),
    ("CH_PORT", "clickhouse.port"),
    ("CH_USER", "clickhouse.user"),
    ("CH_PASSWORD", "clickhouse.password"),
    ("LOG_DIR", "telemetry.log_dir"),
    ("LOG_LEVEL", "telemetry.log"),
];

impl Config {
    /// Reads the configuration: the shipped one, `file`, the environment (`.env` was read into it before), then `flags`
    /// as dotted keys and values.
    ///
    /// # Errors
    /// A missing file, an unknown key, a value of the wrong kind, settings that do not go together.
    pub fn load(file: Option<&Path>, flags: &[(&str, Value)]) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULT));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError::NoFile(file.to_owned()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        for (name, key) in OLD_NAMES {
            if let Ok(value) = std::env::var(name)
                && !value.is_empty()
            {
                figment = figment.merge(Serialized::default(key, from_environment(&value)));
            }
        }
        for (name, value) in std::env::vars() {
            if let Some(key) = name.strip_prefix("FOOTPRINT_")
                && key.contains("__")
            {
                let key = key.to_lowercase().replace("__", ".");
                figment = figment.merge(Serialized::default(&key, from_environment(&value)));
            }
        }
        for (key, value) in flags {
            figment = figment.merge(Serialized::default(key, value));
        }
        let mut config: Self = figment.extract().map_err(|error| ConfigError::Wrong(Box::new(error)))?;
        if let Ok(topic) = std::env::var("TOPIC")
            && let Some(first) = config.routes.first_mut()
            && !topic.is_empty()
        {
            first.topic = topic;
        }
        config.checked()
    }

    fn checked(mut self) -> Result<Self, ConfigError> {
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        self.routes = self.routes.into_iter().map(Route::validated).collect::<Result<_, _>>()?;
        if self.routes.is_empty() {
            return conflict("no [[routes]]: say what becomes of a topic's events".into());
        }
        for (index, route) in self.routes.iter().enumerate() {
            for other in &self.routes[..index] {
                if route.name == other.name
                    || route.topic == other.topic
                    || route.postgres_table == other.postgres_table
                    || route.clickhouse_table == other.clickhouse_table
                {
                    return conflict(format!(
                        "routes {} and {} share a name, a topic or a table; each needs its own",
                        other.name, route.name
                    ));
                }
            }
        }
        if !self.postgres.enabled && !self.clickhouse.enabled {
            return conflict("both sinks are switched off; enable postgres or clickhouse".into());
        }
        if !(1..=LANES_MAX).contains(&self.pipeline.lanes) {
            return conflict(format!("pipeline.lanes must be 1 to {LANES_MAX}"));
        }
        if self.pipeline.batch_rows_max == 0 || self.pipeline.batch_rows_max > BATCH_ROWS_MAX {
            return conflict(format!("pipeline.batch_rows_max must be 1 to {BATCH_ROWS_MAX}"));
        }
        if self.pipeline.budget_bytes < 4 * RECORD_BYTES_MAX {
            return conflict(format!("pipeline.budget_bytes must be at least {}", 4 * RECORD_BYTES_MAX));
        }
        if !(RECORD_BYTES_MAX..=1 << 30).contains(&self.pipeline.batch_bytes_max) {
            return conflict(format!("pipeline.batch_bytes_max must be {RECORD_BYTES_MAX} to {}", 1 << 30));
        }
        if self.pipeline.sink_timeout_ms == 0 || self.pipeline.drain_deadline_ms == 0 {
            return conflict("pipeline.sink_timeout_ms and drain_deadline_ms must be above 0".into());
        }
        if !(0.0..=1.0).contains(&self.pipeline.refused_rows_share_max) {
            return conflict("pipeline.refused_rows_share_max must be 0 to 1".into());
        }
        self.check_properties()?;
        Ok(self)
    }

    /// Properties that would break what footprint promises, or that the group protocol refuses.
    fn check_properties(&self) -> Result<(), ConfigError> {
        const OURS: [(&str, &str); 8] = [
            ("bootstrap.servers", "set kafka.bootstrap_servers"),
            ("group.id", "set kafka.group_id"),
            ("group.protocol", "set kafka.group_protocol"),
            ("group.instance.id", "set kafka.instance_name"),
            ("session.timeout.ms", "set kafka.session_timeout_ms"),
            ("auto.offset.reset", "the ledger knows where to read on; set kafka.offset_reset for the first start"),
            ("enable.auto.commit", "offsets are committed only after both sinks have acknowledged"),
            ("enable.auto.offset.store", "offsets are committed only after both sinks have acknowledged"),
        ];
        for (name, what) in OURS {
            if self.kafka.properties.contains_key(name) {
                return Err(ConfigError::Conflict(format!("kafka.properties: {name} cannot be set there; {what}")));
            }
        }
        let assignor = self.kafka.properties.get("partition.assignment.strategy");
        if self.kafka.group_protocol == GroupProtocol::Consumer {
            for name in ["heartbeat.interval.ms", "partition.assignment.strategy"] {
                if self.kafka.properties.contains_key(name) {
                    return Err(ConfigError::Conflict(format!(
                        "kafka.properties: {name} is the broker's under kafka.group_protocol = \"consumer\"; take it out"
                    )));
                }
            }
        } else if assignor.is_some_and(|assignor| assignor != "cooperative-sticky") {
            return Err(ConfigError::Conflict(
                "kafka.properties: partition.assignment.strategy must be cooperative-sticky: \
                 an eager one takes every partition from every consumer at each change"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// Serves `--print-config`-like displays and tests: the flags' values.
pub fn flag<T: Serialize>(value: T) -> Value {
    Value::serialize(value).unwrap_or_else(|_| Value::from(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_is_whole() {
        let config = Config::load(None, &[]).unwrap();
        assert_eq!(config.routes[0].columns[1].field, "link");
        assert_eq!(config.pipeline.batch_rows_max, 500_000);
    }

    #[test]
    fn properties_may_be_dotted_or_quoted_keys_and_values() {
        let dir = std::env::temp_dir().join(format!("footprint-config-{}.toml", std::process::id()));
        std::fs::write(&dir, "[kafka.properties]\nfetch.min.bytes = 7\n\"check.crcs\" = \"true\"\n").unwrap();
        let config = Config::load(Some(&dir), &[]).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(config.kafka.properties["fetch.min.bytes"], "7");
        assert_eq!(config.kafka.properties["check.crcs"], "true");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = Config::load(None, &[("pipeline.lingr_ms", flag(5))]).unwrap_err();
        assert!(error.to_string().contains("lingr_ms"), "{error}");
    }

    #[test]
    fn a_dangerous_property_is_refused() {
        let error = Config::load(None, &[("kafka.properties", flag(BTreeMap::from([("enable.auto.commit", true)])))]);
        assert!(error.unwrap_err().to_string().contains("both sinks"));
    }

    #[test]
    fn the_environment_keeps_text_as_it_is() {
        assert_eq!(scalar(&from_environment("0123")).unwrap(), "0123");
        assert_eq!(from_environment("[a").as_str(), Some("[a"));
        assert_eq!(from_environment("5432").to_u128(), Some(5432));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let config = Config::load(None, &[("postgres.password", flag("12345"))]).unwrap();
        assert_eq!(config.postgres.password.reveal(), "12345");
        assert!(!format!("{config:?}").contains("12345"));
    }
}
