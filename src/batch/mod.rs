//! Batches: chunks are decoded into the columns of one partition's range `[start, end)`, cut, and counted while they are
//! under way. A batch is never changed after it was cut; both encoders read it.

pub mod assemble;
pub mod batcher;
pub mod budget;
pub mod under_way;

use std::sync::Arc;
use std::time::Instant;

use footprint_event::definition::Definition;
use footprint_event::recycle::Recycled;
use footprint_event::reject::DeadLetter;
use footprint_event::rows::Rows;
use footprint_protocol::offset::Range;
use footprint_protocol::partition::Cut;
use footprint_service::kafka::brokers::Brokers;

use self::budget::Permit;
use self::under_way::UnderWayGuard;
use crate::ledger::ownership::Ownership;

/// A range of one partition, decoded: claimed as one, written as one.
#[derive(Debug)]
pub struct Batch {
    /// Under whose ownership it was read.
    pub ownership: Arc<Ownership>,
    /// What it covers; offsets in it without a row or a dead letter are gaps.
    pub range: Range,
    /// By what it was decoded.
    pub definition: Arc<Definition>,
    /// The good records.
    pub rows: Recycled<Rows>,
    /// The bad ones.
    pub dead_letters: Vec<DeadLetter>,
    /// When its first record was read.
    pub first_read_at: Instant,
    /// When its last record was read: a claim needs a later look at the topic's id.
    pub read_at: Instant,
    /// The brokers that gave its records: each is to be looked at.
    pub brokers: Brokers,
    /// Its share of the byte budget.
    pub permit: Permit,
    /// Counts it among those on their way.
    pub under_way: UnderWayGuard,
}

impl Cut for Batch {
    fn range(&self) -> Range {
        self.range
    }
}
