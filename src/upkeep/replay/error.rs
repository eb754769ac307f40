//! Why a replay ends early. Every batch before is stored; the one that had begun is finished by the next replay.

use std::time::Duration;

use footprint_event::definition::Unusable;
use footprint_event::route::RouteError;
use footprint_service::postgres::ConnectError;
use footprint_service::report::Remedy;

use crate::ledger::error::LedgerError;
use crate::store::postgres::identities::NotCopied;
use crate::store::write_failure::WriteFailure;

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No connection to PostgreSQL.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The ledger refuses or does not answer.
    #[error(transparent)]
    Ledger(LedgerError),
    /// PostgreSQL refuses.
    #[error("postgresql: {what}")]
    Postgres {
        /// What was tried.
        what: &'static str,
        /// PostgreSQL's words, and what to do.
        source: Remedy,
    },
    /// PostgreSQL does not answer.
    #[error("postgresql: {what}: no answer in {waited:?}; run the command again")]
    Silent {
        /// What was tried.
        what: &'static str,
        /// For how long.
        waited: Duration,
    },
    /// ClickHouse refuses or does not answer.
    #[error(transparent)]
    ClickHouse(#[from] WriteFailure),
    /// PostgreSQL takes no row.
    #[error(transparent)]
    NotCopied(#[from] NotCopied),
    /// The route cannot be decoded.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Another process works on the route's dead letters.
    #[error("another `dead-letters replay` or `purge`, or `verify --repair`, of route {0} runs; wait for its end")]
    Busy(String),
    /// Somebody else deleted or changed dead letters of the batch.
    #[error(
        "dead letters were changed while they were stored again, and nothing of the batch was kept; run the command again"
    )]
    Changed,
    /// The definition of a batch that has begun is not in the ledger.
    #[error(
        "a replay that was interrupted used a definition of the route that the ledger does not have; run `footprint verify`"
    )]
    NoDefinition,
    /// The definition of a batch that has begun is another program's.
    #[error("a replay that was interrupted must be finished by the version of footprint that began it")]
    Definition(#[source] Unusable),
}
