//! Errors of the ledger, classed by what the caller does next.

use std::time::Duration;

use footprint_protocol::ledger::SourceId;
use footprint_service::postgres::error::{Class, During, class, remedy};
use footprint_service::postgres::{ConnectError, PostgresError};
use footprint_service::report::Remedy;
use tokio_postgres::Error;

/// Why the ledger did not execute a request.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The connection is lost: every proof is void.
    #[error("ledger: connection lost")]
    Lost(#[source] PostgresError),
    /// No answer came in time: the connection is given up, and every proof is void.
    #[error("ledger: connection given up: no answer in {0:?}")]
    Silent(Duration),
    /// PostgreSQL gave an answer that the statement cannot have. The connection is given up, and every proof is void.
    #[error("ledger: connection given up: {0}")]
    Unexpected(&'static str),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another session kept a row locked for too long. The statement changed nothing.
    #[error("ledger: a row stayed locked")]
    Locked(#[source] PostgresError),
    /// PostgreSQL rolled the statement back, because of a deadlock or a conflict. It changed nothing.
    #[error("ledger: a statement was undone")]
    Undone(#[source] PostgresError),
    /// PostgreSQL refuses for now: it shuts down, is read-only, or has no connection left.
    #[error("ledger: refused for now")]
    Passing(#[source] PostgresError),
    /// PostgreSQL refuses and will refuse again.
    #[error("ledger: refused")]
    Refused(#[source] Remedy),
    /// Two topics have the same id.
    #[error(
        "source id {0} belongs to topic {1:?} already: a hash collision; recreate the topic to get another topic id"
    )]
    Collision(SourceId, String),
}

impl From<Error> for LedgerError {
    fn from(error: Error) -> Self {
        let code = error.code().map(|code| code.code().to_owned());
        let class = class(error.code(), During::Statement);
        let (is_closed, what_to_do) = (error.is_closed(), remedy(&error));
        let error = PostgresError::from(error);
        match code.as_deref() {
            None => Self::Lost(error),
            Some("55P03") => Self::Locked(error),
            // 40003 means that it is unknown whether the statement was executed
            Some(code) if code.starts_with("40") && code != "40003" => Self::Undone(error),
            Some(_) if is_closed => Self::Lost(error),
            Some(code) if code.starts_with("08") || code.starts_with("57P") => Self::Lost(error),
            Some(_) if class == Class::Passing => Self::Passing(error),
            Some("42501") => {
                let what_to_do = "run `footprint check`: it names each right that the user lacks";
                Self::Refused(Remedy::new(what_to_do, error))
            }
            Some(_) => Self::Refused(Remedy::new(what_to_do, error)),
        }
    }
}

impl LedgerError {
    /// Whether the connection cannot be used any more.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Silent(_) | Self::Unexpected(_))
    }

    /// Whether trying again can help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Lost(_)
            | Self::Silent(_)
            | Self::Unexpected(_)
            | Self::Locked(_)
            | Self::Undone(_)
            | Self::Passing(_) => true,
            Self::Connect(error) => footprint_service::postgres::is_passing_connect(error),
            Self::Refused(_) | Self::Collision(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use footprint_service::report::{causes, printed_once};

    use super::*;

    fn postgres_error() -> Error {
        "port=none".parse::<tokio_postgres::Config>().unwrap_err()
    }

    #[test]
    fn each_error_tells_its_cause_once_and_what_to_do_last() {
        const WHY: &str = "invalid connection string: invalid value for option `port`";
        let cases = [
            (LedgerError::from(postgres_error()), format!("ledger: connection lost: {WHY}")),
            (LedgerError::Silent(Duration::from_secs(20)), "ledger: connection given up: no answer in 20s".to_owned()),
            (LedgerError::Locked(postgres_error().into()), format!("ledger: a row stayed locked: {WHY}")),
            (LedgerError::Undone(postgres_error().into()), format!("ledger: a statement was undone: {WHY}")),
            (LedgerError::Passing(postgres_error().into()), format!("ledger: refused for now: {WHY}")),
            (
                LedgerError::Refused(Remedy::new("run `footprint migrate`", PostgresError::from(postgres_error()))),
                format!("ledger: refused: {WHY}; run `footprint migrate`"),
            ),
            (
                LedgerError::from(ConnectError::timed_out("db:5432/visits".into())),
                "postgresql at db:5432/visits did not answer in 10s; is it up, is DB_HOST right?".to_owned(),
            ),
        ];
        for (error, told) in cases {
            assert_eq!(printed_once(&error), told);
        }
        assert_eq!(causes(&LedgerError::from(postgres_error())).count(), 3, "every cause is there");
    }
}
