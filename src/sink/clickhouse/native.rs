//! ClickHouse's Native format: one block a batch, columns in, wire bytes out. Which rows go in is the caller's choice, so a
//! repair inserts exactly what is missing. The same rows always make the same bytes. It never talks to a server.
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

use xxhash_rust::xxh3::xxh3_64;

use crate::batch::{ColumnData, Rows, Values, text_at};
use crate::ledger::SourceId;
use crate::offset::Partition;
use crate::route::{Column, IDENTITY_COLUMNS, Kind, Route, quoted};

/// The version of a dictionary's form: keys come with the block.
const DICTIONARY_VERSION: u64 = 1;
/// Flags beside the index width: the block brings its own keys (bit 9), and they replace the ones before (bit 10).
const KEYS_FOLLOW: u64 = 1 << 9 | 1 << 10;
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
}

/// Appends one block with the rows of `selection` (indices into `rows`), or all of them.
pub fn block(
    route: &Route,
    rows: &Rows,
    source: SourceId,
    partition: Partition,
    selection: Option<&[usize]>,
    out: &mut Vec<u8>,
) {
    assert_eq!(route.columns.len(), rows.columns.len(), "rows of another route");
    let picked = selection.map_or(Picked::All(rows.len()), Picked::Some);
    out.reserve(block_bytes(rows, picked.len()));
    put_varuint(route.columns.len() + IDENTITY_COLUMNS.len(), out);
    put_varuint(picked.len(), out);
    for (column, data) in route.columns.iter().zip(&rows.columns) {
        put_text(column.name.as_bytes(), out);
        put_text(column_type(column).as_bytes(), out);
        put_column(column, data, picked, out);
    }
    for (index, (name, kind)) in IDENTITY_COLUMNS.iter().zip(IDENTITY_TYPES).enumerate() {
        put_text(name.as_bytes(), out);
        put_text(kind.as_bytes(), out);
        match index {
            0 => picked.for_each(|_| out.extend_from_slice(&source.0.to_le_bytes())),
            1 => picked.for_each(|_| out.extend_from_slice(&partition.to_le_bytes())),
            2 => put_i64s(&rows.offsets, picked, out),
            _ => put_i64s(&rows.received_at_us, picked, out),
        }
    }
}

/// About what a block will need; a little more costs nothing, less costs one copy.
fn block_bytes(rows: &Rows, picked: usize) -> usize {
    let fixed = 28 * picked + 64 * (rows.columns.len() + IDENTITY_COLUMNS.len());
    let columns = rows.columns.iter().map(|column| match &column.values {
        Values::Text { bytes, ends } => (bytes.len() / ends.len().max(1) + 3) * picked,
        _ => 9 * picked,
    });
    fixed + columns.sum::<usize>()
}

fn put_column(column: &Column, data: &ColumnData, picked: Picked<'_>, out: &mut Vec<u8>) {
    if let (Values::Text { bytes, ends }, true) = (&data.values, column.low_cardinality) {
        return put_dictionary(bytes, ends, data.validity.as_deref(), picked, out);
    }
    if let Some(validity) = &data.validity {
        picked.for_each(|row| out.push(u8::from(!validity[row])));
    }
    match &data.values {
        Values::Text { bytes, ends } => picked.for_each(|row| put_text(text_at(bytes, ends, row), out)),
        Values::Timestamp(values) | Values::Integer(values) => put_i64s(values, picked, out),
        Values::Float(values) => picked.for_each(|row| out.extend_from_slice(&values[row].to_le_bytes())),
        Values::Boolean(values) => picked.for_each(|row| out.push(u8::from(values[row]))),
    }
}

fn put_i64s(values: &[i64], picked: Picked<'_>, out: &mut Vec<u8>) {
    picked.for_each(|row| out.extend_from_slice(&values[row].to_le_bytes()));
}

fn put_dictionary(bytes: &[u8], ends: &[u32], validity: Option<&[bool]>, picked: Picked<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&DICTIONARY_VERSION.to_le_bytes());
    if picked.len() == 0 {
        return;
    }
    let mut dictionary = Dictionary::new(bytes, ends, validity.is_some());
    let mut indices = Vec::with_capacity(picked.len());
    picked.for_each(|row| {
        let is_null = validity.is_some_and(|validity| !validity[row]);
        indices.push(if is_null { 0 } else { dictionary.index_of(row) });
    });
    let key_count = dictionary.key_count();
    let width: u64 = match key_count {
        0..=0x100 => 0,
        0x101..=0x1_0000 => 1,
        _ => 2,
    };
    out.extend_from_slice(&(KEYS_FOLLOW | width).to_le_bytes());
    out.extend_from_slice(&(key_count as u64).to_le_bytes());
    if dictionary.has_null {
        put_text(b"", out);
    }
    dictionary.keys.iter().for_each(|&row| put_text(text_at(bytes, ends, row), out));
    out.extend_from_slice(&(indices.len() as u64).to_le_bytes());
    match width {
        0 => out.extend(indices.iter().map(|&index| index as u8)),
        1 => indices.iter().for_each(|&index| out.extend_from_slice(&(index as u16).to_le_bytes())),
        _ => indices.iter().for_each(|&index| out.extend_from_slice(&index.to_le_bytes())),
    }
}

/// Numbers distinct texts in the order of their first row. An open hash table of indices: the texts stay in the batch.
struct Dictionary<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
    /// Whether index 0 means null.
    has_null: bool,
    /// The first row of each distinct text.
    keys: Vec<usize>,
    /// 0: free; else the number of a key plus one. A power of two, at most half full.
    slots: Vec<u32>,
    /// The row before and its key's number: visits come in runs.
    last: Option<(usize, u32)>,
}

impl<'a> Dictionary<'a> {
    fn new(bytes: &'a [u8], ends: &'a [u32], has_null: bool) -> Self {
        Self { bytes, ends, has_null, keys: Vec::new(), slots: vec![0; 64], last: None }
    }

    fn key_count(&self) -> usize {
        self.keys.len() + usize::from(self.has_null)
    }

    fn text(&self, row: usize) -> &'a [u8] {
        text_at(self.bytes, self.ends, row)
    }

    /// The index of the row's text, which becomes a key when it is new.
    fn index_of(&mut self, row: usize) -> u32 {
        let text = self.text(row);
        if let Some((last_row, index)) = self.last
            && self.text(last_row) == text
        {
            return index;
        }
        let mut slot = self.slot_of(text);
        let number = match self.slots[slot] {
            0 => {
                if (self.keys.len() + 1) * 2 > self.slots.len() {
                    self.grow();
                    slot = self.slot_of(text);
                }
                self.keys.push(row);
                // a batch has at most BATCH_ROWS_MAX rows
                self.slots[slot] = self.keys.len() as u32;
                self.keys.len() as u32 - 1
            }
            taken => taken - 1,
        };
        let index = number + u32::from(self.has_null);
        self.last = Some((row, index));
        index
    }

    /// Where the text's key is, or would be.
    fn slot_of(&self, text: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = xxh3_64(text) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return slot,
                taken if self.text(self.keys[taken as usize - 1]) == text => return slot,
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 4];
        for (number, &row) in self.keys.iter().enumerate() {
            let slot = self.slot_of(self.text(row));
            self.slots[slot] = number as u32 + 1;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Presence;

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

    fn encoded(route: &Route, rows: &Rows, selection: Option<&[usize]>) -> Vec<u8> {
        let mut out = Vec::new();
        block(route, rows, SourceId(5), 3, selection, &mut out);
        out
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
    fn the_index_is_as_wide_as_the_keys_need() {
        for (count, width, index_bytes) in [(256_usize, 0_u8, 1_usize), (257, 1, 2), (65_536, 1, 2), (65_537, 2, 4)] {
            let names: Vec<String> = (0..count).map(|number| format!("{number:06}")).collect();
            let Values::Text { bytes, ends } = texts(&names.iter().map(String::as_str).collect::<Vec<_>>()) else {
                unreachable!()
            };
            let mut out = Vec::new();
            put_dictionary(&bytes, &ends, None, Picked::All(count), &mut out);
            assert_eq!(out[8], width, "{count} keys");
            assert_eq!(out.len(), 8 + 8 + 8 + count * 7 + 8 + count * index_bytes);
            let last = &out[out.len() - index_bytes..];
            assert_eq!(last, &(count as u64 - 1).to_le_bytes()[..index_bytes]);
        }
    }

    #[test]
    fn a_long_text_has_a_long_length() {
        let mut out = Vec::new();
        put_varuint(300, &mut out);
        assert_eq!(out, [0xac, 2]);
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
