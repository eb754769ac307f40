//! ClickHouse's Native format: one block a batch, columns in, wire bytes out. Which rows go in is the caller's choice, so a
//! repair inserts exactly what is missing. The same rows always make the same bytes. It never talks to a server: the caller
//! sends each piece.
//!
//! The form of a block over HTTP, where no client revision is agreed (ClickHouse's `NativeReader` with revision 0 reads it;
//! numbers are little-endian, lengths and counts are LEB128 `varuint`):
//!
//! | part                             | bytes                                                                    |
//! |----------------------------------|--------------------------------------------------------------------------|
//! | block                            | columns, rows, then each column: name, type, data                        |
//! | `String`                         | each row: length, bytes                                                  |
//! | `Int32`, `Int64`, `Float64`      | each row: 4 or 8 bytes                                                   |
//! | `DateTime64(6, 'UTC')`           | each row: microseconds since the epoch, as `Int64`                       |
//! | `Bool`                           | each row: 0 or 1                                                         |
//! | `Nullable(T)`                    | each row: 1 for null, else 0; then `T`'s data, anything where null       |
//! | `LowCardinality(String)`         | `u64` 1 (version), `u64` flags (keys follow) and the width of an index,  |
//! |                                  | `u64` number of keys, the keys as `String`, `u64` rows, each row's index |
//! | `LowCardinality(Nullable(String))` | the same; key 0 stands for null and is empty                           |
//!
//! The identity columns are never null here; in an adopted table they are nullable, and the server converts (measured: no
//! dearer). A dictionary costs some 10 ns a row here and, where the texts are short, saves the server nothing; with 100-byte
//! texts it saves a third of the server's work and half of the wire.

mod dictionary;

use footprint_event::route::{Column, IDENTITY_COLUMNS, Kind, Route, quoted};
use footprint_event::rows::{ColumnData, Rows, Values, text_at};
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::Partition;

use self::dictionary::Width;

/// ClickHouse's type of an instant.
const TIMESTAMP_TYPE: &str = "DateTime64(6, 'UTC')";
/// The identity columns' types in a table of footprint's own, in the order of [`IDENTITY_COLUMNS`].
pub(super) const IDENTITY_TYPES: [&str; 4] = ["Int64", "Int32", "Int64", TIMESTAMP_TYPE];

/// The statement whose data [`block`] makes: the route's columns, then the identity.
pub fn insert_statement(route: &Route, database: &str) -> String {
    let mut columns: Vec<String> = route.columns.iter().map(|column| quoted(&column.name)).collect();
    columns.extend(IDENTITY_COLUMNS.map(quoted));
    format!("insert into {} ({}) format Native", table(route, database), columns.join(", "))
}

/// The route's table as SQL names it: `"database"."table"`.
pub fn table(route: &Route, database: &str) -> String {
    if route.clickhouse_table.contains('.') {
        quoted(&route.clickhouse_table)
    } else {
        format!("\"{}\".{}", database.replace('"', "\\\""), quoted(&route.clickhouse_table))
    }
}

/// The column's ClickHouse type.
pub fn column_type(column: &Column) -> String {
    let plain = match column.kind {
        Kind::Text => "String",
        Kind::Timestamp => TIMESTAMP_TYPE,
        Kind::Integer => "Int64",
        Kind::Float => "Float64",
        Kind::Boolean => "Bool",
    };
    let nullable = if column.is_nullable() { format!("Nullable({plain})") } else { plain.to_owned() };
    if column.low_cardinality { format!("LowCardinality({nullable})") } else { nullable }
}

/// Which rows of a batch go into a block.
#[derive(Clone, Copy)]
enum Picked<'a> {
    All(usize),
    Some(&'a [usize]),
}

impl Picked<'_> {
    fn len(self) -> usize {
        match self {
            Self::All(count) => count,
            Self::Some(rows) => rows.len(),
        }
    }

    /// Calls `each` with every picked row: both loops are plain, so that the compiler sees through them.
    fn for_each(self, mut each: impl FnMut(usize)) {
        match self {
            Self::All(count) => (0..count).for_each(each),
            Self::Some(rows) => rows.iter().for_each(|&row| each(row)),
        }
    }

    /// The `nth` picked row.
    fn row(self, nth: usize) -> usize {
        match self {
            Self::All(_) => nth,
            Self::Some(rows) => rows[nth],
        }
    }
}

/// One block. It is encoded piece by piece while it is sent, so that each piece is still in the processor's cache when the
/// socket takes it, and a batch's wire form is never in memory as a whole.
pub struct Block<'a> {
    parts: Vec<Part<'a>>,
    picked: Picked<'a>,
    /// The part that comes next, and how much of it is behind.
    part: usize,
    done: usize,
}

/// What a block is made of, in its order: a value for each picked row, but for [`Part::Plain`].
enum Part<'a> {
    /// Bytes as they are.
    Plain(Vec<u8>),
    /// 1 for null, else 0.
    Nulls(&'a [bool]),
    Texts {
        bytes: &'a [u8],
        ends: &'a [u32],
    },
    /// A dictionary's: the texts of these rows, whichever are picked.
    Keys {
        bytes: &'a [u8],
        ends: &'a [u32],
        rows: Vec<usize>,
    },
    /// The number of each picked row's key.
    Indices {
        indices: Vec<u32>,
        width: Width,
    },
    Integers(&'a [i64]),
    Floats(&'a [f64]),
    Booleans(&'a [bool]),
    /// The same for every row.
    Integer64(i64),
    /// The same for every row.
    Integer32(i32),
}

/// Parts of a column, at most: its head, and the four of a dictionary.
const PARTS_A_COLUMN_MAX: usize = 5;

/// A block with the rows of `selection` (indices into `rows`), or all of them.
pub fn block<'a>(
    route: &Route,
    rows: &'a Rows,
    source: SourceId,
    partition: Partition,
    selection: Option<&'a [usize]>,
) -> Block<'a> {
    assert_eq!(route.columns.len(), rows.columns.len(), "rows of another route");
    let picked = selection.map_or(Picked::All(rows.len()), Picked::Some);
    let mut head = Vec::new();
    put_varuint(route.columns.len() + IDENTITY_COLUMNS.len(), &mut head);
    put_varuint(picked.len(), &mut head);
    let mut parts = Vec::with_capacity(1 + PARTS_A_COLUMN_MAX * (route.columns.len() + IDENTITY_COLUMNS.len()));
    parts.push(Part::Plain(head));
    for (column, data) in route.columns.iter().zip(&rows.columns) {
        parts.push(column_head(&column.name, &column_type(column)));
        push_column(column, data, picked, &mut parts);
    }
    let identity = [
        Part::Integer64(source.0),
        Part::Integer32(partition),
        Part::Integers(&rows.offsets),
        Part::Integers(&rows.received_at_us),
    ];
    for ((name, kind), part) in IDENTITY_COLUMNS.iter().zip(IDENTITY_TYPES).zip(identity) {
        parts.push(column_head(name, kind));
        parts.push(part);
    }
    Block { parts, picked, part: 0, done: 0 }
}

fn column_head<'a>(name: &str, kind: &str) -> Part<'a> {
    let mut head = Vec::with_capacity(name.len() + kind.len() + 4);
    put_text(name.as_bytes(), &mut head);
    put_text(kind.as_bytes(), &mut head);
    Part::Plain(head)
}

fn push_column<'a>(column: &Column, data: &'a ColumnData, picked: Picked<'_>, parts: &mut Vec<Part<'a>>) {
    if let (Values::Text { bytes, ends }, true) = (&data.values, column.low_cardinality) {
        return dictionary::push_parts(bytes, ends, data.validity.as_deref(), picked, parts);
    }
    if let Some(validity) = &data.validity {
        parts.push(Part::Nulls(validity));
    }
    parts.push(match &data.values {
        Values::Text { bytes, ends } => Part::Texts { bytes, ends },
        Values::Timestamp(values) | Values::Integer(values) => Part::Integers(values),
        Values::Float(values) => Part::Floats(values),
        Values::Boolean(values) => Part::Booleans(values),
    });
}

impl Block<'_> {
    /// Bytes of the whole block.
    pub fn byte_len(&self) -> usize {
        self.parts.iter().map(|part| part.byte_len(self.picked)).sum()
    }

    /// Appends what comes next to `out` until it holds `bytes_max` or there is no more; the last value may pass the bound.
    pub fn put(&mut self, bytes_max: usize, out: &mut Vec<u8>) {
        while out.len() < bytes_max
            && let Some(part) = self.parts.get(self.part)
        {
            self.done = part.put(self.picked, self.done, bytes_max, out);
            if self.done == part.len(self.picked) {
                (self.part, self.done) = (self.part + 1, 0);
            }
        }
    }
}

impl Part<'_> {
    /// Values in it: rows, or bytes.
    fn len(&self, picked: Picked<'_>) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Keys { rows, .. } => rows.len(),
            _ => picked.len(),
        }
    }

    fn byte_len(&self, picked: Picked<'_>) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Nulls(_) | Self::Booleans(_) => picked.len(),
            Self::Texts { bytes, ends } => texts_byte_len(bytes, ends, picked),
            Self::Keys { bytes, ends, rows } => texts_byte_len(bytes, ends, Picked::Some(rows)),
            Self::Indices { width, .. } => width.bytes() * picked.len(),
            Self::Integers(_) | Self::Floats(_) | Self::Integer64(_) => 8 * picked.len(),
            Self::Integer32(_) => 4 * picked.len(),
        }
    }

    /// Appends values from `from` on, at least one where there is one, as [`Block::put`] does; gives the first not appended.
    fn put(&self, picked: Picked<'_>, from: usize, bytes_max: usize, out: &mut Vec<u8>) -> usize {
        let run = Run { picked, from, bytes_max };
        match *self {
            Self::Plain(ref bytes) => Run { picked: Picked::All(bytes.len()), ..run }.put(out, |at| [bytes[at]]),
            Self::Nulls(validity) => run.put(out, |row| [u8::from(!validity[row])]),
            Self::Texts { bytes, ends } => run.put_texts(out, bytes, ends),
            Self::Keys { bytes, ends, ref rows } => {
                Run { picked: Picked::Some(rows), ..run }.put_texts(out, bytes, ends)
            }
            Self::Indices { ref indices, width } => {
                // they are of the picked rows already
                let run = Run { picked: Picked::All(indices.len()), ..run };
                match width {
                    Width::One => run.put(out, |at| [indices[at] as u8]),
                    Width::Two => run.put(out, |at| (indices[at] as u16).to_le_bytes()),
                    Width::Four => run.put(out, |at| indices[at].to_le_bytes()),
                }
            }
            Self::Integers(values) => run.put(out, |row| values[row].to_le_bytes()),
            Self::Floats(values) => run.put(out, |row| values[row].to_le_bytes()),
            Self::Booleans(values) => run.put(out, |row| [u8::from(values[row])]),
            Self::Integer64(value) => run.put(out, |_| value.to_le_bytes()),
            Self::Integer32(value) => run.put(out, |_| value.to_le_bytes()),
        }
    }
}

fn texts_byte_len(bytes: &[u8], ends: &[u32], picked: Picked<'_>) -> usize {
    let mut sum = 0;
    picked.for_each(|row| {
        let length = text_at(bytes, ends, row).len();
        sum += varuint_len(length) + length;
    });
    sum
}

/// What is appended at once: values from the `from`th picked on, until the bound.
struct Run<'a> {
    picked: Picked<'a>,
    from: usize,
    bytes_max: usize,
}

impl Run<'_> {
    /// Values of one width.
    fn put<const WIDTH: usize>(&self, out: &mut Vec<u8>, value: impl Fn(usize) -> [u8; WIDTH]) -> usize {
        let fitting = (self.bytes_max.saturating_sub(out.len()) / WIDTH).max(1);
        let to = self.picked.len().min(self.from.saturating_add(fitting));
        let start = out.len();
        // room for all of them at once, so that no value looks whether there is some
        out.resize(start + WIDTH * (to - self.from), 0);
        let (slots, _) = out[start..].as_chunks_mut::<WIDTH>();
        match self.picked {
            Picked::All(_) => slots.iter_mut().zip(self.from..to).for_each(|(slot, row)| *slot = value(row)),
            Picked::Some(rows) => {
                slots.iter_mut().zip(&rows[self.from..to]).for_each(|(slot, &row)| *slot = value(row));
            }
        }
        to
    }

    fn put_texts(&self, out: &mut Vec<u8>, bytes: &[u8], ends: &[u32]) -> usize {
        let mut next = self.from;
        while next < self.picked.len() {
            put_text(text_at(bytes, ends, self.picked.row(next)), out);
            next += 1;
            if out.len() >= self.bytes_max {
                break;
            }
        }
        next
    }
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_varuint(text.len(), out);
    out.extend_from_slice(text);
}

fn put_varuint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a number as [`put_varuint`] writes it.
fn varuint_len(value: usize) -> usize {
    // seven bits a byte, and a byte also for zero
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use footprint_event::route::Presence;

    fn column(name: &str, kind: Kind, presence: Presence, low_cardinality: bool) -> Column {
        Column { name: name.into(), field: name.into(), kind, presence, low_cardinality }
    }

    fn route(columns: Vec<Column>) -> Route {
        Route {
            name: "visits".into(),
            topic: "visits".into(),
            postgres_table: "visits".into(),
            clickhouse_table: "visits".into(),
            timezone: "UTC".into(),
            columns,
        }
    }

    fn texts(rows: &[&str]) -> Values {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for row in rows {
            bytes.extend_from_slice(row.as_bytes());
            ends.push(u32::try_from(bytes.len()).unwrap());
        }
        Values::Text { bytes, ends }
    }

    /// The identity columns of the rows at offsets 7 and 9, of which `picked` go in.
    fn identity(offsets: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"\x0ckafka_source\x05Int64");
        offsets.iter().for_each(|_| out.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0]));
        out.extend_from_slice(b"\x0fkafka_partition\x05Int32");
        offsets.iter().for_each(|_| out.extend_from_slice(&[3, 0, 0, 0]));
        out.extend_from_slice(b"\x0ckafka_offset\x05Int64");
        offsets.iter().for_each(|&offset| out.extend_from_slice(&[offset, 0, 0, 0, 0, 0, 0, 0]));
        out.extend_from_slice(b"\x0breceived_at\x14DateTime64(6, 'UTC')");
        offsets.iter().for_each(|_| out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]));
        out
    }

    fn rows(columns: Vec<ColumnData>) -> Rows {
        Rows { offsets: vec![7, 9], received_at_us: vec![256, 256], columns }
    }

    /// A block, put together from pieces.
    fn put(mut block: Block<'_>, bytes_max: usize) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let mut piece = Vec::new();
            block.put(bytes_max, &mut piece);
            if piece.is_empty() {
                assert_eq!(whole.len(), block.byte_len());
                return whole;
            }
            whole.append(&mut piece);
        }
    }

    fn encoded(route: &Route, rows: &Rows, selection: Option<&[usize]>) -> Vec<u8> {
        let whole = put(block(route, rows, SourceId(5), 3, selection), usize::MAX);
        for bytes_max in [1, 2, 7, 64] {
            assert_eq!(
                put(block(route, rows, SourceId(5), 3, selection), bytes_max),
                whole,
                "in pieces of {bytes_max}"
            );
        }
        whole
    }

    #[test]
    fn plain_columns_are_what_clickhouse_documents() {
        let route = route(vec![
            column("link", Kind::Text, Presence::Required, false),
            column("score", Kind::Float, Presence::Required, false),
            column("mobile", Kind::Boolean, Presence::Required, false),
        ]);
        let rows = rows(vec![
            ColumnData { values: texts(&["/a", ""]), validity: None },
            ColumnData { values: Values::Float(vec![1.0, -0.0]), validity: None },
            ColumnData { values: Values::Boolean(vec![true, false]), validity: None },
        ]);
        let expected = [
            &[7, 2][..],
            b"\x04link\x06String\x02/a\x00",
            b"\x05score\x07Float64\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\x80",
            b"\x06mobile\x04Bool\x01\x00",
            &identity(&[7, 9]),
        ]
        .concat();
        assert_eq!(encoded(&route, &rows, None), expected);
    }

    #[test]
    fn a_null_has_its_mark_and_a_zero_value() {
        let route = route(vec![column("seen", Kind::Timestamp, Presence::Optional, false)]);
        let rows = rows(vec![ColumnData { values: Values::Timestamp(vec![-1, 0]), validity: Some(vec![true, false]) }]);
        let expected =
            [&[5, 2][..], b"\x04seen\x1eNullable(DateTime64(6, 'UTC'))\0\x01", &[0xff; 8], &[0; 8], &identity(&[7, 9])]
                .concat();
        assert_eq!(encoded(&route, &rows, None), expected);
    }

    #[test]
    fn a_selection_takes_exactly_its_rows() {
        let route = route(vec![column("count", Kind::Integer, Presence::Required, false)]);
        let rows = rows(vec![ColumnData { values: Values::Integer(vec![1, 2]), validity: None }]);
        let expected = [&[5, 1][..], b"\x05count\x05Int64\x02\0\0\0\0\0\0\0", &identity(&[9])].concat();
        assert_eq!(encoded(&route, &rows, Some(&[1])), expected);
    }

    #[test]
    fn a_dictionary_numbers_texts_by_first_appearance() {
        let route = route(vec![column("request", Kind::Text, Presence::Required, true)]);
        let rows = rows(vec![ColumnData { values: texts(&["GET", "POST"]), validity: None }]);
        let expected = [
            &[5, 2][..],
            b"\x07request\x16LowCardinality(String)",
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            b"\x03GET\x04POST",
            &[2, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &identity(&[7, 9]),
        ]
        .concat();
        assert_eq!(encoded(&route, &rows, None), expected);
    }

    #[test]
    fn a_nullable_dictionary_keeps_its_first_key_for_null() {
        let route = route(vec![column("request", Kind::Text, Presence::Optional, true)]);
        let rows = rows(vec![ColumnData { values: texts(&["", ""]), validity: Some(vec![false, true]) }]);
        let expected = [
            &[5, 2][..],
            b"\x07request\x20LowCardinality(Nullable(String))",
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0], // the key of null, then the empty text
            &[2, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &identity(&[7, 9]),
        ]
        .concat();
        assert_eq!(encoded(&route, &rows, None), expected);
    }

    #[test]
    fn a_long_text_has_a_long_length() {
        let mut out = Vec::new();
        put_varuint(300, &mut out);
        assert_eq!(out, [0xac, 2]);
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, usize::MAX] {
            out.clear();
            put_varuint(value, &mut out);
            assert_eq!(varuint_len(value), out.len(), "{value}");
        }
    }

    #[test]
    fn tables_without_a_database_are_in_the_configured_one() {
        let mut route = route(vec![column("link", Kind::Text, Presence::Required, false)]);
        assert_eq!(
            insert_statement(&route, "prd"),
            "insert into \"prd\".\"visits\" (\"link\", \"kafka_source\", \"kafka_partition\", \"kafka_offset\", \
             \"received_at\") format Native"
        );
        route.clickhouse_table = "other.visits".into();
        assert_eq!(table(&route, "prd"), "\"other\".\"visits\"");
    }
}
