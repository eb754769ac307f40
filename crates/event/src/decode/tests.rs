//! What becomes a row, and what becomes a dead letter. serde_json is the oracle: it and the decoder read the same payloads alike,
//! except for what the head of `event/decode/mod.rs` says.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::rows::text_at;

mod properties;

/// The first route, for all tests that make or read its events.
pub(crate) fn footprint_route() -> Route {
    route(vec![
        column("method", Kind::Text, Presence::Required),
        column("link", Kind::Text, Presence::Required),
        column("footprint_time", Kind::Timestamp, Presence::Required),
    ])
}

fn column(field: &str, kind: Kind, presence: Presence) -> Column {
    let name = if field == "method" { "request" } else { field };
    Column { name: name.into(), field: field.into(), kind, presence, low_cardinality: false }
}

fn route(columns: Vec<Column>) -> Route {
    Route {
        name: "user_footprint".into(),
        topic: "footprint".into(),
        postgres_table: "user_footprint".into(),
        clickhouse_table: "user_footprint".into(),
        timezone: "UTC".into(),
        columns,
    }
    .validated()
    .unwrap()
}

fn record(payload: &[u8]) -> Record<'_> {
    Record { offset: 7, timestamp_ms: 1_000, key: None, payload: Some(payload), headers: None }
}

/// The result for one payload, by a new decoder. If it is refused, the rows must be unchanged.
fn decode_one(route: &Route, payload: &[u8]) -> Result<Rows, Reason> {
    let mut rows = Rows::empty(route);
    match Decoder::new(route).unwrap().decode(record(payload), &mut rows) {
        Ok(()) => Ok(rows),
        Err(reason) => {
            assert_eq!(rows, Rows::empty(route));
            Err(reason)
        }
    }
}

/// The code of the refusal of a page move, or "" if it is accepted.
fn code(payload: impl AsRef<[u8]>) -> &'static str {
    decode_one(&footprint_route(), payload.as_ref()).err().map_or("", |reason| reason.code())
}

/// The result for a route of one column `a`.
fn one(kind: Kind, presence: Presence, payload: &str) -> Result<ColumnData, Reason> {
    decode_one(&route(vec![column("a", kind, presence)]), payload.as_bytes()).map(|mut rows| rows.columns.remove(0))
}

fn text(values: &str) -> Values {
    Values::Text { bytes: values.into(), ends: vec![values.len() as u32] }
}

#[test]
fn a_page_move_becomes_a_row() {
    let payload = br#"{"link": "/caf\u00e9", "method": "GET", "footprint_time": 1714979289123}"#;
    let rows = decode_one(&footprint_route(), payload).unwrap();
    assert_eq!((rows.offsets, rows.received_at_us), (vec![7], vec![1_000_000]));
    assert_eq!(rows.columns[0].values, text("GET"));
    assert_eq!(rows.columns[1].values, text("/café"));
    assert_eq!(rows.columns[2].values, Values::Timestamp(vec![1_714_979_289_123_000]));
    assert!(rows.columns.iter().all(|column| column.validity.is_none()));
}

#[test]
fn a_record_without_a_kafka_timestamp_was_received_at_the_epoch() {
    let route = footprint_route();
    let mut rows = Rows::empty(&route);
    let payload = br#"{"link":"/","method":"GET","footprint_time":1}"#.as_slice();
    for (offset, timestamp_ms) in [(0, -1), (1, i64::MAX), (2, 1_714_979_289_123)] {
        let record = Record { offset, timestamp_ms, ..record(payload) };
        Decoder::new(&route).unwrap().decode(record, &mut rows).unwrap();
    }
    assert_eq!(rows.received_at_us, [0, 10_413_791_999_999_000, 1_714_979_289_123_000]);
}

#[test]
fn what_is_no_page_move_is_a_dead_letter_with_its_reason() {
    for (expected, payloads) in [
        ("", [
            r#"{"link":"/","method":"GET","footprint_time":1}"#,
            " \r\n\t{\"link\" : \"/\" , \"method\":\"\",\"footprint_time\":-1}\n",
            r#"{"x":{"link":1,"y":[{"link":2}]},"link":"/","method":"GET","footprint_time":1,"z":[null,true,1.5,"\u0000"]}"#,
            r#"{"li\u006ek":"\/\"\\\b\f\n\r\t\ud83d\ude00","method":"GET","footprint_time":"2024-05-06\u005407:08:09Z"}"#,
            r#"{"x":1,"x":2,"":3,"link":"/","method":"GET","footprint_time":1}"#,
            // no route asks for these fields: the old consumer, with Python's json.loads, stored all of these events
            r#"{"link":"/","method":"GET","footprint_time":1,"x":18446744073709551616}"#,
            r#"{"x":-9223372036854775809,"link":"/","method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":"GET","x":1e400,"footprint_time":1}"#,
            r#"{"link":"/","method":"GET","footprint_time":1,"x":[-1e309,{"y":1e999999}]}"#,
            r#"{"title":"\ud83d","link":"/","method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":"GET","footprint_time":1,"x":["\udfff","\ud83d\u0041"],"\ud800":1}"#,
            r#"{"link":"/","method":"GET","footprint_time":1,"x":NaN,"y":[Infinity,-Infinity]}"#,
            r#"{"x":{"link":1e400,"link":"\ud83d"},"link":"/","method":"GET","footprint_time":1}"#,
            r#"{"lin\u006b":"/","\ud83dlink":1e400,"method":"GET","footprint_time":1}"#,
        ].as_slice()),
        ("not_json", &[
            "", " ", "GET /", "{", "}", "{}x", "{} {}", "{}\0", "\u{feff}{}", "{link:1}", "{\"a\":1,}", "{,}", "[1,]",
            "{'a':1}", "{\"a\":01}", "{\"a\":+1}", "{\"a\":.5}", "{\"a\":5.}", "{\"a\":1e}", "{\"a\":0x10}", "{\"a\":nan}",
            "{\"a\":-NaN}", "{\"a\":+Infinity}", "{\"a\":Infinit}", "{\"a\":NaNx}", "{\"a\":-}", "{\"a\":-x}", "{\"a\":1e+}",
            "{\"a\":[-01]}", "{\"a\":[1}}", "{\"a\":{\"b\":1]}", "{\"a\":{\"b\"}}", "{\"a\":{\"b\":1,}}", "{\"a\":[,]}", "{\"a\":tru}", "{\"a\":nulll}", "{\"a\":TRUE}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{\"a\"}",
            "{\"a\":\"\n\"}", "{\"a\":\"\t\"}", "{\"a\":\"\0\"}", r#"{"a":"\x41"}"#, r#"{"a":"\u12"}"#, r#"{"a":"\u12g4"}"#,
            "{\"a\":\"", "{\"a\":\"\\\"}", "{\"a\":1\u{b}}", "{\"a\":\u{a0}1}", "{\"a\":1}//", "/**/{}", "-", "\"", "{1:2}",
        ]),
        ("not_object", &["null", "true", "7", "-0.5", "\"{}\"", "[]", "[{\"link\":\"/\"}]"]),
        ("missing_field", &[
            "{}",
            r#"{"method":"GET","footprint_time":1}"#,
            r#"{"link":"/","footprint_time":1}"#,
            r#"{"link":"/","method":"GET"}"#,
            r#"{"link":null,"method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":"GET","footprint_time":null}"#,
            r#"{"LINK":"/","method":"GET","footprint_time":1}"#,
            r#"{"link ":"/","method":"GET","footprint_time":1}"#,
        ]),
        ("duplicate_field", &[
            r#"{"link":"/","link":"/","method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":"GET","footprint_time":1,"lin\u006b":"/"}"#,
            r#"{"link":null,"link":null}"#,
        ]),
        ("wrong_type", &[
            r#"{"link":7,"method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":true,"footprint_time":1}"#,
            r#"{"link":["/"],"method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":{"a":1},"footprint_time":1}"#,
            r#"{"link":"/","method":"GET","footprint_time":false}"#,
            r#"{"link":"/","method":"GET","footprint_time":[1]}"#,
            r#"{"link":"/","method":"GET","footprint_time":{}}"#,
            r#"{"link":1e400,"method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":"GET","footprint_time":NaN}"#,
        ]),
        ("nul_in_text", &[
            r#"{"link":"/\u0000","method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":"\u0000","footprint_time":1}"#,
        ]),
        ("lone_surrogate", &[
            r#"{"link":"\ud83d","method":"GET","footprint_time":1}"#,
            r#"{"link":"\ude00\ud83d","method":"GET","footprint_time":1}"#,
            r#"{"link":"\ud83d\u0041","method":"GET","footprint_time":1}"#,
            r#"{"link":"\ud83d\ud83d\ude00","method":"GET","footprint_time":1}"#,
            r#"{"link":"/","method":"GET","footprint_time":"2024-05-06T07:08:09Z\ud83d"}"#,
        ]),
        ("number_too_large", &[
            r#"{"link":"/","method":"GET","footprint_time":1e999999}"#,
            r#"{"link":"/","method":"GET","footprint_time":18446744073709551616}"#,
            r#"{"link":"/","method":"GET","footprint_time":-9223372036854775809}"#,
        ]),
        ("bad_time", &[
            r#"{"link":"/","method":"GET","footprint_time":"yesterday"}"#,
            r#"{"link":"/","method":"GET","footprint_time":""}"#,
            r#"{"link":"/","method":"GET","footprint_time":"1714979289"}"#,
            r#"{"link":"/","method":"GET","footprint_time":"2024-05-06T07:08:09+99:00"}"#,
            r#"{"link":"/","method":"GET","footprint_time":"2024-02-30T07:08:09Z"}"#,
            r#"{"link":"/","method":"GET","footprint_time":"2024-05-06T07:08:09Z\u0000"}"#,
            r#"{"link":"/","method":"GET","footprint_time":1714979289.5}"#,
            r#"{"link":"/","method":"GET","footprint_time":1.0}"#,
            r#"{"link":"/","method":"GET","footprint_time":1e9}"#,
            r#"{"link":"/","method":"GET","footprint_time":99999999999}"#,
            r#"{"link":"/","method":"GET","footprint_time":18446744073709551615}"#,
            r#"{"link":"/","method":"GET","footprint_time":-9223372036854775808}"#,
        ]),
    ] {
        for payload in payloads {
            assert_eq!(code(payload), expected, "{payload:?}");
        }
    }
}

#[test]
fn what_is_not_utf8_is_told_from_what_is_not_json() {
    for payload in [
        b"{\"link\":\"/caf\xe9\",\"method\":\"GET\",\"footprint_time\":1}".as_slice(),
        b"\xff",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":\"\xc0\x80\"}",
        b"{\"a\":\"\xf4\x90\x80\x80\"}",
        b"{} \xf0\x9f\x98",
        b"{\"a\":1e999,\"b\":\"\x80\"}",
    ] {
        assert_eq!(code(payload), "not_utf8", "{payload:?}");
    }
}

#[test]
fn a_tombstone_and_an_oversized_record_are_dead_letters() {
    let route = footprint_route();
    let tombstone = Record { payload: None, ..record(b"") };
    let mut decoder = Decoder::new(&route).unwrap();
    assert_eq!(decoder.decode(tombstone, &mut Rows::empty(&route)), Err(Reason::NullPayload));
    let mut payload = br#"{"link":"/","method":"GET","footprint_time":1}"#.to_vec();
    payload.resize(RECORD_BYTES_MAX, b' ');
    assert_eq!(code(&payload), "");
    payload.push(b' ');
    assert_eq!(decode_one(&route, &payload), Err(Reason::TooLarge { bytes: RECORD_BYTES_MAX + 1 }));
}

/// Nothing may recurse, because the threads' stacks are small.
#[test]
fn no_depth_and_no_length_is_too_much() {
    let nested = |open: &str, close: &str| {
        let levels = (RECORD_BYTES_MAX - 64) / (open.len() + close.len());
        let (open, close) = (open.repeat(levels), close.repeat(levels));
        format!(r#"{{"link":"/","method":"GET","footprint_time":1,"x":{open}1{close}}}"#)
    };
    assert_eq!(code(nested("[", "]")), "");
    assert_eq!(code(nested("{\"\":", "}")), "");
    assert_eq!(code(nested("[", "]").replace("\"x\"", "\"link\"")), "duplicate_field");
    assert_eq!(code("[".repeat(RECORD_BYTES_MAX)), "not_json");
    assert_eq!(code("]".repeat(RECORD_BYTES_MAX)), "not_json");
    assert_eq!(code("{\"a\":".repeat(RECORD_BYTES_MAX / 5)), "not_json");
    assert_eq!(code("\"".repeat(RECORD_BYTES_MAX)), "not_json");
    assert_eq!(code("\\".repeat(RECORD_BYTES_MAX)), "not_json");
    assert_eq!(code("9".repeat(RECORD_BYTES_MAX)), "not_object");
    assert_eq!(code(format!("0.{}", "9".repeat(RECORD_BYTES_MAX - 2))), "not_object");
    assert_eq!(code(format!("1e-{}", "9".repeat(RECORD_BYTES_MAX - 3))), "not_object");
    let long = |kind, number: String| one(kind, Presence::Required, &format!("{{\"a\":{number}}}"));
    let digits = "9".repeat(RECORD_BYTES_MAX - 16);
    assert_eq!(long(Kind::Integer, digits.clone()).unwrap_err().code(), "number_too_large");
    assert_eq!(long(Kind::Float, format!("0.{digits}")).unwrap().values, Values::Float(vec![1.0]));
    assert_eq!(long(Kind::Float, format!("1e-{digits}")).unwrap().values, Values::Float(vec![0.0]));
    assert_eq!(long(Kind::Float, format!("1e{digits}")).unwrap_err().code(), "number_too_large");
}

#[test]
fn a_field_takes_its_kind_and_no_other() {
    const WRONG: &str = "wrong_type";
    const LARGE: &str = "number_too_large";
    const LONE: &str = "lone_surrogate";
    const TIME: &str = "bad_time";
    const UUID: &str = "bad_uuid";
    let values = [
        "\"7\"",
        "7",
        "7.5",
        "7.0",
        "true",
        "[]",
        "{}",
        "9223372036854775807",
        "9223372036854775808",
        "-0",
        "18446744073709551616",
        "-1e400",
        "NaN",
        r#""\ud83d""#,
        r#""550e8400-e29b-41d4-a716-446655440000""#,
    ];
    for (kind, outcomes) in [
        (
            Kind::Text,
            ["", WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, LONE, ""],
        ),
        (
            Kind::Integer,
            [WRONG, "", WRONG, WRONG, WRONG, WRONG, WRONG, "", "out_of_range", "", LARGE, LARGE, WRONG, WRONG, WRONG],
        ),
        (Kind::Float, [WRONG, "", "", "", WRONG, WRONG, WRONG, "", "", "", LARGE, LARGE, WRONG, WRONG, WRONG]),
        (
            Kind::Boolean,
            [WRONG, WRONG, WRONG, WRONG, "", WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG],
        ),
        (Kind::Timestamp, [TIME, "", TIME, TIME, WRONG, WRONG, WRONG, TIME, TIME, "", LARGE, LARGE, WRONG, LONE, TIME]),
        (
            Kind::Uuid,
            [UUID, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, LONE, ""],
        ),
    ] {
        for (value, expected) in values.iter().zip(outcomes) {
            for presence in [Presence::Required, Presence::Optional] {
                let outcome = one(kind, presence, &format!("{{\"a\":{value}}}"));
                assert_eq!(outcome.err().map_or("", |reason| reason.code()), expected, "{kind:?} of {value}");
            }
        }
    }
}

#[test]
fn a_uuid_is_taken_by_its_text_alone() {
    let outcome = |value: &str| one(Kind::Uuid, Presence::Required, &format!("{{\"a\":{value}}}"));
    let uuid = |value| Ok(ColumnData { values: Values::Uuid(vec![value]), validity: None });
    let value = 0x550e_8400_e29b_41d4_a716_4466_5544_0000;
    assert_eq!(outcome(r#""550e8400-e29b-41d4-a716-446655440000""#), uuid(value));
    assert_eq!(outcome(r#""550E8400-E29B-41D4-A716-446655440000""#), uuid(value));
    assert_eq!(outcome(r#""\u0035\u0035\u0030e8400-e29b-41d4-a716-446655440000""#), uuid(value), "read the long way");
    for bad in [r#""""#, r#""550e8400e29b41d4a716446655440000""#, r#""550e8400-e29b-41d4-a716-44665544000\u0000""#] {
        let reason = outcome(bad).unwrap_err().to_string();
        assert_eq!(reason, "bad_uuid: \"a\" is not a UUID such as 550e8400-e29b-41d4-a716-446655440000", "{bad}");
    }
    assert_eq!(outcome("7").unwrap_err().to_string(), "wrong_type: \"a\" is not the text of a UUID");
}

#[test]
fn numbers_arrive_as_they_are() {
    for (value, expected) in [("-9223372036854775808", i64::MIN), ("9223372036854775807", i64::MAX), ("-0", 0)] {
        let column = one(Kind::Integer, Presence::Required, &format!("{{\"a\":{value}}}")).unwrap();
        assert_eq!(column.values, Values::Integer(vec![expected]));
    }
    for value in ["0.1", "-0.0", "1e308", "5e-324", "1e-999999", "9007199254740993", "-7", "18446744073709551615"] {
        let column = one(Kind::Float, Presence::Required, &format!("{{\"a\":{value}}}")).unwrap();
        let Values::Float(floats) = column.values else { panic!() };
        assert_eq!(floats[0].to_bits(), value.parse::<f64>().unwrap().to_bits(), "{value}");
    }
}

#[test]
fn a_missing_field_is_what_its_presence_says() {
    let default = |value: DefaultValue| Presence::Default(value);
    let some = |values| Ok(ColumnData { values, validity: None });
    let optional = |values, valid| Ok(ColumnData { values, validity: Some(vec![valid]) });
    let missing = || Err(Reason::Missing { field: "a".into() });
    for (kind, presence, payload, expected) in [
        (Kind::Text, Presence::Required, "{}", missing()),
        (Kind::Text, Presence::Optional, "{}", optional(text(""), false)),
        (Kind::Text, Presence::Optional, r#"{"a":null}"#, optional(text(""), false)),
        (Kind::Text, Presence::Optional, r#"{"a":""}"#, optional(text(""), true)),
        (Kind::Integer, Presence::Optional, "{}", optional(Values::Integer(vec![0]), false)),
        (Kind::Float, Presence::Optional, "{}", optional(Values::Float(vec![0.0]), false)),
        (Kind::Boolean, Presence::Optional, "{}", optional(Values::Boolean(vec![false]), false)),
        (Kind::Timestamp, Presence::Optional, "{}", optional(Values::Timestamp(vec![0]), false)),
        (Kind::Uuid, Presence::Optional, r#"{"a":null}"#, optional(Values::Uuid(vec![0]), false)),
        (Kind::Text, default(DefaultValue::Text("none".into())), "{}", some(text("none"))),
        (Kind::Text, default(DefaultValue::Text("none".into())), r#"{"a":"b"}"#, some(text("b"))),
        (Kind::Text, default(DefaultValue::Text("none".into())), r#"{"a":null}"#, missing()),
        (Kind::Integer, default(DefaultValue::Integer(-5)), "{}", some(Values::Integer(vec![-5]))),
        (Kind::Float, default(DefaultValue::Float(0.5)), "{}", some(Values::Float(vec![0.5]))),
        (Kind::Float, default(DefaultValue::Integer(2)), "{}", some(Values::Float(vec![2.0]))),
        (Kind::Boolean, default(DefaultValue::Boolean(true)), "{}", some(Values::Boolean(vec![true]))),
        (Kind::Timestamp, default(DefaultValue::Integer(1)), "{}", some(Values::Timestamp(vec![1_000_000]))),
        (
            Kind::Uuid,
            default(DefaultValue::Text("00000000-0000-0000-0000-00000000000f".into())),
            "{}",
            some(Values::Uuid(vec![15])),
        ),
        (
            Kind::Timestamp,
            default(DefaultValue::Text("1970-01-01T09:00:01+09:00".into())),
            "{}",
            some(Values::Timestamp(vec![1_000_000])),
        ),
    ] {
        assert_eq!(one(kind, presence.clone(), payload), expected, "{kind:?} {presence:?} {payload}");
    }
}

#[test]
fn a_default_that_its_column_cannot_hold_is_refused_at_the_start() {
    for (kind, default) in [
        (Kind::Text, DefaultValue::Text("a\0".into())),
        (Kind::Float, DefaultValue::Float(f64::NAN)),
        (Kind::Float, DefaultValue::Float(f64::INFINITY)),
        (Kind::Timestamp, DefaultValue::Text("2024-05-06T07:08:09".into())),
        (Kind::Timestamp, DefaultValue::Text("2024-02-30T07:08:09Z".into())),
        (Kind::Timestamp, DefaultValue::Integer(99_999_999_999)),
        (Kind::Uuid, DefaultValue::Text("none".into())),
    ] {
        let route = route(vec![column("a", kind, Presence::Default(default))]);
        assert!(matches!(Decoder::new(&route), Err(RouteError::Invalid { .. })), "{:?}", route.columns);
    }
    let mut elsewhere = footprint_route();
    elsewhere.timezone = "Mars/Olympus".into();
    assert!(matches!(Decoder::new(&elsewhere), Err(RouteError::Invalid { .. })));
}

#[test]
fn a_time_without_an_offset_is_in_the_routes_zone() {
    let mut route = footprint_route();
    route.timezone = "America/New_York".into();
    let outcome = |time: &str| {
        let payload = format!(r#"{{"link":"/","method":"GET","footprint_time":"{time}"}}"#);
        decode_one(&route, payload.as_bytes()).map(|rows| rows.columns[2].values.clone())
    };
    assert_eq!(outcome("2024-11-03T01:30:00"), Ok(Values::Timestamp(vec![1_730_611_800_000_000])));
    assert_eq!(outcome("2024-03-10T02:30:00").unwrap_err().code(), "bad_time");
}

#[test]
fn a_reason_names_the_field() {
    let reason = decode_one(&footprint_route(), br#"{"link":"/","method":"GET","footprint_time":"x"}"#).unwrap_err();
    let expected = "bad_time: \"footprint_time\" is not RFC 3339 text such as 2024-05-06T07:08:09.123Z";
    assert_eq!(reason.to_string(), expected);
}
