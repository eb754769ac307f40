//! Records in one byte arena. The benches put these in a chunk in place of librdkafka's messages.

use footprint_event::record::{Record, Records};
use footprint_event::recycle::Buffer;
use footprint_protocol::offset::Offset;

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: Offset,
    timestamp_ms: i64,
    /// Where each part ends in the arena. An absent part has length zero, and its flag is false.
    key_end: usize,
    payload_end: usize,
    has_key: bool,
    has_payload: bool,
}

/// Raw records of one partition, in offset order.
#[derive(Debug, Default)]
pub struct Copied {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

impl Copied {
    /// Appends a record; offsets must grow.
    pub fn push(&mut self, record: Record<'_>) {
        debug_assert!(self.entries.last().is_none_or(|last| last.offset < record.offset));
        self.arena.extend_from_slice(record.key.unwrap_or_default());
        let key_end = self.arena.len();
        self.arena.extend_from_slice(record.payload.unwrap_or_default());
        self.entries.push(Entry {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key_end,
            payload_end: self.arena.len(),
            has_key: record.key.is_some(),
            has_payload: record.payload.is_some(),
        });
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The size of the arena, in bytes.
    pub fn byte_len(&self) -> usize {
        self.arena.len()
    }
}

impl Records for Copied {
    fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let key = &self.arena[start..entry.key_end];
            let payload = &self.arena[entry.key_end..entry.payload_end];
            start = entry.payload_end;
            Record {
                offset: entry.offset,
                timestamp_ms: entry.timestamp_ms,
                key: entry.has_key.then_some(key),
                payload: entry.has_payload.then_some(payload),
                headers: None,
            }
        })
    }
}

impl Buffer for Copied {
    fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
    }

    fn capacity_bytes(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}
