//! The settings by section, as the program uses them. config/footprint.toml says what they mean.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use footprint_protocol::take_over::{OnLostRecords, WhenSwitchedOn};
use serde::Deserialize;

use crate::secret::Secret;
use crate::tls::Files;

/// librdkafka's properties by name. Some values are secrets, so no log shows any.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
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

/// Where a partition starts that neither the ledger nor a commit knows.
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

/// How the group shares the partitions.
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
    pub bootstrap_servers: String,
    /// The consumer group.
    pub group_id: String,
    /// Where an unknown partition starts.
    pub offset_reset: OffsetReset,
    /// How the group shares the partitions.
    pub group_protocol: GroupProtocol,
    /// How long the group waits for a silent member, milliseconds. Only for the classic protocol.
    pub session_timeout_ms: u32,
    /// `group.instance.id`, or empty.
    pub instance_name: String,
    /// librdkafka's own queue, KiB.
    pub queue_kbytes_max: u32,
    /// What happens when retention has deleted records that were never stored.
    #[serde(with = "OnLostRecordsText")]
    pub on_lost_records: OnLostRecords,
    /// What happens when the broker's log holds records that cannot be read.
    #[serde(with = "OnLostRecordsText")]
    pub on_unreadable_records: OnLostRecords,
    /// How long an offset is tried again before that, milliseconds.
    pub unreadable_after_ms: u64,
    /// Further properties of librdkafka.
    #[serde(default)]
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

/// PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Whether rows are written. The ledger and the dead letters are here in both cases.
    pub enabled: bool,
    /// A name or an address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The database of the tables.
    pub database: String,
    /// The schema of tables whose name has none. Empty: where the ledger is.
    pub schema: String,
    /// The user that connects.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// A file that holds the password; empty: none.
    pub password_file: PathBuf,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// Certificate authorities, PEM; empty: the public ones.
    pub ca_file: PathBuf,
    /// The client's certificate, PEM; empty: none.
    pub cert_file: PathBuf,
    /// The key of that certificate, PEM.
    pub key_file: PathBuf,
    /// Connections that one command (`verify`, `check`) has open at a time, at most; 0 means 1.
    pub pool_connections_max: usize,
    /// What happens to the records that were missed while this sink was off.
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
    /// A name or an address.
    pub host: String,
    /// The HTTP port.
    pub port: u16,
    /// The database of the tables.
    pub database: String,
    /// The user that connects.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// A file that holds the password; empty: none.
    pub password_file: PathBuf,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// Certificate authorities, PEM; empty: the public ones.
    pub ca_file: PathBuf,
    /// The client's certificate, PEM; empty: none.
    pub cert_file: PathBuf,
    /// The key of that certificate, PEM.
    pub key_file: PathBuf,
    /// How requests and answers are compressed.
    pub compression: Compression,
    /// What happens to the records that were missed while this sink was off.
    #[serde(with = "WhenSwitchedOnText")]
    pub when_switched_on: WhenSwitchedOn,
}

impl Postgres {
    /// The files of a connection's TLS.
    pub(crate) fn tls_files(&self) -> Files<'_> {
        Files { section: "postgres", ca_file: &self.ca_file, cert_file: &self.cert_file, key_file: &self.key_file }
    }
}

impl ClickHouse {
    /// The files of a connection's TLS.
    pub(crate) fn tls_files(&self) -> Files<'_> {
        Files { section: "clickhouse", ca_file: &self.ca_file, cert_file: &self.cert_file, key_file: &self.key_file }
    }
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
    /// Connections to each database that write at the same time.
    pub lanes: usize,
    /// How long a stop or a revoke waits for batches under way, milliseconds.
    pub drain_deadline_ms: u64,
    /// How long a database may give no sign of life during a write, milliseconds.
    pub sink_timeout_ms: u64,
    /// The share of a batch's rows that one database may refuse. Each becomes a dead letter.
    pub refused_rows_share_max: f64,
}

/// The audit: the proof that exactly once held, while `run` works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The share of one processor core that it may use, percent. 0: there is no audit.
    pub cpu_percent: u32,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON anywhere else.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Logs and metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The address of `/metrics`, `/livez` and `/readyz`. Empty: none.
    pub listen: String,
    /// A level or a filter, as `log_filter::canonical` spells it.
    pub log: String,
    /// The form of a line.
    pub log_format: LogFormat,
    /// The directory of `consumer.log`. Empty: logs go only to standard error.
    pub log_dir: PathBuf,
    /// Bytes of `consumer.log` above which it is rotated.
    pub log_file_bytes_max: u64,
    /// Hours after which it is rotated.
    pub log_file_hours_max: u64,
    /// Old files that are kept.
    pub log_old_files_max: usize,
}
