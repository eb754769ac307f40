//! The configuration: where it comes from, weakest first, and what it means. config/footprint.toml is the documentation;
//! it is compiled in as the default. An error names the setting, and the file, variable or flag that it came from; never a
//! value, which may be a secret in the wrong place.

mod kafka_properties;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use figment::error::{Actual, Kind};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use footprint_event::limits::RECORD_BYTES_MAX;
use footprint_event::route::{Route, RouteError};
use footprint_protocol::take_over::{OnLostRecords, WhenSwitchedOn};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::environment::{Environment, EnvironmentError, OLD_NAMES, PREFIX, TOPIC};
use crate::limits::{BATCH_ROWS_MAX, LANES_MAX};
use crate::log_filter;
use crate::secret::{self, Secret};
use crate::tls::{self, Files};

/// The shipped configuration.
pub const DEFAULT: &str = include_str!("../../../../config/footprint.toml");

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

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self::from)
    }
}

/// Text, also where the environment's `12345` or `true` was taken for a number or a truth value.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    scalar(&<Value as Deserialize>::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("expected text"))
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    text(deserializer).map(PathBuf::from)
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

/// librdkafka's properties by name. Some of the values are secrets, and no log shows any.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Deref for Properties {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Properties {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Properties by dotted name: `a.b.c = 1` and `"a.b.c" = "1"` mean the same.
fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Properties, D::Error> {
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
    Ok(Properties(into))
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

/// How the configuration spells [`OnLostRecords`].
#[derive(Deserialize)]
#[serde(remote = "OnLostRecords", rename_all = "lowercase")]
enum OnLostRecordsText {
    Stop,
    Skip,
}

/// The broker and the consumer group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port[,host:port]`.
    #[serde(deserialize_with = "text")]
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
    #[serde(with = "OnLostRecordsText")]
    pub on_lost_records: OnLostRecords,
    /// Records that the broker's log holds and nobody can read.
    #[serde(with = "OnLostRecordsText")]
    pub on_unreadable_records: OnLostRecords,
    /// How long the same offset is tried again before that, milliseconds.
    pub unreadable_after_ms: u64,
    /// Any librdkafka property.
    #[serde(deserialize_with = "properties", default)]
    pub properties: Properties,
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

/// How the configuration spells [`WhenSwitchedOn`].
#[derive(Deserialize)]
#[serde(remote = "WhenSwitchedOn", rename_all = "lowercase")]
enum WhenSwitchedOnText {
    Fill,
    Skip,
}

impl Postgres {
    /// Where its client's certificates are.
    pub fn tls_files(&self) -> Files<'_> {
        Files { section: "postgres", ca_file: &self.ca_file, cert_file: &self.cert_file, key_file: &self.key_file }
    }
}

impl ClickHouse {
    /// Where its client's certificates are.
    pub fn tls_files(&self) -> Files<'_> {
        Files { section: "clickhouse", ca_file: &self.ca_file, cert_file: &self.cert_file, key_file: &self.key_file }
    }
}

/// PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Whether rows are written; the ledger and the dead letters are here in any case.
    pub enabled: bool,
    /// Its host.
    #[serde(deserialize_with = "text")]
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
    /// A file that holds the password; empty: none.
    #[serde(deserialize_with = "path")]
    pub password_file: PathBuf,
    /// Encryption.
    pub tls: Tls,
    /// Certificate authorities, PEM; empty: the public ones.
    #[serde(deserialize_with = "path")]
    pub ca_file: PathBuf,
    /// The client's certificate, PEM; empty: none.
    #[serde(deserialize_with = "path")]
    pub cert_file: PathBuf,
    /// Its key, PEM.
    #[serde(deserialize_with = "path")]
    pub key_file: PathBuf,
    /// Of no effect; files that set it still load.
    pub pool_connections_max: usize,
    /// What is done with the records missed while off.
    #[serde(with = "WhenSwitchedOnText")]
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
    #[serde(deserialize_with = "text")]
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
    /// A file that holds the password; empty: none.
    #[serde(deserialize_with = "path")]
    pub password_file: PathBuf,
    /// Encryption.
    pub tls: Tls,
    /// Certificate authorities, PEM; empty: the public ones.
    #[serde(deserialize_with = "path")]
    pub ca_file: PathBuf,
    /// The client's certificate, PEM; empty: none.
    #[serde(deserialize_with = "path")]
    pub cert_file: PathBuf,
    /// Its key, PEM.
    #[serde(deserialize_with = "path")]
    pub key_file: PathBuf,
    /// Compression.
    pub compression: Compression,
    /// What is done with the records missed while off.
    #[serde(with = "WhenSwitchedOnText")]
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
    #[serde(deserialize_with = "text")]
    pub listen: String,
    /// A level or filter, as [`log_filter::canonical`] spells it.
    #[serde(deserialize_with = "text")]
    pub log: String,
    /// How lines look.
    pub log_format: LogFormat,
    /// Logs go to `consumer.log` in here too; empty: nowhere.
    #[serde(deserialize_with = "path")]
    pub log_dir: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of `--config` is not there.
    #[error("there is no configuration file {}", .0.display())]
    NoFile(PathBuf),
    /// The environment cannot be read.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A key or a value is wrong.
    #[error("{0}")]
    Wrong(String),
    /// A route is wrong.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Settings that do not go together.
    #[error("{0}")]
    Conflict(String),
}

/// Every mistake found, each with where it came from and its setting.
fn spell(error: &figment::Error, figment: &Figment) -> String {
    let lines = error.clone().into_iter().map(|error| {
        let path = error.path.join(".");
        let from = error.metadata.as_ref().map(called).or_else(|| origin(figment, &path)).unwrap_or_default();
        let kind = spell_kind(&error.kind);
        if path.is_empty() { format!("{from}configuration: {kind}") } else { format!("{from}setting {path}: {kind}") }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What is wrong with a value, without the value.
fn spell_kind(kind: &Kind) -> String {
    let wanted = |expected: &str| match expected {
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    };
    match kind {
        Kind::InvalidType(found, expected) => {
            format!("expected {}, found {}", wanted(&expected.to_string()), named(found))
        }
        Kind::InvalidValue(found, expected) => {
            format!("expected {}, found {} that does not fit", wanted(&expected.to_string()), named(found))
        }
        Kind::UnknownVariant(_, expected) => format!("unknown word; use one of {}", expected.join(", ")),
        Kind::UnknownField(name, expected) => format!("unknown setting {name}; known are {}", expected.join(", ")),
        // the parser of TOML shows the line itself, between bars
        Kind::Message(text) => text.lines().filter(|line| !line.contains('|')).collect::<Vec<_>>().join("; "),
        Kind::MissingField(_) | Kind::DuplicateField(_) | Kind::InvalidLength(..) => kind.to_string(),
        _ => "a value that is of no use here".to_owned(),
    }
}

fn named(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "a truth value",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Unit | Actual::Option => "nothing",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}

/// Where a setting came from, as an error begins; none for the shipped configuration.
fn origin(figment: &Figment, key: &str) -> Option<String> {
    figment.find_metadata(key).map(called)
}

fn called(metadata: &Metadata) -> String {
    match metadata.source.as_ref().and_then(figment::Source::file_path) {
        Some(file) => format!("{}: ", file.display()),
        None if metadata.name == SHIPPED => String::new(),
        None => format!("{}: ", metadata.name),
    }
}

/// The shipped configuration, as figment calls it.
const SHIPPED: &str = "TOML source string";

/// One setting by its dotted key, and what an error calls the place it came from.
struct Setting {
    key: String,
    value: Value,
    called: String,
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.called.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(nested.into_dict().map(|dict| Map::from([(Profile::Default, dict)])).unwrap_or_default())
    }
}

impl Config {
    /// Reads the configuration without any `.env`: the shipped one, `file`, the process's environment, then `flags` as dotted
    /// keys and values.
    ///
    /// # Errors
    /// As those of [`Self::load_with`].
    pub fn load(file: Option<&Path>, flags: &[(&str, Value)]) -> Result<Self, ConfigError> {
        Self::load_with(file, &Environment::of_process()?, flags)
    }

    /// Reads the configuration: the shipped one, `file`, the environment, then `flags` as dotted keys and values.
    ///
    /// # Errors
    /// A missing file, an unknown key, a value of the wrong kind, settings that do not go together.
    pub fn load_with(
        file: Option<&Path>,
        environment: &Environment,
        flags: &[(&str, Value)],
    ) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULT));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError::NoFile(file.to_owned()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        for (name, key) in OLD_NAMES {
            if let Some(variable) = environment.get(name) {
                let (value, called) = (from_environment(variable.value()), variable.called(name));
                figment = figment.merge(Setting { key: key.to_owned(), value, called });
            }
        }
        for (name, variable) in environment.own() {
            if let Some(key) = name.strip_prefix(PREFIX)
                && key.contains("__")
            {
                let key = key.to_lowercase().replace("__", ".");
                let (value, called) = (from_environment(variable.value()), variable.called(name));
                figment = figment.merge(Setting { key, value, called });
            }
        }
        for (key, value) in flags {
            let called = format!("--{}", key.rsplit('.').next().unwrap_or(key));
            figment = figment.merge(Setting { key: (*key).to_owned(), value: value.clone(), called });
        }
        let extracted = figment.extract::<Self>();
        let mut config = extracted.map_err(|error| ConfigError::Wrong(spell(&error, &figment)))?;
        if let Some(topic) = environment.get(TOPIC)
            && let Some(first) = config.routes.first_mut()
        {
            topic.value().clone_into(&mut first.topic);
        }
        config.checked(&figment)
    }

    fn checked(mut self, figment: &Figment) -> Result<Self, ConfigError> {
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        let wrong = |key: &str, why: String| {
            let from = origin(figment, key).unwrap_or_default();
            Err(ConfigError::Conflict(format!("{from}{key} {why}")))
        };
        self.telemetry.log = match log_filter::canonical(&self.telemetry.log) {
            Ok(filter) => filter,
            Err(why) => return wrong("telemetry.log", format!("is wrong: {why}")),
        };
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
            return wrong("pipeline.lanes", format!("must be 1 to {LANES_MAX}"));
        }
        if self.pipeline.batch_rows_max == 0 || self.pipeline.batch_rows_max > BATCH_ROWS_MAX {
            return wrong("pipeline.batch_rows_max", format!("must be 1 to {BATCH_ROWS_MAX}"));
        }
        if self.pipeline.budget_bytes < 4 * RECORD_BYTES_MAX {
            return wrong("pipeline.budget_bytes", format!("must be at least {}", 4 * RECORD_BYTES_MAX));
        }
        if !(RECORD_BYTES_MAX..=1 << 30).contains(&self.pipeline.batch_bytes_max) {
            return wrong("pipeline.batch_bytes_max", format!("must be {RECORD_BYTES_MAX} to {}", 1 << 30));
        }
        let milliseconds = [
            ("pipeline.sink_timeout_ms", self.pipeline.sink_timeout_ms),
            ("pipeline.drain_deadline_ms", self.pipeline.drain_deadline_ms),
        ];
        if let Some((key, _)) = milliseconds.iter().find(|(_, milliseconds)| *milliseconds == 0) {
            return wrong(key, "must be above 0".into());
        }
        if !(0.0..=1.0).contains(&self.pipeline.refused_rows_share_max) {
            return conflict("pipeline.refused_rows_share_max must be 0 to 1".into());
        }
        self.check_properties()?;
        let fill = |section: &'static str, password: &mut Secret, file: &Path| {
            let from = || origin(figment, &format!("{section}.password_file")).unwrap_or_default();
            secret::fill(section, password, file).map_err(|error| ConfigError::Conflict(format!("{}{error}", from())))
        };
        fill("postgres", &mut self.postgres.password, &self.postgres.password_file)?;
        fill("clickhouse", &mut self.clickhouse.password, &self.clickhouse.password_file)?;
        check_tls(self.postgres.tls, self.postgres.tls_files())?;
        check_tls(self.clickhouse.tls, self.clickhouse.tls_files())?;
        Ok(self)
    }

    /// Properties that would break what footprint promises, or that the group protocol refuses.
    fn check_properties(&self) -> Result<(), ConfigError> {
        kafka_properties::check(&self.kafka.properties).map_err(ConfigError::Conflict)?;
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

/// Files that are of no use, or that nothing would use: a connection must not be plain where somebody gave it certificates.
fn check_tls(tls: Tls, files: Files<'_>) -> Result<(), ConfigError> {
    let is_set = |path: &Path| !path.as_os_str().is_empty();
    let section = files.section;
    if is_set(files.cert_file) != is_set(files.key_file) {
        return Err(ConfigError::Conflict(format!(
            "{section}.cert_file and {section}.key_file belong together; set both"
        )));
    }
    if tls == Tls::On {
        tls::client_config(files).map_err(|error| ConfigError::Conflict(error.to_string()))?;
    } else if is_set(files.ca_file) || is_set(files.cert_file) {
        return Err(ConfigError::Conflict(format!(
            "{section}.ca_file or cert_file is set, and {section}.tls is off: set {section}.tls = \"on\", or take the files out"
        )));
    }
    Ok(())
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

    /// The error that a file and flags make.
    fn refused(toml: &str, flags: &[(&str, Value)]) -> String {
        let file = std::env::temp_dir().join(format!("footprint-refused-{}-{}.toml", std::process::id(), toml.len()));
        std::fs::write(&file, toml).unwrap();
        let error = Config::load(Some(&file), flags).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        error.replace(&file.display().to_string(), "FILE")
    }

    #[test]
    fn an_error_names_where_the_value_came_from_and_not_the_value() {
        for (toml, told) in [
            ("[postgres]\npassword = [\"secret\"]", "FILE: setting postgres.password: expected text"),
            ("[postgres]\npassword = \"secret", "TOML parse error at line 2"),
            ("[postgres]\npasword = \"secret\"", "FILE: setting postgres.pasword: unknown setting"),
            (
                "[postgres]\nport = \"secret\"",
                "FILE: setting postgres.port: expected a whole number from 0 to 65535, found text",
            ),
            (
                "[clickhouse]\nport = 654321",
                "FILE: setting clickhouse.port: expected a whole number from 0 to 65535, found a number",
            ),
            ("[kafka]\noffset_reset = \"secret\"", "FILE: setting kafka.offset_reset: unknown word; use one of"),
            ("[pipeline]\nlanes = 0", "FILE: pipeline.lanes must be 1 to"),
        ] {
            let error = refused(toml, &[]);
            assert!(error.contains(told) && !error.contains("secret") && !error.contains("654321"), "{error}");
        }
        let error = refused("", &[("telemetry.log", flag("verbose"))]);
        assert!(
            error.starts_with("--log: telemetry.log is wrong: \"verbose\" is no level; use error, warn"),
            "{error}"
        );
    }
}
