//! The status of a pipeline, as plain values for telemetry and the commands.

use std::time::Instant;

use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::{Offset, Partition};

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

/// A partition that the process owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Its number.
    pub partition: Partition,
    /// Claims that not every sink has stored.
    pub claims_pending: usize,
    /// The frontier of PostgreSQL's rows, as the ledger knows it. None: off.
    pub postgres_next: Option<Offset>,
    /// The frontier of ClickHouse's rows. None: off.
    pub clickhouse_next: Option<Offset>,
    /// The log's end, as it was last asked. None: not yet.
    pub log_end: Option<Offset>,
}

impl PartitionView {
    /// Records between the lowest frontier and the log's end.
    pub fn lag(&self) -> Option<i64> {
        let lowest = self.postgres_next.into_iter().chain(self.clickhouse_next).min()?;
        self.log_end.map(|end| end.saturating_sub(lowest).max(0))
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
    /// The partitions owned, in order.
    pub partitions: Vec<PartitionView>,
}

/// What the audit knows of a partition that the process owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Its number.
    pub partition: Partition,
    /// Everything below it is proven.
    pub proven_below: Offset,
    /// When a range of it was last proven. None: not since the process has it.
    pub proven_at: Option<Instant>,
    /// Ranges in which a fault was found that is still there.
    pub faulty_ranges: usize,
}
