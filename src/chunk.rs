//! A chunk: records of one partition, in offset order, on their way from the reader to the decoder. The reader's are
//! librdkafka's messages themselves (`kafka/messages.rs`): nothing is copied before it is decoded.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use crate::budget::Permit;
use crate::ledger::Ownership;
use crate::offset::Offset;
use crate::recycle::{Buffer, Recycled};

/// One Kafka message as the decoder sees it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its place.
    pub offset: Offset,
    /// Kafka's timestamp, milliseconds since the epoch; -1 when the message carries none.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Its headers, where there may be any: asked for what becomes a dead letter alone.
    pub headers: Option<&'a dyn Headers>,
}

impl Record<'_> {
    /// The bytes of its key and payload.
    pub fn byte_len(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.payload.map_or(0, <[u8]>::len)
    }
}

/// The headers of one message.
pub trait Headers: Debug {
    /// Them as one JSON array of `{"key", "value" | "base64"}`, or nothing.
    fn to_json(&self) -> Vec<u8>;
}

/// What a chunk carries.
pub trait Records {
    /// The records, in offset order.
    fn iter(&self) -> impl Iterator<Item = Record<'_>>;
}

/// Records on their way to the decoder.
#[derive(Debug)]
pub struct Chunk<R: Buffer> {
    /// Whose reading this is: a chunk of an ended ownership is thrown away.
    pub ownership: Arc<Ownership>,
    /// The records; none when only the position moved (gaps, control records).
    pub records: Recycled<R>,
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
