//! PostgreSQL's binary COPY: encodes rows and dead letters. It writes from the columns directly into bytes and allocates nothing per
//! row. It does no I/O: the caller sends `out` whenever it is full.
//!
//! The format (PostgreSQL's documentation of COPY, "Binary Format"), all integers big-endian:
//!
//! | part    | bytes                                                                             |
//! |---------|-----------------------------------------------------------------------------------|
//! | header  | the 11 bytes of the signature, four of flags (0), four of extension length (0)    |
//! | row     | `i16` number of fields, then for each an `i32` length (-1 for null) and its value |
//! | trailer | `i16` -1                                                                          |

use bytes::{BufMut, BytesMut};
use footprint_event::reject::DeadLetter;
use footprint_event::route::{IDENTITY_COLUMNS, Route, quoted};
use footprint_event::rows::{ColumnData, Rows, Values, text_at};
use footprint_protocol::ledger::{SinkName, SourceId};
use footprint_protocol::offset::Partition;

use crate::limits::COPY_CHUNK_BYTES;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const NULL: i32 = -1;
const TRAILER: i16 = -1;
/// PostgreSQL counts microseconds from 2000-01-01. This is the distance to 1970-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// The first byte of a jsonb value: version 1, the only one. JSON text follows.
const JSONB_VERSION: u8 = 1;
/// Fields of a dead letter, in the order of [`dead_letters_statement`].
const DEAD_LETTER_FIELDS: i16 = 10;

/// The statement for the data that [`rows`] encodes: the route's columns, then the identity.
pub fn rows_statement(route: &Route) -> String {
    let mut columns: Vec<String> = route.columns.iter().map(|column| quoted(&column.name)).collect();
    columns.extend(IDENTITY_COLUMNS.map(quoted));
    format!("copy {} ({}) from stdin (format binary)", quoted(&route.postgres_table), columns.join(", "))
}

/// The statement for the data that [`dead_letters`] encodes.
pub fn dead_letters_statement() -> &'static str {
    "copy dead_letters (route, kafka_source, kafka_partition, kafka_offset, key, payload, headers, reason, received_at, sink) \
     from stdin (format binary)"
}

/// Appends the header, which comes before the first row.
pub fn header(out: &mut BytesMut) {
    out.put_slice(SIGNATURE);
    out.put_i32(0);
    out.put_i32(0);
}

/// Appends the trailer, which comes after the last row.
pub fn trailer(out: &mut BytesMut) {
    out.put_i16(TRAILER);
}

/// Appends rows from `next` on until `out` holds `bytes_max` bytes or there are no more. At least one row is appended, and the last
/// one may exceed the bound. Returns the first row that was not appended.
pub fn rows(
    rows: &Rows,
    next: usize,
    source: SourceId,
    partition: Partition,
    out: &mut BytesMut,
    bytes_max: usize,
) -> usize {
    rows_of(rows, next..rows.len(), source, partition, out, bytes_max)
}

/// Does the same as [`rows`], for the rows in `which`.
pub fn rows_of(
    rows: &Rows,
    which: std::ops::Range<usize>,
    source: SourceId,
    partition: Partition,
    out: &mut BytesMut,
    bytes_max: usize,
) -> usize {
    let mut next = which.start;
    let field_count = field_count(rows.columns.len() + IDENTITY_COLUMNS.len());
    let mut identity = IdentityFields::new(source, partition);
    out.reserve(bytes_max.min(COPY_CHUNK_BYTES).saturating_sub(out.len()));
    while next < which.end {
        out.put_i16(field_count);
        for column in &rows.columns {
            put_field(column, next, out);
        }
        out.put_slice(identity.of(rows.offsets[next], rows.received_at_us[next]));
        next += 1;
        if out.len() >= bytes_max {
            break;
        }
    }
    next
}

/// Does the same as [`rows`], for dead letters.
pub fn dead_letters(
    route: &Route,
    letters: &[DeadLetter],
    mut next: usize,
    source: SourceId,
    partition: Partition,
    out: &mut BytesMut,
    bytes_max: usize,
) -> usize {
    while let Some(letter) = letters.get(next) {
        out.put_i16(DEAD_LETTER_FIELDS);
        put_bytes(Some(route.name.as_bytes()), out);
        put_i64(source.0, out);
        put_i32(partition, out);
        put_i64(letter.offset, out);
        put_bytes(letter.key.as_deref(), out);
        put_bytes(letter.payload.as_deref(), out);
        if letter.headers.is_empty() {
            out.put_i32(NULL);
        } else {
            out.put_i32(field_length(letter.headers.len() + 1));
            out.put_u8(JSONB_VERSION);
            out.put_slice(&letter.headers);
        }
        put_bytes(Some(letter.reason.to_string().as_bytes()), out);
        put_i64(postgres_time(letter.received_at_us), out);
        put_bytes(Some(letter.reason.sink().map_or("both", SinkName::as_str).as_bytes()), out);
        next += 1;
        if out.len() >= bytes_max {
            break;
        }
    }
    next
}

/// The four identity fields in wire form. Only the offset and the time change from row to row, so each row copies the fields in one
/// piece.
struct IdentityFields([u8; 44]);

impl IdentityFields {
    const OFFSET_AT: usize = 24;
    const RECEIVED_AT: usize = 36;

    fn new(source: SourceId, partition: Partition) -> Self {
        let mut fields = [0; 44];
        fields[..4].copy_from_slice(&8_i32.to_be_bytes());
        fields[4..12].copy_from_slice(&source.0.to_be_bytes());
        fields[12..16].copy_from_slice(&4_i32.to_be_bytes());
        fields[16..20].copy_from_slice(&partition.to_be_bytes());
        fields[20..24].copy_from_slice(&8_i32.to_be_bytes());
        fields[32..36].copy_from_slice(&8_i32.to_be_bytes());
        Self(fields)
    }

    fn of(&mut self, offset: i64, received_at_us: i64) -> &[u8] {
        self.0[Self::OFFSET_AT..Self::OFFSET_AT + 8].copy_from_slice(&offset.to_be_bytes());
        self.0[Self::RECEIVED_AT..].copy_from_slice(&postgres_time(received_at_us).to_be_bytes());
        &self.0
    }
}

fn put_field(column: &ColumnData, row: usize, out: &mut BytesMut) {
    if let Some(validity) = &column.validity
        && !validity[row]
    {
        out.put_i32(NULL);
        return;
    }
    match &column.values {
        Values::Text { bytes, ends } => put_bytes(Some(text_at(bytes, ends, row)), out),
        Values::Timestamp(values) => put_i64(postgres_time(values[row]), out),
        Values::Integer(values) => put_i64(values[row], out),
        Values::Float(values) => put_i64(values[row].to_bits().cast_signed(), out),
        Values::Boolean(values) => out.put_slice(&[0, 0, 0, 1, u8::from(values[row])]),
        Values::Uuid(values) => put_uuid(values[row], out),
    }
}

/// An eight-byte field with its length, appended in one piece.
fn put_i64(value: i64, out: &mut BytesMut) {
    let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    field[4..].copy_from_slice(&value.to_be_bytes());
    out.put_slice(&field);
}

/// A UUID's field in one piece: 16 bytes, in the order of its text (`uuid_send` in PostgreSQL's `uuid.c`).
fn put_uuid(value: u128, out: &mut BytesMut) {
    let mut field = [0; 20];
    field[3] = 16;
    field[4..].copy_from_slice(&value.to_be_bytes());
    out.put_slice(&field);
}

fn put_i32(value: i32, out: &mut BytesMut) {
    out.put_i32(4);
    out.put_i32(value);
}

fn put_bytes(value: Option<&[u8]>, out: &mut BytesMut) {
    let Some(value) = value else {
        out.put_i32(NULL);
        return;
    };
    out.put_i32(field_length(value.len()));
    out.put_slice(value);
}

/// Converts microseconds since 1970 to microseconds since 2000. The decoder refuses every time that PostgreSQL cannot hold.
fn postgres_time(us: i64) -> i64 {
    debug_assert!(us.checked_sub(POSTGRES_EPOCH_US).is_some(), "a time that the decoder should have refused: {us}");
    us.wrapping_sub(POSTGRES_EPOCH_US)
}

/// The length of a field, as COPY encodes it. librdkafka takes at most 100 MB in one answer, so the length fits an `i32`.
fn field_length(bytes: usize) -> i32 {
    debug_assert!(i32::try_from(bytes).is_ok());
    bytes as i32
}

/// The number of fields, as COPY encodes it. It fits an `i16`, because a route has at most `ROUTE_COLUMNS_MAX` columns.
fn field_count(fields: usize) -> i16 {
    debug_assert!(i16::try_from(fields).is_ok());
    fields as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use footprint_event::reject::Reason;
    use footprint_event::route::{Column, Kind, Presence};

    fn column(name: &str, kind: Kind, presence: Presence) -> Column {
        Column { name: name.into(), field: name.into(), kind, presence, low_cardinality: false }
    }

    fn route() -> Route {
        Route {
            name: "visits".into(),
            topic: "visits".into(),
            postgres_table: "site.visits".into(),
            clickhouse_table: "visits".into(),
            timezone: "UTC".into(),
            columns: vec![
                column("link", Kind::Text, Presence::Optional),
                column("seen", Kind::Timestamp, Presence::Required),
                column("score", Kind::Float, Presence::Required),
                column("mobile", Kind::Boolean, Presence::Required),
                column("visitor", Kind::Uuid, Presence::Required),
            ],
        }
    }

    fn two_rows() -> Rows {
        Rows {
            offsets: vec![7, 9],
            received_at_us: vec![946_684_800_000_001, 0],
            columns: vec![
                ColumnData {
                    values: Values::Text { bytes: b"/a".to_vec(), ends: vec![2, 2] },
                    validity: Some(vec![true, false]),
                },
                ColumnData { values: Values::Timestamp(vec![946_684_800_000_258, 0]), validity: None },
                ColumnData { values: Values::Float(vec![1.0, -0.0]), validity: None },
                ColumnData { values: Values::Boolean(vec![true, false]), validity: None },
                ColumnData {
                    values: Values::Uuid(vec![0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f, u128::MAX]),
                    validity: None,
                },
            ],
        }
    }

    const FIRST_ROW: &[u8] = &[
        0, 9, // fields
        0, 0, 0, 2, b'/', b'a', // link
        0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2, // seen: 258 us after 2000
        0, 0, 0, 8, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, // score: 1.0
        0, 0, 0, 1, 1, // mobile
        0, 0, 0, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, // visitor
        0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5, // kafka_source
        0, 0, 0, 4, 0, 0, 0, 3, // kafka_partition
        0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7, // kafka_offset
        0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, // received_at
    ];

    const SECOND_ROW: &[u8] = &[
        0, 9, //
        0xff, 0xff, 0xff, 0xff, // null
        0, 0, 0, 8, 0xff, 0xfc, 0xa2, 0xfe, 0xc4, 0xc8, 0x20, 0, // 1970 is 946684800000000 us before 2000
        0, 0, 0, 8, 0x80, 0, 0, 0, 0, 0, 0, 0, // -0.0
        0, 0, 0, 1, 0, //
        0, 0, 0, 16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, //
        0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5, //
        0, 0, 0, 4, 0, 0, 0, 3, //
        0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, //
        0, 0, 0, 8, 0xff, 0xfc, 0xa2, 0xfe, 0xc4, 0xc8, 0x20, 0,
    ];

    #[test]
    fn rows_are_what_postgresql_documents() {
        let mut out = BytesMut::new();
        header(&mut out);
        assert_eq!(rows(&two_rows(), 0, SourceId(5), 3, &mut out, usize::MAX), 2);
        trailer(&mut out);
        let expected =
            [b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".as_slice(), FIRST_ROW, SECOND_ROW, &[0xff, 0xff]].concat();
        assert_eq!(&out[..], &expected[..]);
    }

    #[test]
    fn a_full_buffer_ends_a_step_after_one_row_at_least() {
        let mut out = BytesMut::new();
        assert_eq!(rows(&two_rows(), 0, SourceId(5), 3, &mut out, 1), 1);
        assert_eq!(&out[..], FIRST_ROW);
        out.clear();
        assert_eq!(rows(&two_rows(), 1, SourceId(5), 3, &mut out, 1), 2);
        assert_eq!(&out[..], SECOND_ROW);
        assert_eq!(rows(&two_rows(), 2, SourceId(5), 3, &mut out, 1), 2);
    }

    #[test]
    fn a_dead_letter_is_whole() {
        let letter = DeadLetter {
            offset: 4,
            received_at_us: 946_684_800_000_000,
            key: None,
            payload: Some(b"{".to_vec()),
            headers: b"[]".to_vec(),
            reason: Reason::NotJson,
        };
        let mut out = BytesMut::new();
        let tombstone =
            DeadLetter { payload: None, headers: Vec::new(), reason: Reason::NullPayload, ..letter.clone() };
        assert_eq!(dead_letters(&route(), &[letter, tombstone], 0, SourceId(5), 3, &mut out, 1), 1);
        let reason = b"not_json: the payload is not one JSON value";
        let expected = [
            &[0, 10, 0, 0, 0, 6][..],
            b"visits",
            &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 4],
            &[0xff, 0xff, 0xff, 0xff], // no key
            &[0, 0, 0, 1, b'{'],
            &[0, 0, 0, 3, 1, b'[', b']'],
            &[0, 0, 0, u8::try_from(reason.len()).unwrap()],
            reason,
            &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 4],
            b"both",
        ]
        .concat();
        assert_eq!(&out[..], &expected[..]);
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(
            rows_statement(&route()),
            "copy \"site\".\"visits\" (\"link\", \"seen\", \"score\", \"mobile\", \"visitor\", \"kafka_source\", \
             \"kafka_partition\", \"kafka_offset\", \"received_at\") from stdin (format binary)"
        );
    }
}
