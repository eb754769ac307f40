//! Encodes rows for the two servers: PostgreSQL's binary COPY and ClickHouse's Native format. Only the bare load uses this code, so it
//! measures the servers and not the program's encoders. The code knows the kinds of columns that the shipped route has.

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use footprint_event::route::{IDENTITY_COLUMNS, Route, quoted};
use footprint_event::rows::{ColumnData, Rows, Values, text_at};

/// Bytes of COPY data that go to the client at once.
const COPY_CHUNK_BYTES: usize = 256 << 10;
/// The partition of every row of the bare load.
const PARTITION: i32 = 0;

/// PostgreSQL counts microseconds from 2000-01-01, which is this long after 1970-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// The start of binary COPY: the signature, no flags, no extension.
const COPY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of binary COPY, in place of a row's number of fields.
const COPY_TRAILER: i16 = -1;

/// ClickHouse's types of the identity columns, in the order of [`IDENTITY_COLUMNS`].
const IDENTITY_TYPES: [&str; 4] = ["Int64", "Int32", "Int64", TIMESTAMP_TYPE];
const TIMESTAMP_TYPE: &str = "DateTime64(6, 'UTC')";
/// The version of a dictionary's form in Native: its keys are in the block.
const DICTIONARY_VERSION: u64 = 1;
/// The block has keys (bit 9), they replace earlier ones (bit 10), and an index is one byte wide (0).
const DICTIONARY_FLAGS: u64 = 1 << 9 | 1 << 10;

/// The COPY statement whose data [`copy_chunks`] makes.
pub(super) fn copy_statement(route: &Route) -> String {
    format!("copy {} ({}) from stdin (format binary)", quoted(&route.postgres_table), column_list(route))
}

/// The INSERT statement whose data [`native_block`] makes.
pub(super) fn insert_statement(route: &Route, database: &str) -> String {
    let table = quoted(&route.clickhouse_table);
    format!("insert into {}.{table} ({}) format Native", quoted(database), column_list(route))
}

fn column_list(route: &Route) -> String {
    let names = route.columns.iter().map(|column| column.name.as_str()).chain(IDENTITY_COLUMNS);
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

/// The data of one COPY with the rows `from..to`, in chunks.
pub(super) fn copy_chunks(rows: &Rows, from: usize, to: usize, source: i64) -> Result<Vec<Bytes>> {
    let field_count = i16::try_from(rows.columns.len() + IDENTITY_COLUMNS.len())?;
    let mut chunks = Vec::new();
    let mut buffer = BytesMut::new();
    buffer.put_slice(COPY_HEADER);
    for row in from..to {
        buffer.put_i16(field_count);
        for column in &rows.columns {
            copy_field(column, row, &mut buffer)?;
        }
        copy_i64(source, &mut buffer);
        buffer.put_i32(4);
        buffer.put_i32(PARTITION);
        copy_i64(rows.offsets[row], &mut buffer);
        copy_i64(rows.received_at_us[row] - POSTGRES_EPOCH_US, &mut buffer);
        if buffer.len() >= COPY_CHUNK_BYTES {
            chunks.push(buffer.split().freeze());
        }
    }
    buffer.put_i16(COPY_TRAILER);
    chunks.push(buffer.freeze());
    Ok(chunks)
}

fn copy_field(column: &ColumnData, row: usize, out: &mut BytesMut) -> Result<()> {
    ensure!(column.validity.is_none(), "the bare load has no column that can be null");
    match &column.values {
        Values::Text { bytes, ends } => {
            let text = text_at(bytes, ends, row);
            out.put_i32(i32::try_from(text.len())?);
            out.put_slice(text);
        }
        Values::Timestamp(values) => copy_i64(values[row] - POSTGRES_EPOCH_US, out),
        _ => bail!("the bare load has columns of text and time alone"),
    }
    Ok(())
}

fn copy_i64(value: i64, out: &mut BytesMut) {
    out.put_i32(8);
    out.put_i64(value);
}

/// One Native block with all `rows`.
pub(super) fn native_block(route: &Route, rows: &Rows, source: i64) -> Result<Bytes> {
    let mut out = Vec::new();
    put_varuint(route.columns.len() + IDENTITY_COLUMNS.len(), &mut out);
    put_varuint(rows.len(), &mut out);
    for (column, data) in route.columns.iter().zip(&rows.columns) {
        ensure!(data.validity.is_none(), "the bare load has no column that can be null");
        match &data.values {
            Values::Text { bytes, ends } if column.low_cardinality => {
                put_head(&column.name, "LowCardinality(String)", &mut out);
                put_dictionary(bytes, ends, &mut out)?;
            }
            Values::Text { bytes, ends } => {
                put_head(&column.name, "String", &mut out);
                (0..rows.len()).for_each(|row| put_text(text_at(bytes, ends, row), &mut out));
            }
            Values::Timestamp(values) => {
                put_head(&column.name, TIMESTAMP_TYPE, &mut out);
                values.iter().for_each(|value| out.put_i64_le(*value));
            }
            _ => bail!("the bare load has columns of text and time alone"),
        }
    }
    let [source_column, partition_column, offset_column, received_column] = IDENTITY_COLUMNS;
    let [source_type, partition_type, offset_type, received_type] = IDENTITY_TYPES;
    put_head(source_column, source_type, &mut out);
    (0..rows.len()).for_each(|_| out.put_i64_le(source));
    put_head(partition_column, partition_type, &mut out);
    (0..rows.len()).for_each(|_| out.put_i32_le(PARTITION));
    put_head(offset_column, offset_type, &mut out);
    rows.offsets.iter().for_each(|offset| out.put_i64_le(*offset));
    put_head(received_column, received_type, &mut out);
    rows.received_at_us.iter().for_each(|time| out.put_i64_le(*time));
    Ok(Bytes::from(out))
}

fn put_head(name: &str, kind: &str, out: &mut Vec<u8>) {
    put_text(name.as_bytes(), out);
    put_text(kind.as_bytes(), out);
}

/// Appends the distinct texts, in the order of their first rows, and then each row's index.
fn put_dictionary(bytes: &[u8], ends: &[u32], out: &mut Vec<u8>) -> Result<()> {
    let mut keys: Vec<&[u8]> = Vec::new();
    let mut indices = Vec::with_capacity(ends.len());
    for row in 0..ends.len() {
        let text = text_at(bytes, ends, row);
        let index = keys.iter().position(|key| *key == text).unwrap_or_else(|| {
            keys.push(text);
            keys.len() - 1
        });
        indices.push(u8::try_from(index).context("more than 256 texts in a column of low cardinality")?);
    }
    out.put_u64_le(DICTIONARY_VERSION);
    out.put_u64_le(DICTIONARY_FLAGS);
    out.put_u64_le(keys.len() as u64);
    keys.iter().for_each(|key| put_text(key, out));
    out.put_u64_le(indices.len() as u64);
    out.extend_from_slice(&indices);
    Ok(())
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_varuint(text.len(), out);
    out.extend_from_slice(text);
}

/// Appends a number as LEB128: seven bits in each byte, the lowest first.
fn put_varuint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
