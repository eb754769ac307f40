//! What becomes a row, and what a dead letter.

use super::*;

fn footprint() -> Route {
    let column = |name: &str, field: &str, kind| Column {
        name: name.into(),
        field: field.into(),
        kind,
        presence: Presence::Required,
        low_cardinality: false,
    };
    Route {
        name: "user_footprint".into(),
        topic: "footprint".into(),
        postgres_table: "user_footprint".into(),
        clickhouse_table: "user_footprint".into(),
        timezone: "UTC".into(),
        columns: vec![
            column("request", "method", Kind::Text),
            column("link", "link", Kind::Text),
            column("footprint_time", "footprint_time", Kind::Timestamp),
        ],
    }
    .validated()
    .unwrap()
}

fn record(payload: &[u8]) -> Record<'_> {
    Record { offset: 7, timestamp_ms: 1_000, key: None, payload: Some(payload), headers: b"" }
}

#[test]
fn a_page_move_becomes_a_row() {
    let route = footprint();
    let mut rows = Rows::empty(&route);
    let payload = br#"{"link": "/caf\u00e9", "method": "GET", "footprint_time": 1714979289123}"#;
    Decoder::new(&route).unwrap().decode(record(payload), &mut rows).unwrap();
    assert_eq!((rows.offsets, rows.received_at_us), (vec![7], vec![1_000_000]));
    assert_eq!(rows.columns[0].values, Values::Text { bytes: b"GET".into(), ends: vec![3] });
    assert_eq!(rows.columns[1].values, Values::Text { bytes: "/café".into(), ends: vec![6] });
    assert_eq!(rows.columns[2].values, Values::Timestamp(vec![1_714_979_289_123_000]));
}
