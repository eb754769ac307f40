//! Why the ledger did not answer, classed by what its callers do.

use footprint_protocol::ledger::SourceId;
use footprint_service::postgres::error::{Class, During, class, remedy};
use footprint_service::postgres::{ConnectError, describe};
use tokio_postgres::Error;

/// Why the ledger did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The connection is lost, or no answer came in time: every proof is void.
    #[error("ledger: connection lost: {0}")]
    Lost(String),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A row is locked by somebody who does not let go. Nothing of the statement landed.
    #[error("ledger: a row stayed locked: {0}")]
    Locked(String),
    /// PostgreSQL undid the statement, as the victim of a deadlock or of another transaction. Nothing of it landed.
    #[error("ledger: a statement was undone: {0}")]
    Undone(String),
    /// A passing refusal: shutting down, read-only, out of connections.
    #[error("ledger: {0}; trying again")]
    Passing(String),
    /// PostgreSQL refuses and will refuse again.
    #[error("ledger: {0}; {1}")]
    Refused(String, String),
    /// Two topics with one id.
    #[error(
        "source id {0} belongs to topic {1:?} already: a hash collision; recreate the topic to get another topic id"
    )]
    Collision(SourceId, String),
}

impl LedgerError {
    pub(super) fn of(error: &Error) -> Self {
        let text = describe(error);
        let Some(code) = error.code() else {
            return Self::Lost(text);
        };
        match code.code() {
            "55P03" => Self::Locked(text),
            // 40003 says itself that nobody knows whether the statement landed
            code if code.starts_with("40") && code != "40003" => Self::Undone(text),
            _ if error.is_closed() => Self::Lost(text),
            code if code.starts_with("08") || code.starts_with("57P") => Self::Lost(text),
            _ if class(Some(code), During::Statement) == Class::Passing => Self::Passing(text),
            "42501" => Self::Refused(text, "run `footprint check`: it names each right that the user lacks".into()),
            _ => Self::Refused(text, remedy(error)),
        }
    }

    /// Whether trying again can help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Locked(_) | Self::Undone(_) | Self::Passing(_) => true,
            Self::Connect(error) => footprint_service::postgres::is_passing_connect(error),
            Self::Refused(..) | Self::Collision(..) => false,
        }
    }
}
