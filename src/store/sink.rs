//! A sink: a database that stores batches, what becomes of each, and why a write did not end.

use std::sync::Arc;

use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::Range;
use footprint_service::clickhouse::error::ClickHouseError;

use crate::batch::Batch;
use crate::ledger::ownership::Ownership;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sink has stored it durably, or had before.
    Stored,
    /// The partition is no longer ours, or the ledger is not what it was: take over again.
    Fenced,
}

/// Told once for every batch given to a writer, unless its ownership has ended.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Under whose ownership the batch was written.
    pub ownership: Arc<Ownership>,
    /// Which sink tells.
    pub sink: SinkName,
    /// What the batch covers.
    pub range: Range,
    /// What became of it.
    pub verdict: Verdict,
}

/// Why a write did not end, classed by what the writer does next.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Try again, with backoff, for ever.
    #[error("{why}")]
    Retry {
        /// What the server or the connection said.
        why: String,
        /// Whether the write may have landed.
        uncertain: bool,
    },
    /// Try again, with backoff, for [`crate::limits::UNCLEAR_TRIES_MAX`] times; then stop. The write may have landed. Whether such
    /// a refusal passes nobody has said.
    #[error("{why}")]
    Unclear {
        /// What the server said.
        why: String,
        /// What to do when it lasts.
        remedy: String,
    },
    /// Stop the program: trying again cannot help.
    #[error("{why}{}{remedy}", if .remedy.is_empty() { "" } else { "; " })]
    Stop {
        /// What the server said.
        why: String,
        /// What to do; empty where the reason says it.
        remedy: String,
    },
}

impl From<ClickHouseError> for SinkError {
    fn from(error: ClickHouseError) -> Self {
        match error {
            ClickHouseError::Passing { text: why, is_uncertain: uncertain, .. } => Self::Retry { why, uncertain },
            ClickHouseError::Unclear { text: why, remedy } => Self::Unclear { why, remedy },
            ClickHouseError::Place { text: why, remedy, .. } => Self::Stop { why, remedy },
        }
    }
}

/// A database that stores batches. One value serves one lane: its calls never overlap.
pub trait Sink: Send {
    /// Which one it is.
    fn name(&self) -> SinkName;

    /// Whether `next` may be written together with `group`.
    fn joins(&self, group: &[Arc<Batch>], next: &Batch) -> bool;

    /// Stores a group of batches, in order; what comes back is a verdict for each. `uncertain`: an earlier call with the
    /// same group ended in an error after which any of it may have landed.
    fn write(
        &mut self,
        group: &[Arc<Batch>],
        uncertain: bool,
    ) -> impl Future<Output = Result<Vec<Verdict>, SinkError>> + Send;
}
