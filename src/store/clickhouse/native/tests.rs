use super::part::varuint_len;
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

/// The identity columns of rows at `offsets`, as a block holds them.
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

/// A block as a whole, put together from pieces of `bytes_max` bytes.
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
        assert_eq!(put(block(route, rows, SourceId(5), 3, selection), bytes_max), whole, "in pieces of {bytes_max}");
    }
    whole
}

#[test]
fn plain_columns_are_what_clickhouse_documents() {
    let route = route(vec![
        column("link", Kind::Text, Presence::Required, false),
        column("score", Kind::Float, Presence::Required, false),
        column("mobile", Kind::Boolean, Presence::Required, false),
        column("visitor", Kind::Uuid, Presence::Required, false),
    ]);
    let rows = rows(vec![
        ColumnData { values: texts(&["/a", ""]), validity: None },
        ColumnData { values: Values::Float(vec![1.0, -0.0]), validity: None },
        ColumnData { values: Values::Boolean(vec![true, false]), validity: None },
        ColumnData { values: Values::Uuid(vec![0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f, u128::MAX]), validity: None },
    ]);
    let expected = [
        &[8, 2][..],
        b"\x04link\x06String\x02/a\x00",
        b"\x05score\x07Float64\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\x80",
        b"\x06mobile\x04Bool\x01\x00",
        b"\x07visitor\x04UUID\x07\x06\x05\x04\x03\x02\x01\x00\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08",
        &[0xff; 16],
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
