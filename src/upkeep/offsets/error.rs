//! Why the offsets of a partition are not shown or changed.

use std::time::Duration;

use footprint_protocol::by_hand::NotChanged;
use footprint_protocol::offset::{Offset, Partition};
use footprint_service::kafka::AskError;
use footprint_service::postgres::{ConnectError, PostgresError};
use footprint_service::report::Remedy;

use crate::ledger::error::LedgerError;
use crate::store::sink::SinkError;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// The ledger refuses or does not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No connection to PostgreSQL.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// PostgreSQL refuses.
    #[error("postgresql: {what}")]
    Postgres {
        /// What was tried.
        what: &'static str,
        /// PostgreSQL's words.
        source: PostgresError,
    },
    /// PostgreSQL does not answer.
    #[error("postgresql: {what}: no answer in {waited:?}")]
    Silent {
        /// What was tried.
        what: &'static str,
        /// For how long.
        waited: Duration,
    },
    /// ClickHouse refuses or does not answer.
    #[error(transparent)]
    ClickHouse(Box<SinkError>),
    /// Kafka does not answer.
    #[error("kafka at {bootstrap_servers}")]
    Kafka {
        /// The brokers asked.
        bootstrap_servers: String,
        /// Why.
        source: AskError,
    },
    /// The thread that asks Kafka ended without an answer.
    #[error("the thread that asks kafka ended early")]
    Thread(#[source] tokio::task::JoinError),
    /// The ledger does not know the partition.
    #[error("the ledger does not know partition {partition} of route {route}: nothing has been read of it")]
    UnknownPartition {
        /// The route.
        route: String,
        /// The partition.
        partition: Partition,
    },
    /// The row allows no such change.
    #[error("partition {partition}, offset {to}")]
    NotChanged {
        /// The partition.
        partition: Partition,
        /// The wanted offset.
        to: Offset,
        /// Why.
        source: NotChanged,
    },
    /// Retention has deleted nothing that is not stored.
    #[error(
        "partition {partition}: nothing is lost: the log starts at {log_start}, and everything below {stored_below} is stored"
    )]
    NothingLost {
        /// The partition.
        partition: Partition,
        /// The log's start.
        log_start: Offset,
        /// The lowest frontier.
        stored_below: Offset,
    },
    /// A table holds rows that would be stored again.
    #[error(
        "{database} holds {rows} rows of partition {partition} at offset {to} or above, the last at {last}: they would be stored twice"
    )]
    Held {
        /// The database.
        database: &'static str,
        /// The partition.
        partition: Partition,
        /// The wanted offset.
        to: Offset,
        /// The number of rows.
        rows: u64,
        /// The highest offset.
        last: Offset,
        /// What to do.
        source: Remedy,
    },
    /// A consumer still has the partition.
    #[error("partition {partition} is in use by {owner}; stop the consumers of route {route} first")]
    InUse {
        /// The route.
        route: String,
        /// The partition.
        partition: Partition,
        /// The consumer.
        owner: String,
    },
    /// A consumer has taken the partition over meanwhile.
    #[error(
        "a consumer has taken partition {partition} over meanwhile, and nothing was changed; stop the consumers of route {route}"
    )]
    TakenOver {
        /// The route.
        route: String,
        /// The partition.
        partition: Partition,
    },
    /// A replay or a repair of the route's rows runs, or was interrupted.
    #[error(
        "dead letters of route {0} are being stored again, or a repair runs: let `dead-letters replay` or `verify --repair` end first"
    )]
    Busy(String),
}

impl From<SinkError> for OffsetsError {
    fn from(error: SinkError) -> Self {
        Self::ClickHouse(Box::new(error))
    }
}
