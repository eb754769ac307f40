//! The status of a pipeline, as plain values for telemetry and the commands.

use std::time::{Duration, Instant, SystemTime};

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

/// A partition that the process owns. Ages are kept as moments, so they go on growing if the pipeline hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Its number.
    pub partition: Partition,
    /// Claims that not every sink has stored.
    pub claims_pending: usize,
    /// When the oldest of them was made, or found by the take-over.
    pub claim_since: Option<Instant>,
    /// The frontier of PostgreSQL's rows, as the ledger knows it. None: off.
    pub postgres_next: Option<Offset>,
    /// The frontier of ClickHouse's rows. None: off.
    pub clickhouse_next: Option<Offset>,
    /// The log's end, as it was last asked. None: not yet.
    pub log_end: Option<Offset>,
    /// When Kafka received the oldest record that is not stored in every sink. None: there is none.
    pub oldest_received: Option<SystemTime>,
    /// Since when there is lag and no frontier has moved. None: there is no lag.
    pub stuck_since: Option<Instant>,
    /// When Kafka is estimated to delete the oldest record that is not stored in every sink. None: not known, or there is no lag.
    pub overtaken_at: Option<Instant>,
    /// Records that wait behind an open transaction. None: not known yet.
    pub behind_open_transaction: Option<i64>,
}

impl PartitionView {
    /// Records between the lowest frontier and the log's end.
    pub fn lag(&self) -> Option<i64> {
        let lowest = self.postgres_next.into_iter().chain(self.clickhouse_next).min()?;
        self.log_end.map(|end| end.saturating_sub(lowest).max(0))
    }

    /// How long ago Kafka received the oldest record that is not stored in every sink. None: it is not known whether there is one.
    pub fn lag_age(&self, now: SystemTime) -> Option<Duration> {
        let age = |at| now.duration_since(at).unwrap_or_default();
        self.oldest_received.map(age).or_else(|| self.log_end.map(|_| Duration::ZERO))
    }

    /// The age of the oldest pending claim. Zero: none is pending.
    pub fn claim_age(&self, now: Instant) -> Duration {
        self.claim_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// How long no frontier has moved although there is lag.
    pub fn progress_age(&self, now: Instant) -> Duration {
        self.stuck_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// How long it takes until Kafka deletes the oldest record that is not stored in every sink. Zero: it may be deleted already.
    pub fn retention_left(&self, now: Instant) -> Option<Duration> {
        self.overtaken_at.map(|at| at.saturating_duration_since(now))
    }
}

/// A broker that the consumer's client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerView {
    /// Host and port.
    pub name: String,
    /// The mean time of a request. None: nothing was asked in the last seconds.
    pub round_trip: Option<Duration>,
    /// How long the broker makes the client wait, on average.
    pub throttle: Duration,
    /// Errors of the connection since the client began.
    pub errors: u64,
}

/// One lane to the databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneView {
    /// Partitions with batches in it.
    pub partitions: usize,
    /// Batches that its fuller writer has not begun.
    pub batches_waiting: usize,
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
    /// The lanes, in order.
    pub lanes: Vec<LaneView>,
    /// The brokers, by name.
    pub brokers: Vec<BrokerView>,
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
