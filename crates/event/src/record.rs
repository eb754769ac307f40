//! A record: one Kafka message as the decoder sees it, wherever its bytes are. Nothing is copied before decoding.

use std::fmt::Debug;

use footprint_protocol::offset::Offset;

/// One Kafka message as the decoder sees it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Kafka's timestamp, milliseconds since the epoch. -1: the message has none.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value. None: a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Its headers, if it may have any. They are read only for a dead letter.
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
    /// The headers as one JSON array of `{"key", "value" | "base64"}`, or empty.
    fn to_json(&self) -> Vec<u8>;
}

/// The contents of a chunk.
pub trait Records {
    /// The records, in offset order.
    fn iter(&self) -> impl Iterator<Item = Record<'_>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_key_and_payload() {
        let record = |key, payload| Record { offset: 0, timestamp_ms: -1, key, payload, headers: None };
        assert_eq!(record(Some(b"ab".as_slice()), Some(b"cde".as_slice())).byte_len(), 5);
        assert_eq!(record(None, Some(b"cde".as_slice())).byte_len(), 3);
        assert_eq!(record(None, None).byte_len(), 0);
    }
}
