//! Every setting: its type, its bounds and what it means, as data. The checks take the bounds from here, and the JSON schema,
//! `config show` and docs/configuration.md take all of it. Tests compare it with the structs of `settings.rs` and with
//! config/footprint.toml. Pure.

use footprint_event::limits::RECORD_BYTES_MAX;

use crate::limits::{BATCH_ROWS_MAX, LANES_MAX};

/// Bytes of a batch, at most: a larger batch has no use.
const BATCH_BYTES_MAX: u64 = 1 << 30;
/// The largest byte budget, 1 TiB.
const BUDGET_BYTES_MAX: u64 = 1 << 40;
/// The longest wait that a setting may ask for: an hour, in milliseconds.
const WAIT_MS_MAX: u64 = 3_600_000;
/// The longest time for which an unreadable offset is tried: a week, in milliseconds.
const UNREADABLE_MS_MAX: u64 = 7 * 24 * WAIT_MS_MAX;
/// librdkafka's own bound of `queued.max.messages.kbytes`.
const QUEUE_KBYTES_MAX: u64 = 2_097_151;
/// Old files of the log, at most.
const LOG_OLD_FILES_MAX: u64 = 1_000;
/// Hours of one file of the log, at most: ten years.
const LOG_FILE_HOURS_MAX: u64 = 87_600;

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Type {
    Text,
    /// Text that nobody is shown.
    Secret,
    /// The path of a file or a folder.
    Path,
    Boolean,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A whole number, both bounds included.
    Whole {
        min: u64,
        max: u64,
    },
    /// A number from 0 to 1.
    Share,
    /// `required`, `optional`, or a table with a default.
    Presence,
}

/// One setting. A setting of a route or of a column has only the last part of its key here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) kind: Type,
    pub(super) text: &'static str,
}

const fn setting(key: &'static str, kind: Type, text: &'static str) -> Setting {
    Setting { key, kind, text }
}

const fn whole(min: u64, max: u64) -> Type {
    Type::Whole { min, max }
}

/// The sections, in the order of config/footprint.toml.
pub(super) const SECTIONS: [(&str, &str); 6] = [
    ("kafka", "The broker and the consumer group."),
    ("postgres", "PostgreSQL: the rows, the ledger and the dead letters."),
    ("clickhouse", "ClickHouse: the rows."),
    ("pipeline", "Batches, and the bounds of memory and time."),
    ("audit", "The proof, while `run` works, that every record is stored exactly once."),
    ("telemetry", "Logs, metrics and the pages for machines."),
];

const SWITCH: Type = Type::Words(&["off", "on"]);
const LOST: Type = Type::Words(&["stop", "skip"]);
const SWITCHED_ON: Type = Type::Words(&["fill", "skip"]);
const PORT: Type = whole(1, 65_535);

/// The settings of the sections.
pub(super) const SETTINGS: &[Setting] = &[
    setting("kafka.bootstrap_servers", Type::Text, "Brokers as `host:port`, with commas between them."),
    setting("kafka.group_id", Type::Text, "The consumer group."),
    setting(
        "kafka.offset_reset",
        Type::Words(&["earliest", "latest"]),
        "Where a partition starts that neither the ledger nor another consumer's commit knows. \"latest\" is the log's end at the \
         route's first start. A partition added later starts at its log's start.",
    ),
    setting(
        "kafka.group_protocol",
        Type::Words(&["classic", "consumer"]),
        "How the group shares the partitions: \"classic\" (cooperative-sticky), or \"consumer\" (KIP-848, brokers of 4.0 and later).",
    ),
    setting(
        "kafka.session_timeout_ms",
        whole(1, WAIT_MS_MAX),
        "How long the group waits for a silent consumer, milliseconds. Brokers allow 6000 and more by default. Not sent under \
         group_protocol = \"consumer\", where the broker decides.",
    ),
    setting(
        "kafka.instance_name",
        Type::Text,
        "A name that no other instance has (static membership): after a crash, the group admits the same name at once. Empty: none.",
    ),
    setting(
        "kafka.queue_kbytes_max",
        whole(1, QUEUE_KBYTES_MAX),
        "What librdkafka may hold in addition to the byte budget, KiB.",
    ),
    setting(
        "kafka.on_lost_records",
        LOST,
        "When retention has deleted records that were never stored: \"stop\", or \"skip\": record the gap in footprint_gap and continue.",
    ),
    setting(
        "kafka.on_unreadable_records",
        LOST,
        "When the broker holds records that cannot be read, such as a batch with a flipped bit: \"stop\" and name the offset, or \
         \"skip\": record the gap in footprint_gap and continue behind it.",
    ),
    setting(
        "kafka.unreadable_after_ms",
        whole(0, UNREADABLE_MS_MAX),
        "How long such an offset is read again before that, milliseconds.",
    ),
    setting(
        "postgres.enabled",
        Type::Boolean,
        "Whether rows are written. The ledger and the dead letters stay here in both cases.",
    ),
    setting("postgres.host", Type::Text, "A name, or an address (IPv6 with or without brackets)."),
    setting("postgres.port", PORT, "The TCP port."),
    setting("postgres.database", Type::Text, "The database. Its encoding must be UTF8."),
    setting(
        "postgres.schema",
        Type::Text,
        "The schema of the ledger, the dead letters and every table whose name has none. Empty: where the ledger is; before the \
         first `migrate`, the first schema of the user's search_path.",
    ),
    setting("postgres.user", Type::Text, "The user that connects."),
    setting("postgres.password", Type::Secret, "The user's password."),
    setting(
        "postgres.password_file",
        Type::Path,
        "A file that holds the password. One line end at its end is cut off. Empty: none.",
    ),
    setting(
        "postgres.tls",
        SWITCH,
        "\"on\": TLS 1.2 or 1.3, the server's certificate and name verified, and never plain.",
    ),
    setting("postgres.ca_file", Type::Path, "A PEM file of certificate authorities. Empty: the public ones."),
    setting(
        "postgres.cert_file",
        Type::Path,
        "A PEM file with the client's certificate, if the server asks for one. Empty: none.",
    ),
    setting("postgres.key_file", Type::Path, "A PEM file with the key of that certificate."),
    setting(
        "postgres.pool_connections_max",
        whole(0, 1_000),
        "Connections that `verify` or `check` has open at a time. 0 means 1. `run` has its own: one for the ledger and one for each lane.",
    ),
    setting(
        "postgres.when_switched_on",
        SWITCHED_ON,
        "After PostgreSQL was switched off and on again: \"fill\" from where it stopped, or \"skip\" to now and record the gap.",
    ),
    setting("clickhouse.enabled", Type::Boolean, "Whether rows are written."),
    setting("clickhouse.host", Type::Text, "A name, or an address (IPv6 with or without brackets)."),
    setting("clickhouse.port", PORT, "The HTTP port."),
    setting("clickhouse.database", Type::Text, "The database of tables whose name has none."),
    setting("clickhouse.user", Type::Text, "The user that connects."),
    setting("clickhouse.password", Type::Secret, "The user's password."),
    setting(
        "clickhouse.password_file",
        Type::Path,
        "A file that holds the password. One line end at its end is cut off. Empty: none.",
    ),
    setting(
        "clickhouse.tls",
        SWITCH,
        "\"on\": TLS 1.2 or 1.3, the server's certificate and name verified, and never plain.",
    ),
    setting("clickhouse.ca_file", Type::Path, "A PEM file of certificate authorities. Empty: the public ones."),
    setting(
        "clickhouse.cert_file",
        Type::Path,
        "A PEM file with the client's certificate, if the server asks for one. Empty: none.",
    ),
    setting("clickhouse.key_file", Type::Path, "A PEM file with the key of that certificate."),
    setting(
        "clickhouse.compression",
        Type::Words(&["auto", "lz4", "off"]),
        "How requests and answers are compressed. \"auto\": lz4 unless the server is on this machine.",
    ),
    setting(
        "clickhouse.when_switched_on",
        SWITCHED_ON,
        "After ClickHouse was switched off and on again: \"fill\" from where it stopped, or \"skip\" to now and record the gap.",
    ),
    setting(
        "pipeline.budget_bytes",
        whole(4 * RECORD_BYTES_MAX as u64, BUDGET_BYTES_MAX),
        "Bytes of everything under way: payloads, columns and wire buffers.",
    ),
    setting(
        "pipeline.batch_rows_max",
        whole(1, BATCH_ROWS_MAX as u64),
        "Rows of a batch, at most. While the log holds more and this number of rows is under way, an incomplete batch waits. So \
         batches of a backlog grow to this.",
    ),
    setting(
        "pipeline.batch_bytes_max",
        whole(RECORD_BYTES_MAX as u64, BATCH_BYTES_MAX),
        "Payload bytes of a batch, at most.",
    ),
    setting("pipeline.linger_ms", whole(0, WAIT_MS_MAX), "How long an incomplete batch waits for more, milliseconds."),
    setting(
        "pipeline.lanes",
        whole(1, LANES_MAX as u64),
        "Connections to each database that write at the same time. A partition's batches use one at a time.",
    ),
    setting(
        "pipeline.drain_deadline_ms",
        whole(1, WAIT_MS_MAX),
        "How long a stop or a revoke waits for what is under way, milliseconds.",
    ),
    setting(
        "pipeline.sink_timeout_ms",
        whole(1, WAIT_MS_MAX),
        "A write is given up when its database gives no sign of life for this number of milliseconds. While something moves, or the \
         server says that it works, a write may take longer: up to ten times this after the last byte.",
    ),
    setting(
        "pipeline.refused_rows_share_max",
        Type::Share,
        "A row that one database refuses becomes a dead letter for that database alone. If more than this share of a batch's rows \
         is refused, and more than 100, the program stops and names the first instead.",
    ),
    setting(
        "audit.cpu_percent",
        whole(0, 100),
        "While `run` works, ranges of stored rows are compared with Kafka and with the other database. This is the share of one \
         processor core that it may use, percent. 0: no audit.",
    ),
    setting(
        "telemetry.listen",
        Type::Text,
        "The address of /metrics, /livez, /readyz and /status. Port 0: a free one. Empty: none.",
    ),
    setting(
        "telemetry.log",
        Type::Text,
        "How much is logged: error, warn, info, debug, trace or off, Python's words too, or a filter such as \"footprint=debug,warn\".",
    ),
    setting(
        "telemetry.log_format",
        Type::Words(&["auto", "text", "json"]),
        "How a line of the log looks. \"json\": one object a line. \"auto\": text on a terminal, JSON anywhere else.",
    ),
    setting(
        "telemetry.log_dir",
        Type::Path,
        "Logs also go to consumer.log in this folder. Only its owner may read it. Empty: none.",
    ),
    setting(
        "telemetry.log_file_bytes_max",
        whole(4_096, BUDGET_BYTES_MAX),
        "Bytes above which consumer.log becomes consumer.log.1.",
    ),
    setting("telemetry.log_file_hours_max", whole(1, LOG_FILE_HOURS_MAX), "Hours after which it does so too."),
    setting(
        "telemetry.log_old_files_max",
        whole(1, LOG_OLD_FILES_MAX),
        "Old files that are kept: consumer.log.1 is the newest. If logrotate moves the file instead, it is opened again by itself.",
    ),
];

/// What `kafka.properties` means.
pub(super) const PROPERTIES: &str = "Any librdkafka property, except those that would break a promise of footprint. Quoted or dotted keys mean the same.";

/// What a route is.
pub(super) const ROUTES: &str = "How the events of each topic become rows of two tables.";

/// The settings of a route, except its columns.
pub(super) const ROUTE: &[Setting] = &[
    setting("name", Type::Text, "The route's name: its key in the ledger."),
    setting("topic", Type::Text, "The Kafka topic."),
    setting("postgres_table", Type::Text, "PostgreSQL's table, `table` or `schema.table`."),
    setting("clickhouse_table", Type::Text, "ClickHouse's table, `table` or `database.table`."),
    setting("timezone", Type::Text, "The zone of times without an offset, an IANA name."),
];

/// The settings of a route that need not be given, and their defaults.
pub(super) const ROUTE_DEFAULTS: [(&str, &str); 1] = [("timezone", "UTC")];

/// What the columns are.
pub(super) const COLUMNS: &str = "The columns of both tables, in their order.";

/// The settings of a column.
pub(super) const COLUMN: &[Setting] = &[
    setting("name", Type::Text, "The column's name in both databases."),
    setting("field", Type::Text, "The event's JSON field. By default, the column's name."),
    setting(
        "kind",
        Type::Words(&["text", "timestamp", "integer", "float", "boolean", "uuid"]),
        "The kind of its values. A uuid is text such as \"550e8400-e29b-41d4-a716-446655440000\", in either case.",
    ),
    setting(
        "presence",
        Type::Presence,
        "The meaning of a missing field: \"required\" (the record becomes a dead letter), \"optional\" (null), or { default = value }.",
    ),
    setting(
        "low_cardinality",
        Type::Boolean,
        "There are few distinct values, so ClickHouse keeps a dictionary. Only for text.",
    ),
];

/// The settings of a column that must be given.
pub(super) const COLUMN_REQUIRED: [&str; 2] = ["name", "kind"];

/// The settings of one section.
pub(super) fn of_section(section: &str) -> impl Iterator<Item = (&'static str, &'static Setting)> {
    SETTINGS.iter().filter_map(move |setting| {
        let (own, name) = setting.key.split_once('.')?;
        (own == section).then_some((name, setting))
    })
}
