//! A record: one Kafka message as the decoder sees it, wherever its bytes are. Nothing is copied before it is decoded.

use std::fmt::Debug;

use footprint_protocol::offset::Offset;

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
