//! Why a repair ended early. What was inserted before stays, and the next repair finishes.

use std::time::Duration;

use footprint_event::route::RouteError;
use footprint_service::kafka::AskError;
use footprint_service::postgres::{ConnectError, PostgresError};
use tokio::task::JoinError;

use crate::ledger::error::LedgerError;
use crate::store::sink::SinkError;
use crate::upkeep::verify::VerifyError;

/// Why a repair ended early.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// `verify` could not tell what is missing.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The route cannot be decoded.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// PostgreSQL cannot be reached, or must not be written.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another repair of the route is running.
    #[error(
        "another `footprint verify --repair` of route {route} is running, or a `dead-letters` command that stores or deletes (process \
         {backend} of postgresql serves it); wait for its end"
    )]
    Held {
        /// The route.
        route: String,
        /// The server process that holds the lock.
        backend: i32,
    },
    /// PostgreSQL refused, or the connection broke.
    #[error("postgresql: {what}")]
    Postgres {
        /// What was asked.
        what: &'static str,
        /// PostgreSQL's error.
        source: PostgresError,
    },
    /// PostgreSQL or ClickHouse was silent for too long.
    #[error("{who} did not answer in {waited:?}")]
    Silent {
        /// Which server.
        who: &'static str,
        /// How long.
        waited: Duration,
    },
    /// ClickHouse cannot be asked or written.
    #[error(transparent)]
    ClickHouse(SinkError),
    /// ClickHouse's answer has another form.
    #[error("clickhouse sent rows that cannot be read")]
    Malformed,
    /// Kafka does not answer.
    #[error(transparent)]
    Kafka(#[from] AskError),
    /// The topic was deleted and created again meanwhile.
    #[error("topic {0} was replaced by another of the same name meanwhile; verify again")]
    Replaced(String),
    /// A thread ended without a result.
    #[error("the thread that asks kafka ended early")]
    Thread(#[source] JoinError),
}
