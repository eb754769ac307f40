//! ClickHouse's Native format: encodes the columns of a batch as one block. The caller chooses the rows, so a repair inserts exactly
//! what is missing. The same rows always give the same bytes. It does no I/O: the caller sends each piece.
//!
//! This is the form of a block over HTTP. Client and server agree on no revision there, so ClickHouse's `NativeReader` uses revision 0.
//! Numbers are little-endian; lengths and counts are LEB128 `varuint`.
//!
//! | part                             | bytes                                                                    |
//! |----------------------------------|--------------------------------------------------------------------------|
//! | block                            | columns, rows, then each column: name, type, data                        |
//! | `String`                         | each row: length, bytes                                                  |
//! | `Int32`, `Int64`, `Float64`      | each row: 4 or 8 bytes                                                   |
//! | `DateTime64(6, 'UTC')`           | each row: microseconds since the epoch, as `Int64`                       |
//! | `Bool`                           | each row: 0 or 1                                                         |
//! | `UUID`                           | each row: the upper 8 bytes as `UInt64`, then the lower 8: each half's   |
//! |                                  | bytes are in the opposite order of the text                              |
//! | `Nullable(T)`                    | each row: 1 for null, else 0; then the data of `T`, any value for a null |
//! | `LowCardinality(String)`         | `u64` 1 (version), `u64` flags (keys follow) and the width of an index,  |
//! |                                  | `u64` number of keys, the keys as `String`, `u64` rows, each row's index |
//! | `LowCardinality(Nullable(String))` | the same; key 0 stands for null and is empty                           |
//!
//! A `UUID` is sent as the server's memory holds its `UInt128`, whose upper half comes first (`UUIDHelpers` in ClickHouse's
//! `Core/UUID.h`; `SerializationUUID` writes these bytes unchanged). RowBinary has the same form.
//!
//! The identity columns are never null here. In an adopted table they are nullable, and the server converts them, at no measurable
//! cost. A dictionary costs some 10 ns a row here. With short texts it saves the server nothing; with texts of 100 bytes it saves a
//! third of the server's work and half of the bytes sent.

mod dictionary;
mod part;

use footprint_event::route::{Column, IDENTITY_COLUMNS, Kind, Route, quoted};
use footprint_event::rows::{ColumnData, Rows, Values};
use footprint_protocol::ledger::SourceId;
use footprint_protocol::offset::Partition;

use self::part::{Part, Picked, put_text, put_varuint};

/// The type of an instant in ClickHouse.
const TIMESTAMP_TYPE: &str = Kind::Timestamp.form().clickhouse_type;
/// The types of the identity columns in a table that footprint made, in the order of [`IDENTITY_COLUMNS`].
pub(super) const IDENTITY_TYPES: [&str; 4] = ["Int64", "Int32", "Int64", TIMESTAMP_TYPE];

/// The statement for the data that [`block`] encodes: the route's columns, then the identity.
pub fn insert_statement(route: &Route, database: &str) -> String {
    let mut columns: Vec<String> = route.columns.iter().map(|column| quoted(&column.name)).collect();
    columns.extend(IDENTITY_COLUMNS.map(quoted));
    format!("insert into {} ({}) format Native", table(route, database), columns.join(", "))
}

/// The table of a route in SQL: `"database"."table"`.
pub fn table(route: &Route, database: &str) -> String {
    if route.clickhouse_table.contains('.') {
        quoted(&route.clickhouse_table)
    } else {
        format!("\"{}\".{}", database.replace('"', "\\\""), quoted(&route.clickhouse_table))
    }
}

/// The type of a column in ClickHouse.
pub fn column_type(column: &Column) -> String {
    let plain = column.kind.form().clickhouse_type;
    let nullable = if column.is_nullable() { format!("Nullable({plain})") } else { plain.to_owned() };
    if column.low_cardinality { format!("LowCardinality({nullable})") } else { nullable }
}

/// One block. It is encoded piece by piece while it is sent: each piece is still in the processor's cache when the socket takes it, and
/// the encoded batch is never in memory as a whole.
pub struct Block<'a> {
    parts: Vec<Part<'a>>,
    picked: Picked<'a>,
    /// The next part, and how much of it is encoded already.
    part: usize,
    done: usize,
}

/// The most parts that a column has: its head, and the four of a dictionary.
const PARTS_A_COLUMN_MAX: usize = 5;

/// A block with the rows of `selection` (indices into `rows`), or with all rows.
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
        Values::Uuid(values) => Part::Uuids(values),
    });
}

impl Block<'_> {
    /// The length of the whole block, in bytes.
    pub fn byte_len(&self) -> usize {
        self.parts.iter().map(|part| part.byte_len(self.picked)).sum()
    }

    /// Appends the next bytes to `out` until it holds `bytes_max` or the block ends. The last value may exceed the bound.
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

#[cfg(test)]
mod tests;
