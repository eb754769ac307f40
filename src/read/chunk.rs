//! A chunk: records of one partition, in offset order, on their way from the reader to the decoder. The reader's records are librdkafka's
//! own messages (`service/kafka/messages.rs`): nothing is copied before it is decoded.

use std::sync::Arc;
use std::time::Instant;

use footprint_event::recycle::{Buffer, Recycled};
use footprint_protocol::offset::Offset;
use footprint_service::kafka::brokers::Brokers;

use crate::batch::budget::Permit;
use crate::ledger::ownership::Ownership;

/// Records on their way to the decoder.
#[derive(Debug)]
pub struct Chunk<R: Buffer> {
    /// The ownership under which the records were read. If it has ended, the chunk is thrown away.
    pub ownership: Arc<Ownership>,
    /// The records. There are none if only the position moved (gaps, control records).
    pub records: Recycled<R>,
    /// The brokers that gave the records.
    pub brokers: Brokers,
    /// The consumer's position after the last record: everything below it was seen.
    pub position: Offset,
    /// The partition's log held more records when it was last fetched from.
    pub is_behind: bool,
    /// When the first record was read.
    pub first_read_at: Instant,
    /// When the last record was read.
    pub read_at: Instant,
    /// The chunk's share of the byte budget.
    pub permit: Permit,
}
