//! The status of a pipeline, as plain values for telemetry and the commands.

use std::time::Instant;

use footprint_protocol::ledger::SourceId;

/// What was moved since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Records given to the writers, as rows or dead letters.
    pub records: u64,
    /// When the first of them was read.
    pub first_read_at: Option<Instant>,
    /// When a sink last acknowledged a batch.
    pub last_stored_at: Option<Instant>,
}

impl Moved {
    /// Adds the two.
    pub fn and(self, other: Self) -> Self {
        let earlier = |one: Option<Instant>, other: Option<Instant>| one.into_iter().chain(other).min();
        Self {
            records: self.records + other.records,
            first_read_at: earlier(self.first_read_at, other.first_read_at),
            last_stored_at: self.last_stored_at.max(other.last_stored_at),
        }
    }
}

/// The visible state of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The source that is read.
    pub source: Option<SourceId>,
    /// Partitions owned.
    pub owned: usize,
    /// What was moved so far.
    pub moved: Moved,
}
