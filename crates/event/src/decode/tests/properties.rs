//! Random events and payloads.

use serde::de::IgnoredAny;
use uuid::Uuid;

use super::*;

/// The default of a UUID, as its text and as what the text says.
const UUID_DEFAULT: (&str, u128) = ("0123456A-89ab-cdef-0123-456789abcdef", 0x0123_456a_89ab_cdef_0123_4567_89ab_cdef);

/// A route with every kind in every presence.
fn every_kind() -> Route {
    let mut columns = Vec::new();
    for kind in Kind::ALL {
        let default = match kind {
            Kind::Text => DefaultValue::Text("dé".into()),
            Kind::Timestamp => DefaultValue::Integer(-1),
            Kind::Integer => DefaultValue::Integer(42),
            Kind::Float => DefaultValue::Float(-0.5),
            Kind::Boolean => DefaultValue::Boolean(true),
            Kind::Uuid => DefaultValue::Text(UUID_DEFAULT.0.into()),
        };
        let name = format!("{kind:?}").to_lowercase();
        columns.push(column(&format!("{name}_required"), kind, Presence::Required));
        columns.push(column(&format!("{name}_optional"), kind, Presence::Optional));
        columns.push(column(&format!("{name}_default"), kind, Presence::Default(default)));
    }
    route(columns)
}

/// The content that a cell must have. A float is compared by its bits.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    Text(String),
    Number(i64),
    Float(u64),
    Boolean(bool),
    Uuid(u128),
}

fn cell(column: &ColumnData, row: usize) -> Cell {
    if column.validity.as_ref().is_some_and(|validity| !validity[row]) {
        return Cell::Null;
    }
    match &column.values {
        Values::Text { bytes, ends } => Cell::Text(String::from_utf8(text_at(bytes, ends, row).to_vec()).unwrap()),
        Values::Timestamp(values) | Values::Integer(values) => Cell::Number(values[row]),
        Values::Float(values) => Cell::Float(values[row].to_bits()),
        Values::Boolean(values) => Cell::Boolean(values[row]),
        Values::Uuid(values) => Cell::Uuid(values[row]),
    }
}

/// A good value of `kind`: its cell, and its JSON.
fn good_value(kind: Kind) -> BoxedStrategy<(Cell, String)> {
    match kind {
        Kind::Text => any::<String>()
            .prop_map(|text| text.replace('\0', "\u{1}"))
            .prop_map(|text| (Cell::Text(text.clone()), json!(text).to_string()))
            .boxed(),
        Kind::Timestamp => {
            (100_000_000_000_000..=10_413_791_999_999_999_i64).prop_map(|us| (Cell::Number(us), us.to_string())).boxed()
        }
        Kind::Integer => any::<i64>().prop_map(|integer| (Cell::Number(integer), integer.to_string())).boxed(),
        Kind::Float => prop_oneof![
            prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
            prop::num::f64::NORMAL.prop_map(|float| (float % 1e6 * 100.0).round() / 100.0),
        ]
        .prop_flat_map(|float| {
            let spellings = vec![format!("{float:?}"), format!("{float:e}"), format!("{float:.400}")];
            prop::sample::select(spellings).prop_map(move |text| (Cell::Float(float.to_bits()), text))
        })
        // 400 decimals are not all digits of a subnormal, and a number without a dot may not be the spelling of a double
        .prop_filter("reads back", |(cell, text)| *cell == Cell::Float(text.parse::<f64>().unwrap().to_bits()))
        // digits alone are an integer, and beyond 64 bits a dead letter
        .prop_filter("a float", |(_, text)| text.contains(['.', 'e']))
        .boxed(),
        Kind::Boolean => any::<bool>().prop_map(|boolean| (Cell::Boolean(boolean), boolean.to_string())).boxed(),
        Kind::Uuid => (any::<u128>(), any::<bool>())
            .prop_map(|(value, is_upper)| {
                let text = Uuid::from_u128(value).to_string();
                let text = if is_upper { text.to_ascii_uppercase() } else { text };
                (Cell::Uuid(value), json!(text).to_string())
            })
            .boxed(),
    }
}

/// A good event: the cells of its row, and its members in any order, with some that no route asks for.
fn good_event() -> impl Strategy<Value = (Vec<Cell>, Vec<(String, String)>)> {
    let columns = every_kind().columns;
    let values: Vec<_> = columns
        .into_iter()
        .map(|column| {
            let given = good_value(column.kind).prop_map(|(cell, json)| (cell, Some(json)));
            let name = column.field.clone();
            let outcome = match &column.presence {
                Presence::Required => given.boxed(),
                Presence::Optional => {
                    prop_oneof![4 => given, 1 => Just((Cell::Null, None)), 1 => Just((Cell::Null, Some("null".into())))]
                        .boxed()
                }
                Presence::Default(default) => {
                    let cell = match default {
                        DefaultValue::Text(_) if column.kind == Kind::Uuid => Cell::Uuid(UUID_DEFAULT.1),
                        DefaultValue::Text(text) => Cell::Text(text.clone()),
                        DefaultValue::Integer(-1) => Cell::Number(-1_000_000),
                        DefaultValue::Integer(integer) => Cell::Number(*integer),
                        DefaultValue::Float(float) => Cell::Float(float.to_bits()),
                        DefaultValue::Boolean(boolean) => Cell::Boolean(*boolean),
                    };
                    prop_oneof![3 => given, 1 => Just((cell, None))].boxed()
                }
            };
            outcome.prop_map(move |(cell, json)| (cell, json.map(|json| (name.clone(), json))))
        })
        .collect();
    let unasked = prop::collection::vec(("x[a-z]{0,9}", any_json().prop_map(|json| json.to_string())), 0..4);
    (values, unasked).prop_flat_map(|(values, unasked)| {
        let (cells, members): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        let members: Vec<_> = members.into_iter().flatten().chain(unasked).collect();
        (Just(cells), Just(members).prop_shuffle())
    })
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        prop::num::f64::NORMAL.prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        "[a-z/]{0,80}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec((any_name(), inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A member that no route has, and that a stricter parser would refuse.
fn odd_member() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![r#""x""#, r#""\ud83d""#, r#""\udc00\u0000""#, r#""""#]);
    let leaf = prop::sample::select(vec![
        "18446744073709551616",
        "-9223372036854775809",
        "1e400",
        "-1E+999",
        "NaN",
        "Infinity",
        "-Infinity",
        r#""\ud83d""#,
        r#""\ude00\ud83d""#,
        r#""\ud83dx""#,
        r#""\u0000""#,
    ]);
    let value = leaf.prop_map(str::to_owned).prop_recursive(8, 64, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("[{}]", values.join(","))),
            inner.prop_map(|value| format!(r#"{{"link":{value},"link":{value}}}"#)),
        ]
    });
    (name, value).prop_map(|(name, value)| format!("{name}:{value}"))
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![Just("link".to_owned()), Just("method".into()), Just("footprint_time".into()), any::<String>()]
}

fn object(members: &[(String, String)], space: &str) -> String {
    let members: Vec<_> = members.iter().map(|(name, json)| format!("{}{space}:{space}{json}", json!(name))).collect();
    format!("{space}{{{space}{}{space}}}{space}", members.join(&format!("{space},{space}")))
}

/// Payloads that are JSON, nearly JSON, or not JSON at all.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let tokens: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b"\\u0000",
        b"\\ud83d",
        b"\\ude00",
        b"\\u00e9",
        b"\\n",
        b"\\x",
        b"0",
        b"-",
        b"1",
        b"9",
        b".",
        b"e",
        b"E+",
        b"1e400",
        b"18446744073709551615",
        b"18446744073709551616",
        b"-9223372036854775809",
        b"0.5",
        b"true",
        b"false",
        b"null",
        b"nul",
        b" ",
        b"\n",
        b"\t",
        b"\r",
        b"\0",
        b"\x0b",
        b"\x0c",
        b"\x1f",
        b"\x7f",
        b"\x80",
        b"\xc0",
        b"\xc3\xa9",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"\xf4\x90\x80\x80",
        b"\xff",
        b"\"link\"",
        b"\"a\":1",
        b"                                                                ",
    ];
    let token = prop::sample::select(tokens);
    let json = prop_oneof![
        any_json().prop_map(|json| json.to_string()),
        any_json().prop_map(|json| serde_json::to_string_pretty(&json).unwrap()),
        good_event().prop_map(|(_, members)| object(&members, "")),
        Just(r#"{"link":"/a","method":"GET","footprint_time":"2024-05-06T07:08:09.123+09:00"}"#.to_owned()),
    ];
    let spoilt = (json, prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, token.clone()), 0..4))
        .prop_map(|(json, faults)| {
            let mut payload = json.into_bytes();
            for (place, removed, token) in faults {
                let place = place.index(payload.len() + 1);
                let end = (place + removed).min(payload.len());
                payload.splice(place..end, token.iter().copied());
            }
            payload
        });
    prop_oneof![
        4 => spoilt,
        2 => prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn every_good_event_becomes_the_row_it_means(
        events in prop::collection::vec(good_event(), 1..5),
        space in prop::sample::select(vec!["", " ", "\n\t\r "]),
    ) {
        let route = every_kind();
        let (mut decoder, mut rows) = (Decoder::new(&route).unwrap(), Rows::empty(&route));
        for (row, (cells, members)) in events.iter().enumerate() {
            let payload = object(members, space);
            decoder.decode(record(payload.as_bytes()), &mut rows).map_err(|reason| TestCaseError::fail(format!("{reason}: {payload}")))?;
            let found: Vec<_> = rows.columns.iter().map(|column| cell(column, row)).collect();
            prop_assert_eq!(&found, cells, "{}", payload);
        }
        prop_assert_eq!(rows.len(), events.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_192))]

    /// Decoding is a pure function: neither earlier rows nor the decoder's last payload may change the result.
    #[test]
    fn a_payload_means_the_same_whatever_came_before(payloads in prop::collection::vec(any_payload(), 1..4)) {
        let route = every_kind();
        let footprint = footprint_route();
        for route in [&route, &footprint] {
            let (mut decoder, mut rows) = (Decoder::new(route).unwrap(), Rows::empty(route));
            for payload in &payloads {
                let before = rows.clone();
                match decoder.decode(record(payload), &mut rows) {
                    Ok(()) => {
                        let alone = decode_one(route, payload).unwrap();
                        for (column, alone) in rows.columns.iter().zip(&alone.columns) {
                            prop_assert_eq!(cell(column, before.len()), cell(alone, 0));
                        }
                    }
                    Err(reason) => {
                        prop_assert_eq!(&rows, &before);
                        prop_assert_eq!(decode_one(route, payload), Err(reason));
                    }
                }
            }
        }
    }

    /// Only the parser decides: if the short way returns values, the parser returns the same.
    #[test]
    fn the_short_way_finds_what_the_parser_finds(payload in any_payload(), before in any_payload()) {
        let names = || Names::new(["link", "method", "footprint_time", "a", "text_optional"].map(str::to_owned));
        let (mut short, mut long, mut parser) = (names(), names(), Parser::new());
        let nothing = || vec![Found::Missing; 5];
        // whatever it learned to expect
        let _ = plain::read(&before, &mut short, &mut nothing());
        let mut found = nothing();
        if plain::read(&payload, &mut short, &mut found).is_some() {
            let mut parsed = nothing();
            prop_assert!(parser.read(&payload, &mut long, &mut parsed).is_ok(), "only the parser refuses it");
            prop_assert_eq!(found, parsed);
        }
    }

    /// As `IgnoredAny`, serde_json checks only the structure: any number, any surrogate, any depth.
    #[test]
    fn the_parser_takes_what_serde_json_takes(payload in any_payload()) {
        let outcome = code(&payload);
        let is_utf8 = std::str::from_utf8(&payload).is_ok();
        let is_json = is_utf8 && serde_json::from_slice::<IgnoredAny>(&payload).is_ok();
        let is_object = payload.trim_ascii_start().starts_with(b"{");
        match outcome {
            "not_utf8" => prop_assert!(!is_utf8),
            "not_json" => prop_assert!(is_utf8 && !is_json),
            "not_object" => prop_assert!(is_json && !is_object),
            _ => prop_assert!(is_json && is_object),
        }
    }

    /// A field that the route does not ask for changes nothing, whatever it holds.
    #[test]
    fn what_nobody_asked_for_never_decides(
        (cells, members) in good_event(),
        odd in prop::collection::vec((any::<prop::sample::Index>(), odd_member()), 1..4),
    ) {
        let mut texts: Vec<_> = members.iter().map(|(name, json)| format!("{}:{json}", json!(name))).collect();
        for (place, member) in odd {
            texts.insert(place.index(texts.len() + 1), member);
        }
        let payload = format!("{{{}}}", texts.join(","));
        let rows = decode_one(&every_kind(), payload.as_bytes())
            .map_err(|reason| TestCaseError::fail(format!("{reason}: {payload}")))?;
        let found: Vec<_> = rows.columns.iter().map(|column| cell(column, 0)).collect();
        prop_assert_eq!(found, cells, "{}", payload);
    }

    /// Texts, integers and presence are as serde_json finds them, if no name comes twice.
    #[test]
    fn what_it_reads_is_what_serde_json_reads(value in any_json(), name in "[a-z\\PC\"\\\\]{1,20}") {
        for kind in [Kind::Text, Kind::Integer, Kind::Boolean, Kind::Float, Kind::Uuid] {
            let route = route(vec![Column { field: name.clone(), ..column("a", kind, Presence::Optional) }]);
            let found = decode_one(&route, json!({ name.as_str(): value }).to_string().as_bytes());
            let found = found.map(|rows| cell(&rows.columns[0], 0)).map_err(|reason| reason.code());
            let expected = match (kind, &value) {
                (_, Json::Null) => Ok(Cell::Null),
                (Kind::Text, Json::String(text)) if text.contains('\0') => Err("nul_in_text"),
                (Kind::Text, Json::String(text)) => Ok(Cell::Text(text.clone())),
                (Kind::Boolean, Json::Bool(boolean)) => Ok(Cell::Boolean(*boolean)),
                (Kind::Integer, Json::Number(number)) if number.is_u64() && !number.is_i64() => Err("out_of_range"),
                (Kind::Integer, Json::Number(number)) if number.is_i64() => Ok(Cell::Number(number.as_i64().unwrap())),
                // no text that comes up here is one by chance
                (Kind::Uuid, Json::String(_)) => Err("bad_uuid"),
                (Kind::Float, Json::Number(number)) => Ok(Cell::Float(number.as_f64().unwrap().to_bits())),
                _ => Err("wrong_type"),
            };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_number_is_the_double_that_rust_reads(text in "-?(0|[1-9][0-9]{0,25})\\.[0-9]{1,30}([eE][+-]?[0-9]{1,3})?") {
        let expected: f64 = text.parse().unwrap();
        match one(Kind::Float, Presence::Required, &format!("{{\"a\":{text}}}")) {
            Ok(column) => prop_assert_eq!(cell(&column, 0), Cell::Float(expected.to_bits()), "{}", text),
            Err(reason) => prop_assert!(expected.is_infinite() && reason.code() == "number_too_large", "{}", text),
        }
    }
}
