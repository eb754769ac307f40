//! A chunk: raw records of one partition, in offset order, in one byte arena. Made by the reader, read by the decoder.

use std::sync::Arc;
use std::time::Instant;

use crate::budget::Permit;
use crate::ledger::Ownership;
use crate::offset::Offset;
use crate::recycle::{Buffer, Recycled};

/// One Kafka message as it lies in a chunk.
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
    /// Its headers as one JSON array of `{"key", "value" | "base64"}`, or empty.
    pub headers: &'a [u8],
}

impl Record<'_> {
    /// The bytes of its key, payload and headers.
    pub fn byte_len(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.payload.map_or(0, <[u8]>::len) + self.headers.len()
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: Offset,
    timestamp_ms: i64,
    /// Where each part ends in the arena; a part that is absent has length zero and its flag unset.
    key_end: u32,
    payload_end: u32,
    headers_end: u32,
    has_key: bool,
    has_payload: bool,
}

/// Raw records of one partition, in offset order.
#[derive(Debug, Default)]
pub struct Records {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

impl Records {
    /// Appends a record; offsets must grow.
    pub fn push(&mut self, record: Record<'_>) {
        debug_assert!(self.entries.last().is_none_or(|last| last.offset < record.offset));
        self.arena.extend_from_slice(record.key.unwrap_or_default());
        let key_end = self.arena.len() as u32;
        self.arena.extend_from_slice(record.payload.unwrap_or_default());
        let payload_end = self.arena.len() as u32;
        self.arena.extend_from_slice(record.headers);
        self.entries.push(Entry {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key_end,
            payload_end,
            headers_end: self.arena.len() as u32,
            has_key: record.key.is_some(),
            has_payload: record.payload.is_some(),
        });
    }

    /// Records held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Arena bytes held.
    pub fn byte_len(&self) -> usize {
        self.arena.len()
    }

    /// The records, in offset order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut start = 0_usize;
        self.entries.iter().map(move |entry| {
            let (key_end, payload_end, headers_end) =
                (entry.key_end as usize, entry.payload_end as usize, entry.headers_end as usize);
            let key = &self.arena[start..key_end];
            let payload = &self.arena[key_end..payload_end];
            let headers = &self.arena[payload_end..headers_end];
            start = headers_end;
            Record {
                offset: entry.offset,
                timestamp_ms: entry.timestamp_ms,
                key: entry.has_key.then_some(key),
                payload: entry.has_payload.then_some(payload),
                headers,
            }
        })
    }
}

impl Buffer for Records {
    fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
    }

    fn capacity_bytes(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// Records on their way to the decoder.
#[derive(Debug)]
pub struct Chunk {
    /// Whose reading this is: a chunk of an ended ownership is thrown away.
    pub ownership: Arc<Ownership>,
    /// The records; none when only the position moved (gaps, control records).
    pub records: Recycled<Records>,
    /// The consumer's position after the last record: everything below it was seen.
    pub position: Offset,
    /// When the first record was read.
    pub first_read_at: Instant,
    /// When the last record was read.
    pub read_at: Instant,
    /// Its share of the byte budget, given back when both sinks have acknowledged.
    pub permit: Permit,
}
