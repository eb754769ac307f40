//! Why a pipeline ended early, which component that is about, and whether running it again may help.

use std::error::Error;
use std::fmt;

use footprint_protocol::ledger::SinkName;
use footprint_protocol::take_over::Corrupt;
use footprint_service::health::Component;
use footprint_service::kafka::AskError;
use footprint_service::report::{Cause, Remedy, causes};
use tokio::task::JoinError;

use crate::ledger::statements::LedgerError;
use crate::store::sink::SinkError;

/// Why a pipeline ended early.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The protocol or a server demands a stop: a person must act.
    #[error(transparent)]
    Stop(Cause),
    /// The reader's thread could not be started.
    #[error("no thread for the reader")]
    Thread(#[source] std::io::Error),
    /// A task ended without its result.
    #[error("{what} failed")]
    Task {
        /// The name of the task.
        what: &'static str,
        /// The task's panic.
        source: Remedy,
    },
    /// A sink gave an error that no retry can help.
    #[error(transparent)]
    Sink(Box<SinkStop>),
    /// The ledger gave an error that no retry can help.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Kafka gave an error that no retry can help.
    #[error(transparent)]
    Kafka(#[from] AskError),
}

/// Why a sink stops the pipeline: the error of its writer.
#[derive(Debug)]
pub struct SinkStop {
    /// The sink.
    pub sink: SinkName,
    /// Its error.
    pub error: SinkError,
}

impl fmt::Display for SinkStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for SinkStop {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl PipelineError {
    /// The component that the error is about.
    pub fn component(&self) -> Component {
        match self {
            Self::Sink(stop) => match stop.sink {
                SinkName::Postgres => Component::Postgres,
                SinkName::ClickHouse => Component::ClickHouse,
            },
            Self::Ledger(_) => Component::Ledger,
            Self::Kafka(_) => Component::Kafka,
            Self::Thread(_) => Component::Reader,
            Self::Stop(_) | Self::Task { .. } => Component::Coordinator,
        }
    }

    /// Whether the route must not be run again by itself: going on would risk data, or cannot help before the program is started anew.
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Task { .. } | Self::Thread(_) | Self::Kafka(AskError::Client(_)) => true,
            // the ledger, the log and the topic do not fit together
            Self::Stop(cause) => causes(&**cause).any(|cause| cause.is::<Corrupt>()),
            Self::Sink(_) | Self::Ledger(_) | Self::Kafka(_) => false,
        }
    }

    /// The error for a task that panicked.
    pub fn task(what: &'static str, error: JoinError) -> Self {
        Self::Task { what, source: Remedy::new("please report it", error) }
    }
}
