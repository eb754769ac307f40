//! A row's content as one number. Equal rows give equal numbers, whether they come from the decoder, PostgreSQL's binary COPY or
//! ClickHouse's RowBinary. A row is `received_at`, then the route's columns in order. A dead letter is `received_at`, key and
//! payload. Pure. The number is never stored, so its form may change.

use footprint_event::rows::{ColumnData, Rows, Values, text_at};
use xxhash_rust::xxh3::xxh3_64;

/// Builds a content's number field by field.
#[derive(Debug, Default)]
pub(in crate::upkeep) struct Content {
    bytes: Vec<u8>,
}

impl Content {
    /// Starts a new content.
    pub(in crate::upkeep) fn begin(&mut self) -> &mut Self {
        self.bytes.clear();
        self
    }

    /// A null of any kind.
    pub(in crate::upkeep) fn null(&mut self) {
        self.bytes.push(0);
    }

    /// A text or bytes. The length keeps two neighbours apart.
    pub(in crate::upkeep) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.push(1);
        self.bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// An integer, or an instant in microseconds since the epoch.
    pub(in crate::upkeep) fn integer(&mut self, integer: i64) {
        self.bytes.push(1);
        self.bytes.extend_from_slice(&integer.to_le_bytes());
    }

    /// A double, bit by bit: both databases keep the sign of zero.
    pub(in crate::upkeep) fn float(&mut self, float: f64) {
        self.integer(float.to_bits().cast_signed());
    }

    /// A truth value.
    pub(in crate::upkeep) fn boolean(&mut self, truth: bool) {
        self.bytes.extend_from_slice(&[1, u8::from(truth)]);
    }

    /// A UUID as a number.
    pub(in crate::upkeep) fn uuid(&mut self, uuid: u128) {
        self.bytes.push(1);
        self.bytes.extend_from_slice(&uuid.to_le_bytes());
    }

    /// Bytes or null.
    pub(in crate::upkeep) fn optional_bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.null(),
        }
    }

    /// The number of the content built so far.
    pub(in crate::upkeep) fn number(&self) -> u64 {
        xxh3_64(&self.bytes)
    }

    /// The number of one decoded row.
    pub(in crate::upkeep) fn of_row(&mut self, rows: &Rows, row: usize) -> u64 {
        self.begin().integer(rows.received_at_us[row]);
        for column in &rows.columns {
            self.value(column, row);
        }
        self.number()
    }

    fn value(&mut self, column: &ColumnData, row: usize) {
        if column.validity.as_ref().is_some_and(|validity| !validity[row]) {
            return self.null();
        }
        match &column.values {
            Values::Text { bytes, ends } => self.bytes(text_at(bytes, ends, row)),
            Values::Timestamp(values) | Values::Integer(values) => self.integer(values[row]),
            Values::Float(values) => self.float(values[row]),
            Values::Boolean(values) => self.boolean(values[row]),
            Values::Uuid(values) => self.uuid(values[row]),
        }
    }

    /// The number of a dead letter.
    pub(in crate::upkeep) fn of_dead_letter(
        &mut self,
        received_at_us: i64,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
    ) -> u64 {
        self.begin().integer(received_at_us);
        self.optional_bytes(key);
        self.optional_bytes(payload);
        self.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_do_not_run_together() {
        let mut content = Content::default();
        content.begin().bytes(b"ab");
        content.bytes(b"c");
        let first = content.number();
        content.begin().bytes(b"a");
        content.bytes(b"bc");
        assert_ne!(first, content.number());
    }

    #[test]
    fn null_is_neither_empty_nor_zero() {
        let mut content = Content::default();
        let null = content.of_dead_letter(0, None, None);
        assert_ne!(null, content.of_dead_letter(0, Some(b""), None));
        content.begin().integer(0);
        let zero = content.number();
        content.begin().null();
        assert_ne!(zero, content.number());
    }
}
