//! Batches. Chunks are decoded into the columns of one partition's range `[start, end)`, cut, and counted while they are under
//! way. A batch never changes after it was cut. Both encoders read it.

pub mod assemble;
pub mod batcher;
pub mod budget;
pub mod under_way;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use footprint_event::definition::Definition;
use footprint_event::recycle::Recycled;
use footprint_event::reject::DeadLetter;
use footprint_event::rows::Rows;
use footprint_protocol::offset::Range;
use footprint_protocol::partition::CutBatch;
use footprint_service::kafka::brokers::Brokers;

use self::budget::Permit;
use self::under_way::UnderWayGuard;
use crate::ledger::ownership::Ownership;

/// What closed a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// It has as many rows and dead letters as it may.
    Rows,
    /// It has as many payload bytes as it may.
    Bytes,
    /// It has as many months as it may.
    Months,
    /// It has waited long enough.
    Linger,
    /// The range was claimed so before.
    Claimed,
}

impl CutReason {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Months => "months",
            Self::Linger => "linger",
            Self::Claimed => "claimed",
        }
    }
}

/// A decoded range of one partition. It is claimed as a whole and written as a whole.
#[derive(Debug)]
pub struct Batch {
    /// The ownership under which it was read.
    pub ownership: Arc<Ownership>,
    /// The offsets that it covers. Offsets in it without a row or a dead letter are gaps.
    pub range: Range,
    /// What closed it.
    pub reason: CutReason,
    /// The definition that decoded it.
    pub definition: Arc<Definition>,
    /// The good records.
    pub rows: Recycled<Rows>,
    /// The bad records.
    pub dead_letters: Vec<DeadLetter>,
    /// When its first record was read.
    pub first_read_at: Instant,
    /// When its last record was read. A claim needs a later look at the topic's id.
    pub read_at: Instant,
    /// The brokers that gave its records. Each is asked for the topic's id.
    pub brokers: Brokers,
    /// Its share of the byte budget.
    pub permit: Permit,
    /// Counts it among the batches under way.
    pub under_way: UnderWayGuard,
}

impl Batch {
    /// When Kafka received its first record, by Kafka's timestamp. None: it has no record.
    pub fn received(&self) -> Option<SystemTime> {
        let row = self.rows.received_at_us.first().copied();
        let received_us = row.or_else(|| self.dead_letters.first().map(|letter| letter.received_at_us))?;
        Some(UNIX_EPOCH + Duration::from_micros(u64::try_from(received_us).ok()?))
    }
}

impl CutBatch for Batch {
    fn range(&self) -> Range {
        self.range
    }
}
