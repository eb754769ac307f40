//! Two wire formats, cut into rows as they arrive: PostgreSQL's binary COPY and ClickHouse's RowBinary. Pure. It holds one chunk
//! and one unfinished row.
//!
//! Formats: PostgreSQL manual, "COPY", Binary Format; ClickHouse manual, "RowBinary" (lengths are LEB128, a nullable value
//! follows a byte that is 1 for null, a UUID is two `UInt64`, its upper half first).

use footprint_event::route::Kind;

use crate::upkeep::verify::content::Content;

/// An answer that has another form than the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One row: its offset and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its offset.
    pub offset: i64,
    /// Its content's number.
    pub number: u64,
}

/// PostgreSQL's epoch, 2000-01-01, in microseconds since 1970.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
const COPY_SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The fields after offset and `received_at`.
#[derive(Clone, Debug)]
pub enum Fields {
    /// A route's columns.
    Columns(Vec<Kind>),
    /// A dead letter's key and payload.
    DeadLetter,
}

/// Bytes that do not yet make a row.
#[derive(Debug, Default)]
struct Pending(Vec<u8>);

impl Pending {
    /// Appends `chunk`, and removes from the front whatever `parse` can read. `parse` returns the number of bytes read, or none
    /// if it needs more.
    fn feed(
        &mut self,
        chunk: &[u8],
        mut parse: impl FnMut(&[u8]) -> Result<Option<usize>, Malformed>,
    ) -> Result<(), Malformed> {
        self.0.extend_from_slice(chunk);
        let mut at = 0;
        while at < self.0.len() {
            match parse(&self.0[at..])? {
                Some(read) => at += read,
                None => break,
            }
        }
        self.0.drain(..at);
        Ok(())
    }
}

/// A cursor that returns none when the bytes end.
pub(in crate::upkeep) struct Cursor<'a> {
    pub(in crate::upkeep) bytes: &'a [u8],
    pub(in crate::upkeep) at: usize,
}

impl<'a> Cursor<'a> {
    pub(in crate::upkeep) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(in crate::upkeep) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

/// Reads `copy (select kafka_offset, received_at, ...) to stdout (format binary)`.
#[derive(Debug)]
pub struct CopyReader {
    fields: Fields,
    pending: Pending,
    content: Content,
    started: bool,
    ended: bool,
}

impl CopyReader {
    /// A reader of rows with these fields.
    pub fn new(fields: Fields) -> Self {
        Self { fields, pending: Pending::default(), content: Content::default(), started: false, ended: false }
    }

    /// Reads the rows that `chunk` completes.
    ///
    /// # Errors
    /// The bytes are no such rows.
    pub fn feed(&mut self, chunk: &[u8], mut row: impl FnMut(Row)) -> Result<(), Malformed> {
        let Self { fields, pending, content, started, ended } = self;
        pending.feed(chunk, |bytes| {
            let mut cursor = Cursor { bytes, at: 0 };
            if *ended {
                return Err(Malformed);
            }
            if !*started {
                return Ok(match copy_header(&mut cursor)? {
                    None => None,
                    Some(()) => {
                        *started = true;
                        Some(cursor.at)
                    }
                });
            }
            let Some(count) = cursor.array().map(i16::from_be_bytes) else { return Ok(None) };
            if count == -1 {
                *ended = true;
                return Ok(Some(cursor.at));
            }
            match copy_row(&mut cursor, count, fields, content)? {
                None => Ok(None),
                Some(parsed) => {
                    row(parsed);
                    Ok(Some(cursor.at))
                }
            }
        })
    }

    /// Whether the trailer came, and no bytes are left over.
    pub fn is_whole(&self) -> bool {
        self.ended && self.pending.0.is_empty()
    }
}

fn copy_header(cursor: &mut Cursor<'_>) -> Result<Option<()>, Malformed> {
    let Some(signature) = cursor.take(COPY_SIGNATURE.len()) else { return Ok(None) };
    if signature != COPY_SIGNATURE {
        return Err(Malformed);
    }
    let Some(_flags) = cursor.take(4) else { return Ok(None) };
    let Some(extension) = cursor.array().map(u32::from_be_bytes) else { return Ok(None) };
    Ok(cursor.take(extension as usize).map(|_| ()))
}

/// One field's bytes. The inner none is null. The outer none means that more bytes are needed.
fn copy_field<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Option<&'a [u8]>>, Malformed> {
    let Some(length) = cursor.array().map(i32::from_be_bytes) else { return Ok(None) };
    match length {
        -1 => Ok(Some(None)),
        0.. => Ok(cursor.take(length as usize).map(Some)),
        _ => Err(Malformed),
    }
}

fn big_endian(field: &[u8]) -> Result<i64, Malformed> {
    field.try_into().map(i64::from_be_bytes).map_err(|_| Malformed)
}

/// An instant since 1970. PostgreSQL's infinities stay extreme values.
fn copy_instant(field: &[u8]) -> Result<i64, Malformed> {
    big_endian(field).map(|since_2000| since_2000.saturating_add(POSTGRES_EPOCH_US))
}

fn copy_row(
    cursor: &mut Cursor<'_>,
    count: i16,
    fields: &Fields,
    content: &mut Content,
) -> Result<Option<Row>, Malformed> {
    let expected = 2 + match fields {
        Fields::Columns(kinds) => kinds.len(),
        Fields::DeadLetter => 2,
    };
    if usize::try_from(count) != Ok(expected) {
        return Err(Malformed);
    }
    let Some(offset) = copy_field(cursor)? else { return Ok(None) };
    let offset = big_endian(offset.ok_or(Malformed)?)?;
    let Some(received_at) = copy_field(cursor)? else { return Ok(None) };
    content.begin();
    match received_at {
        Some(field) => content.integer(copy_instant(field)?),
        None => content.null(),
    }
    for index in 2..expected {
        let Some(field) = copy_field(cursor)? else { return Ok(None) };
        match (field, fields) {
            (None, _) => content.null(),
            (Some(field), Fields::DeadLetter) => content.bytes(field),
            (Some(field), Fields::Columns(kinds)) => copy_value(field, kinds[index - 2], content)?,
        }
    }
    Ok(Some(Row { offset, number: content.number() }))
}

fn copy_value(field: &[u8], kind: Kind, content: &mut Content) -> Result<(), Malformed> {
    match kind {
        Kind::Text => content.bytes(field),
        Kind::Timestamp => content.integer(copy_instant(field)?),
        Kind::Integer => content.integer(big_endian(field)?),
        Kind::Float => content.float(f64::from_bits(big_endian(field)?.cast_unsigned())),
        Kind::Boolean => content.boolean(*field.first().ok_or(Malformed)? != 0),
        Kind::Uuid => content.uuid(field.try_into().map(u128::from_be_bytes).map_err(|_| Malformed)?),
    }
    Ok(())
}

/// Reads RowBinary of offset (Int64), `received_at` (Nullable(Int64)) and a route's columns, all nullable.
#[derive(Debug)]
pub struct RowBinaryReader {
    kinds: Vec<Kind>,
    pending: Pending,
    content: Content,
}

impl RowBinaryReader {
    /// A reader of rows with these columns.
    pub fn new(kinds: Vec<Kind>) -> Self {
        Self { kinds, pending: Pending::default(), content: Content::default() }
    }

    /// Reads the rows that `chunk` completes.
    ///
    /// # Errors
    /// The bytes are no such rows.
    pub fn feed(&mut self, chunk: &[u8], mut row: impl FnMut(Row)) -> Result<(), Malformed> {
        let Self { kinds, pending, content } = self;
        pending.feed(chunk, |bytes| {
            let mut cursor = Cursor { bytes, at: 0 };
            match binary_row(&mut cursor, kinds, content)? {
                None => Ok(None),
                Some(parsed) => {
                    row(parsed);
                    Ok(Some(cursor.at))
                }
            }
        })
    }

    /// Whether no bytes are left over.
    pub fn is_whole(&self) -> bool {
        self.pending.0.is_empty()
    }
}

fn binary_row(cursor: &mut Cursor<'_>, kinds: &[Kind], content: &mut Content) -> Result<Option<Row>, Malformed> {
    let Some(offset) = cursor.array().map(i64::from_le_bytes) else { return Ok(None) };
    content.begin();
    for kind in std::iter::once(Kind::Timestamp).chain(kinds.iter().copied()) {
        let Some([is_null]) = cursor.array() else { return Ok(None) };
        match is_null {
            1 => content.null(),
            0 => {
                if binary_value(cursor, kind, content)?.is_none() {
                    return Ok(None);
                }
            }
            _ => return Err(Malformed),
        }
    }
    Ok(Some(Row { offset, number: content.number() }))
}

fn binary_value(cursor: &mut Cursor<'_>, kind: Kind, content: &mut Content) -> Result<Option<()>, Malformed> {
    match kind {
        Kind::Text => {
            let Some(length) = leb128(cursor)? else { return Ok(None) };
            let Some(text) = cursor.take(length) else { return Ok(None) };
            content.bytes(text);
        }
        Kind::Timestamp | Kind::Integer => {
            let Some(integer) = cursor.array().map(i64::from_le_bytes) else { return Ok(None) };
            content.integer(integer);
        }
        Kind::Float => {
            let Some(float) = cursor.array().map(f64::from_le_bytes) else { return Ok(None) };
            content.float(float);
        }
        Kind::Boolean => {
            let Some([truth]) = cursor.array() else { return Ok(None) };
            content.boolean(truth != 0);
        }
        Kind::Uuid => {
            let Some(halves) = cursor.array().map(u128::from_le_bytes) else { return Ok(None) };
            content.uuid(halves.rotate_left(64));
        }
    }
    Ok(Some(()))
}

/// A length. None: more bytes are needed.
pub(in crate::upkeep) fn leb128(cursor: &mut Cursor<'_>) -> Result<Option<usize>, Malformed> {
    let mut value = 0_usize;
    for shift in (0..63).step_by(7) {
        let Some([byte]) = cursor.array() else { return Ok(None) };
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(Some(value));
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests;
