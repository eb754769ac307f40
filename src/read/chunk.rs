//! A chunk: records of one partition, in offset order, on their way from the reader to the decoder. The reader's are
//! librdkafka's messages themselves (`footprint-service`, `service/kafka/messages.rs`): nothing is copied before it is decoded.

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
    /// Whose reading this is: a chunk of an ended ownership is thrown away.
    pub ownership: Arc<Ownership>,
    /// The records; none when only the position moved (gaps, control records).
    pub records: Recycled<R>,
    /// The brokers that gave the records.
    pub brokers: Brokers,
    /// The consumer's position after the last record: everything below it was seen.
    pub position: Offset,
    /// The log held more of the partition when it was last fetched from.
    pub is_behind: bool,
    /// When the first record was read.
    pub first_read_at: Instant,
    /// When the last record was read.
    pub read_at: Instant,
    /// Its share of the byte budget, given back when both sinks have acknowledged.
    pub permit: Permit,
}
