//! Turns a payload into a row, or into a reason. The rules: it never panics. A refused record leaves the rows unchanged. Whether
//! the payload as a whole is refused depends on whether serde_json reads it as an object. A member that no route asks for, which
//! makes the payload take the long way, changes nothing.

use footprint_event::decode::Decoder;
use footprint_event::record::Record;
use footprint_event::reject::Reason;
use footprint_event::route::{Column, DefaultValue, Kind, Presence, Route};
use footprint_event::rows::Rows;
use serde::de::IgnoredAny;

use super::{Target, number};

/// A member that only the long way reads, because it has an escape.
const UNASKED: &[u8] = b"{\"\\u0021unasked\":0,";

pub(super) struct Decode {
    route: Route,
    decoder: Decoder,
}

impl Decode {
    pub(super) fn new() -> anyhow::Result<Self> {
        let column = |name: &str, kind, presence| Column {
            name: name.to_owned(),
            field: name.to_owned(),
            kind,
            presence,
            low_cardinality: false,
        };
        let columns = vec![
            column("link", Kind::Text, Presence::Required),
            column("method", Kind::Text, Presence::Default(DefaultValue::Text("none".into()))),
            column("time", Kind::Timestamp, Presence::Optional),
            column("count", Kind::Integer, Presence::Optional),
            column("share", Kind::Float, Presence::Optional),
            column("seen", Kind::Boolean, Presence::Default(DefaultValue::Boolean(true))),
            column("visitor", Kind::Uuid, Presence::Optional),
        ];
        let route = Route {
            name: "fuzz".into(),
            topic: "fuzz".into(),
            postgres_table: "fuzz".into(),
            clickhouse_table: "fuzz".into(),
            timezone: "Asia/Seoul".into(),
            columns,
        }
        .validated()?;
        let decoder = Decoder::new(&route)?;
        Ok(Self { route, decoder })
    }

    fn rows(&mut self, payload: &[u8]) -> Result<Rows, Reason> {
        let mut rows = Rows::empty(&self.route);
        let before = rows.clone();
        let record = Record { offset: 0, timestamp_ms: 0, key: None, payload: Some(payload), headers: None };
        let outcome = self.decoder.decode(record, &mut rows);
        match outcome {
            Ok(()) => {
                assert_eq!(rows.len(), 1, "one record is one row");
                assert!(rows.columns.iter().all(|column| column.values.len() == 1), "each column has one value");
                Ok(rows)
            }
            Err(reason) => {
                assert_eq!(rows, before, "a refused record leaves a trace");
                Err(reason)
            }
        }
    }
}

impl Target for Decode {
    fn seeds(&self) -> Vec<Vec<u8>> {
        [
            r#"{"link":"/a","method":"GET","time":"2024-05-06T07:08:09Z","count":1,"share":0.5,"seen":true}"#,
            r#"{"link":"","time":1714979289123,"count":-9223372036854775808,"share":1e-7,"seen":null}"#,
            r#" { "link" : "\u00e9\n\ud83d\ude00" , "x" : [ { "y" : [ ] } , NaN , 1e999 ] } "#,
            r#"{"link":"","visitor":"550e8400-E29B-41d4-a716-446655440000"}"#,
            r#"{"link":null}"#,
            r#"{"link":"a","link":"b"}"#,
            r#"["link"]"#,
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    fn tokens(&self) -> Vec<Vec<u8>> {
        let words = [
            "null",
            "true",
            "false",
            "NaN",
            "-Infinity",
            "1e999",
            "-0.0",
            "18446744073709551616",
            "1.5E+3",
            "\\u0000",
            "\\ud800",
            "\\udc00",
            "\\\"",
            "é",
            "{\"link\":",
            ",\"link\":\"b\"",
            "\"count\":",
            "\"share\":",
            "\"time\":",
            "\"seen\":",
            "\"2024-02-30\"",
            "\"visitor\":",
            "-e29b-",
            "[",
            "]",
            "},",
            "\t",
            "\r\n",
            "        ",
        ];
        words.iter().map(|word| word.as_bytes().to_vec()).chain([vec![0xff], vec![0xed, 0xa0, 0x80]]).collect()
    }

    fn read(&mut self, input: &[u8]) -> u64 {
        let outcome = self.rows(input);
        let code = outcome.as_ref().map_or_else(Reason::code, |_| "row");
        let is_utf8 = std::str::from_utf8(input).is_ok();
        let is_json = is_utf8 && serde_json::from_slice::<IgnoredAny>(input).is_ok();
        let is_object = input.trim_ascii_start().starts_with(b"{");
        // the decoder also accepts what Python writes
        let is_python = !is_json && ["NaN", "Infinity"].iter().any(|word| contains(input, word.as_bytes()));
        match code {
            "not_utf8" => assert!(!is_utf8, "it is UTF-8"),
            "not_json" => assert!(is_utf8 && !is_json, "serde_json accepts it"),
            "not_object" => assert!((is_json || is_python) && !is_object, "it is an object"),
            _ => assert!((is_json || is_python) && is_object, "serde_json refuses it"),
        }
        if code != "not_json" && is_object && !matches!(inner(input), None | Some(b'}')) {
            let at = input.len() - input.trim_ascii_start().len() + 1;
            let long = [UNASKED, &input[at..]].concat();
            assert_eq!(self.rows(&long), outcome, "a member that no route asks for changes the outcome");
        }
        let shape = outcome.as_ref().map(|rows| {
            rows.columns.iter().map(|column| column.validity.as_ref().map(|validity| validity[0])).collect::<Vec<_>>()
        });
        number((code, shape.ok(), outcome.err().map(|reason| reason.to_string().len()), input.len().checked_ilog2()))
    }
}

/// The byte after an object's opening brace.
fn inner(input: &[u8]) -> Option<u8> {
    input.trim_ascii_start().get(1..)?.trim_ascii_start().first().copied()
}

fn contains(input: &[u8], word: &[u8]) -> bool {
    input.windows(word.len()).any(|window| window == word)
}
