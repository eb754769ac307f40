//! The interface of a sink, a database that stores batches: its verdicts, and the errors of a write.

use std::sync::Arc;

use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::Range;
use footprint_service::clickhouse::error::ClickHouseError;

use crate::batch::Batch;
use crate::ledger::ownership::Ownership;
use crate::store::write_failure::WriteFailure;

/// How the write of a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sink has stored the batch durably, now or earlier.
    Stored,
    /// The partition is no longer ours, or the ledger has changed. The partition must be taken over again.
    Fenced,
}

/// The acknowledgement of a batch. A writer sends one for every batch, unless the batch's ownership has ended.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The ownership under which the batch was written.
    pub ownership: Arc<Ownership>,
    /// The sink that wrote it.
    pub sink: SinkName,
    /// The batch's range.
    pub range: Range,
    /// Whether the batch is stored.
    pub verdict: Verdict,
}

/// Why a write failed, classed by what the writer does next.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Try again, with backoff and without end. Nothing of this write has landed.
    #[error(transparent)]
    Retry(WriteFailure),
    /// Try again, with backoff and without end. The write may have landed.
    #[error(transparent)]
    Uncertain(WriteFailure),
    /// Try again, with backoff, [`crate::limits::UNCLEAR_TRIES_MAX`] times; then stop. It is not known whether such a refusal passes. The
    /// write may have landed.
    #[error(transparent)]
    Unclear(WriteFailure),
    /// A person must act. Until then trying again does not help.
    #[error(transparent)]
    Stop(WriteFailure),
}

impl From<ClickHouseError> for SinkError {
    fn from(error: ClickHouseError) -> Self {
        let class = match &error {
            ClickHouseError::Passing { is_uncertain: true, .. } => Self::Uncertain,
            ClickHouseError::Passing { is_uncertain: false, .. } => Self::Retry,
            ClickHouseError::Unclear { .. } => Self::Unclear,
            ClickHouseError::Place { .. } => Self::Stop,
        };
        class(WriteFailure::ClickHouse(error))
    }
}

/// A database that stores batches. One value is for one lane, and its calls never overlap.
pub trait Sink: Send {
    /// Which database it is.
    fn name(&self) -> SinkName;

    /// Whether `next` may be written together with `group`.
    fn joins(&self, group: &[Arc<Batch>], next: &Batch) -> bool;

    /// Stores a group of batches, in order, and returns a verdict for each. `uncertain`: an earlier call with the same group failed, and
    /// any part of the group may have landed.
    fn write(
        &mut self,
        group: &[Arc<Batch>],
        uncertain: bool,
    ) -> impl Future<Output = Result<Vec<Verdict>, SinkError>> + Send;
}
