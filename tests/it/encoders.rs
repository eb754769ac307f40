//! The values that were written are read back from the real databases, for every kind and its extremes: whole batches, batches
//! repaired row by row, new tables and adopted ones.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::BytesMut;
use footprint::store::clickhouse::fence::InsertId;
use footprint::store::clickhouse::insert::{Attempt, Inserter, NotInserted};
use footprint::store::clickhouse::native;
use footprint::store::postgres::copy;
use footprint_event::reject::{DeadLetter, Reason};
use footprint_event::route::{Column, Kind, Presence, Route};
use footprint_event::rows::{ColumnData, Rows, Values};
use footprint_protocol::ledger::{Identity, LedgerId, SourceId};
use footprint_protocol::offset::Range;
use footprint_service::traffic::Traffic;
use futures::SinkExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use uuid::Uuid;

use crate::support::calm;
use crate::support::databases::{DEADLINE, Databases, fresh_database, runtime};

const PARTITION: i32 = 3;
/// 1900-01-01 and the last microsecond of 2299: the range that the decoder accepts.
const TIMES: std::ops::RangeInclusive<i64> = -2_208_988_800_000_000..=10_413_791_999_999_999;

/// A row of every kind: text, few texts, time, integer, float, boolean, UUID as its text. First each one required, then each one
/// optional.
#[derive(Clone, Debug, PartialEq, clickhouse::Row, Deserialize)]
struct Everything {
    offset: i64,
    received_at_us: i64,
    text: Option<String>,
    label: Option<String>,
    time: Option<i64>,
    integer: Option<i64>,
    /// The bits, so that -0.0 differs from 0.0.
    float: Option<u64>,
    boolean: Option<bool>,
    uuid: Option<String>,
    text_optional: Option<String>,
    label_optional: Option<String>,
    time_optional: Option<i64>,
    integer_optional: Option<i64>,
    float_optional: Option<u64>,
    boolean_optional: Option<bool>,
    uuid_optional: Option<String>,
}

const NAMES: [(&str, Kind); 7] = [
    ("text", Kind::Text),
    ("label", Kind::Text),
    ("time", Kind::Timestamp),
    ("integer", Kind::Integer),
    ("float", Kind::Float),
    ("boolean", Kind::Boolean),
    ("uuid", Kind::Uuid),
];

fn route(like: &Route) -> Route {
    assert!(Kind::ALL.iter().all(|kind| NAMES.iter().any(|(_, named)| named == kind)), "a kind has no column");
    let column = |(name, kind): (&str, Kind), suffix: &str, presence: Presence| Column {
        name: format!("{name}{suffix}"),
        field: String::new(),
        kind,
        presence,
        low_cardinality: name == "label",
    };
    let needed = NAMES.map(|name| column(name, "", Presence::Required));
    let optional = NAMES.map(|name| column(name, "_optional", Presence::Optional));
    let (name, table) = ("everything".to_owned(), "everything".to_owned());
    Route {
        name,
        postgres_table: table.clone(),
        clickhouse_table: table,
        columns: needed.into_iter().chain(optional).collect(),
        ..like.clone()
    }
    .validated()
    .unwrap()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("𝄞🦀 é\u{10ffff}\u{1}\u{7f}\t\n\\N\"'".to_owned()),
        "[^\0]{0,40}",
        (120_usize..140).prop_map(|length| "x".repeat(length)),
        Just("long 🦀".repeat(5_000)),
    ]
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(-1), any::<i64>()]
}

fn float() -> impl Strategy<Value = u64> {
    let extremes = [
        0.0,
        -0.0,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        -f64::from_bits(1),
        0.1,
        1.0 + f64::EPSILON,
    ];
    prop_oneof![
        proptest::sample::select(extremes.to_vec()).prop_map(f64::to_bits),
        any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(f64::to_bits),
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![Just(*TIMES.start()), Just(*TIMES.end()), Just(0), Just(-1), Just(946_684_800_000_000), TIMES]
}

/// A UUID as its text. The first has another byte at each place.
fn uuid() -> impl Strategy<Value = String> {
    let extremes = [0x0123_4567_89ab_cdef_1032_5476_98ba_dcfe, 0, 1, 1 << 64, u128::MAX, u128::MAX - 1];
    prop_oneof![proptest::sample::select(extremes.to_vec()), any::<u128>()]
        .prop_map(|value| Uuid::from_u128(value).to_string())
}

fn row() -> impl Strategy<Value = Everything> {
    let label = || proptest::sample::select(vec!["", "GET", "POST", "🦀"]).prop_map(str::to_owned);
    let needed = (text(), label(), time(), integer(), float(), any::<bool>(), uuid());
    let optional = (
        proptest::option::of(text()),
        proptest::option::of(label()),
        proptest::option::of(time()),
        proptest::option::of(integer()),
        proptest::option::of(float()),
        proptest::option::of(any::<bool>()),
        proptest::option::of(uuid()),
    );
    // within one year, so that a block has few table partitions
    let received = 1_700_000_000_000_000_i64..1_731_000_000_000_000;
    (needed, optional, received).prop_map(|(needed, optional, received_at_us)| Everything {
        offset: 0,
        received_at_us,
        text: Some(needed.0),
        label: Some(needed.1),
        time: Some(needed.2),
        integer: Some(needed.3),
        float: Some(needed.4),
        boolean: Some(needed.5),
        uuid: Some(needed.6),
        text_optional: optional.0,
        label_optional: optional.1,
        time_optional: optional.2,
        integer_optional: optional.3,
        float_optional: optional.4,
        boolean_optional: optional.5,
        uuid_optional: optional.6,
    })
}

/// Rows at rising offsets with gaps, and which of them the first, half landed insert wrote.
fn batch() -> impl Strategy<Value = (Vec<Everything>, Vec<bool>)> {
    proptest::collection::vec((row(), 1_i64..4, any::<bool>()), 1..40).prop_map(|drawn| {
        let mut offset = -1;
        drawn
            .into_iter()
            .map(|(mut row, step, landed)| {
                offset += step;
                row.offset = offset;
                (row, landed)
            })
            .unzip()
    })
}

fn texts<'a>(rows: &'a [Everything], of: impl Fn(&'a Everything) -> &'a Option<String>, optional: bool) -> ColumnData {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for row in rows {
        bytes.extend_from_slice(of(row).as_deref().unwrap_or_default().as_bytes());
        ends.push(u32::try_from(bytes.len()).unwrap());
    }
    let validity = optional.then(|| rows.iter().map(|row| of(row).is_some()).collect());
    ColumnData { values: Values::Text { bytes, ends }, validity }
}

fn uuids(rows: &[Everything], of: impl Fn(&Everything) -> &Option<String>, optional: bool) -> ColumnData {
    let number = |row: &Everything| of(row).as_ref().map(|text| text.parse::<Uuid>().unwrap().as_u128());
    values(rows, number, optional, Values::Uuid)
}

fn values<T: Copy + Default>(
    rows: &[Everything],
    of: impl Fn(&Everything) -> Option<T>,
    optional: bool,
    make: impl Fn(Vec<T>) -> Values,
) -> ColumnData {
    let validity = optional.then(|| rows.iter().map(|row| of(row).is_some()).collect());
    ColumnData { values: make(rows.iter().map(|row| of(row).unwrap_or_default()).collect()), validity }
}

fn columns(rows: &[Everything]) -> Rows {
    let floats = |bits: Vec<u64>| Values::Float(bits.into_iter().map(f64::from_bits).collect());
    Rows {
        offsets: rows.iter().map(|row| row.offset).collect(),
        received_at_us: rows.iter().map(|row| row.received_at_us).collect(),
        columns: vec![
            texts(rows, |row| &row.text, false),
            texts(rows, |row| &row.label, false),
            values(rows, |row| row.time, false, Values::Timestamp),
            values(rows, |row| row.integer, false, Values::Integer),
            values(rows, |row| row.float, false, floats),
            values(rows, |row| row.boolean, false, Values::Boolean),
            uuids(rows, |row| &row.uuid, false),
            texts(rows, |row| &row.text_optional, true),
            texts(rows, |row| &row.label_optional, true),
            values(rows, |row| row.time_optional, true, Values::Timestamp),
            values(rows, |row| row.integer_optional, true, Values::Integer),
            values(rows, |row| row.float_optional, true, floats),
            values(rows, |row| row.boolean_optional, true, Values::Boolean),
            uuids(rows, |row| &row.uuid_optional, true),
        ],
    }
}

/// Writes the rows by COPY, in the smallest steps that the encoder makes.
async fn copy_rows(client: &tokio_postgres::Client, route: &Route, rows: &Rows, source: SourceId) {
    let sink = client.copy_in(&copy::rows_statement(route)).await.unwrap();
    futures::pin_mut!(sink);
    let mut out = BytesMut::new();
    copy::header(&mut out);
    let mut next = 0;
    while next < rows.len() {
        next = copy::rows(rows, next, source, PARTITION, &mut out, 1_000);
        sink.send(out.split().freeze()).await.unwrap();
    }
    copy::trailer(&mut out);
    sink.send(out.freeze()).await.unwrap();
    sink.close().await.unwrap();
}

async fn read_postgres(client: &tokio_postgres::Client, source: SourceId) -> Vec<Everything> {
    let us = |column: &str| format!("(extract(epoch from {column}) * 1000000)::bigint");
    let sql = format!(
        "select kafka_offset, {}, text, label, {}, integer, float8send(float), boolean, uuid::text, text_optional, \
         label_optional, {}, integer_optional, float8send(float_optional), boolean_optional, uuid_optional::text from everything \
         where kafka_source = $1 and kafka_partition = $2 order by kafka_offset",
        us("received_at"),
        us("time"),
        us("time_optional")
    );
    let bits = |bytes: Option<Vec<u8>>| bytes.map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let rows = client.query(&sql, &[&source.0, &PARTITION]).await.unwrap();
    rows.iter()
        .map(|row| Everything {
            offset: row.get(0),
            received_at_us: row.get(1),
            text: row.get(2),
            label: row.get(3),
            time: row.get(4),
            integer: row.get(5),
            float: bits(row.get(6)),
            boolean: row.get(7),
            uuid: row.get(8),
            text_optional: row.get(9),
            label_optional: row.get(10),
            time_optional: row.get(11),
            integer_optional: row.get(12),
            float_optional: bits(row.get(13)),
            boolean_optional: row.get(14),
            uuid_optional: row.get(15),
        })
        .collect()
}

async fn read_clickhouse(client: &clickhouse::Client, source: SourceId) -> Vec<Everything> {
    let text = |column: &str| format!("cast({column} as Nullable(String))");
    let us = |column: &str| format!("toNullable(toUnixTimestamp64Micro({column}))");
    let bits = |column: &str| format!("toNullable(reinterpretAsUInt64({column}))");
    let half = |suffix: &str| {
        let name = |name: &str| format!("{name}{suffix}");
        [
            text(&name("text")),
            text(&name("label")),
            us(&name("time")),
            format!("toNullable({})", name("integer")),
            format!("if(isNull({0}), null, {1})", name("float"), bits(&format!("assumeNotNull({})", name("float")))),
            format!("toNullable({})", name("boolean")),
            format!("cast({} as Nullable(String))", name("uuid")),
        ]
    };
    let sql = format!(
        "select assumeNotNull(kafka_offset), assumeNotNull(toUnixTimestamp64Micro(received_at)), {} from everything \
         where kafka_source = {} and kafka_partition = {PARTITION} order by kafka_offset",
        half("").into_iter().chain(half("_optional")).collect::<Vec<_>>().join(", "),
        source.0
    );
    client.query(&sql).fetch_all::<Everything>().await.unwrap()
}

/// Writes one batch to both databases. ClickHouse gets two inserts: first what `landed`, then a repair of the rest.
async fn round_trip(databases: &Databases, route: &Route, written: &[Everything], landed: &[bool]) {
    static NEXT_SOURCE: AtomicI64 = AtomicI64::new(i64::MAX);
    let source = SourceId(NEXT_SOURCE.fetch_sub(1, Ordering::Relaxed));
    let rows = columns(written);
    let postgres = databases.postgres().await;
    copy_rows(&postgres, route, &rows, source).await;
    assert_eq!(read_postgres(&postgres, source).await, written);

    let client = databases.clickhouse();
    let mut inserter = Inserter::new(&client, &Traffic::default(), &databases.config.clickhouse, route, DEADLINE);
    let range = Range::new(0, rows.offsets[rows.len() - 1] + 1);
    let identity = Identity { source, partition: PARTITION, range };
    for (level, half) in [true, false].into_iter().enumerate() {
        let picked: Vec<usize> = (0..rows.len()).filter(|&row| landed[row] == half).collect();
        let selection = (picked.len() < rows.len()).then_some(picked.as_slice());
        if picked.is_empty() {
            continue;
        }
        let block = || native::block(route, &rows, source, PARTITION, selection);
        let attempt = Attempt { route: &route.name, identity, birth: 1, level: u32::try_from(level).unwrap() };
        let id = InsertId::new(&databases.name, &route.clickhouse_table, LedgerId(1), source, PARTITION);
        // the id of the previous insert is free a moment after its answer
        while let Err(failed) = inserter.insert(&attempt, &id, block()).await {
            match failed {
                NotInserted::Failed { error, .. } => assert!(error.is_taken(), "{error}"),
                NotInserted::Silent(silent) => panic!("{silent}"),
            }
        }
    }
    assert_eq!(read_clickhouse(&client, source).await, written);
}

fn every_batch_comes_back(databases: &Databases) {
    let runtime = runtime();
    runtime.block_on(databases.migrate());
    let mut runner = TestRunner::new(ProptestConfig { cases: 48, ..ProptestConfig::default() });
    runner
        .run(&batch(), |(written, landed)| {
            runtime.block_on(round_trip(databases, &databases.config.routes[0], &written, &landed));
            Ok(())
        })
        .unwrap();
}

fn databases(what: &str) -> Databases {
    let mut databases = fresh_database(what);
    databases.config.routes[0] = route(&databases.config.routes[0]);
    databases
}

#[test]
fn fresh_tables_give_back_what_was_written() {
    let _up = calm();
    every_batch_comes_back(&databases("encoders"));
}

#[test]
fn adopted_tables_give_back_what_was_written() {
    let _up = calm();
    let databases = databases("encoders_adopted").for_adopter();
    databases.postgres_query(
        "create table everything (label varchar(10), text varchar, time timestamp, uuid_optional uuid); \
         alter table everything owner to footprint; insert into everything values ('GET', 'old', '2024-03-01')",
    );
    databases.clickhouse_query(
        "create table {db}.everything (text String, label LowCardinality(String), time DateTime64(6, 'UTC'), \
         uuid LowCardinality(UUID), uuid_optional Nullable(UUID)) engine MergeTree order by time",
    );
    every_batch_comes_back(&databases);
    assert_eq!(databases.postgres_query("select count(*) from everything where kafka_source is null"), ["1"]);
}

#[test]
fn a_dictionary_of_any_width_comes_back() {
    let _up = calm();
    let databases = databases("encoders_dictionary");
    let runtime = runtime();
    runtime.block_on(databases.migrate());
    let route = &databases.config.routes[0];
    let sample = Everything {
        offset: 0,
        received_at_us: 1_700_000_000_000_000,
        text: Some("/".into()),
        label: None,
        time: Some(0),
        integer: Some(0),
        float: Some(0),
        boolean: Some(false),
        uuid: Some(Uuid::nil().to_string()),
        text_optional: None,
        label_optional: None,
        time_optional: None,
        integer_optional: None,
        float_optional: None,
        boolean_optional: None,
        uuid_optional: None,
    };
    for count in [256_i64, 257, 65_536, 65_537] {
        let rows: Vec<Everything> = (0..count)
            .map(|offset| Everything {
                offset,
                label: Some(format!("label {offset}")),
                label_optional: (offset % 3 > 0).then(|| format!("label {}", offset / 2)),
                ..sample.clone()
            })
            .collect();
        let landed = vec![true; rows.len()];
        runtime.block_on(round_trip(&databases, route, &rows, &landed));
    }
}

#[test]
fn dead_letters_come_back_whole() {
    let _up = calm();
    let databases = databases("encoders_dead");
    let runtime = runtime();
    runtime.block_on(async {
        databases.migrate().await;
        let letter = |offset, key: Option<&[u8]>, payload: Option<&[u8]>, headers: &str, reason| DeadLetter {
            offset,
            received_at_us: 0,
            key: key.map(<[u8]>::to_vec),
            payload: payload.map(<[u8]>::to_vec),
            headers: headers.as_bytes().to_vec(),
            reason,
        };
        let letters = [
            letter(1, None, None, "", Reason::NullPayload),
            letter(2, Some(b"\0\xff"), Some(b""), r#"[{"key": "a", "value": "b"}]"#, Reason::NotJson),
            letter(i64::MAX, Some(b""), Some(&[0xff; 300_000]), "[]", Reason::NotUtf8),
        ];
        let client = databases.postgres().await;
        let sink = client.copy_in(copy::dead_letters_statement()).await.unwrap();
        futures::pin_mut!(sink);
        let (mut out, mut next, mut steps) = (BytesMut::new(), 0, BTreeSet::new());
        copy::header(&mut out);
        let route = &databases.config.routes[0];
        while next < letters.len() {
            next = copy::dead_letters(route, &letters, next, SourceId(7), PARTITION, &mut out, 1);
            steps.insert(next);
            sink.send(out.split().freeze()).await.unwrap();
        }
        copy::trailer(&mut out);
        sink.send(out.freeze()).await.unwrap();
        sink.close().await.unwrap();
        assert_eq!(steps, BTreeSet::from([1, 2, 3]));
    });
    assert_eq!(
        databases.postgres_query(
            "select route, kafka_source, kafka_partition, kafka_offset, key, length(payload), headers, reason, \
             extract(epoch from received_at)::bigint from dead_letters order by kafka_offset"
        ),
        [
            "everything|7|3|1|∅|∅|∅|null_payload: the message has no payload|0",
            r#"everything|7|3|2|\x00ff|0|[{"key": "a", "value": "b"}]|not_json: the payload is not one JSON value|0"#,
            "everything|7|3|9223372036854775807|\\x|300000|[]|not_utf8: the payload is not UTF-8|0",
        ]
    );
}
