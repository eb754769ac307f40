//! Many bad records of every kind: each becomes one dead letter with its payload, and none stops the stream.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::calm;
use crate::support::kafka::client_config;
use crate::support::prove::prove;
use crate::support::wait::until;
use crate::support::world::{STORED, World};

#[test]
fn every_kind_of_bad_record_becomes_a_dead_letter() {
    let _calm = calm();
    let mut world = World::new("bad", 2, 0.04);
    let source = world.send(50_000);
    let sent = world.oracle.logs.values().flatten().flatten();
    let kinds: BTreeSet<&str> = sent.filter_map(|sent| sent.fault).collect();
    assert_eq!(kinds.len(), 12, "every kind was sent: {kinds:?}");
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let stored = world.eye.query("select distinct split_part(reason, ':', 1) from dead_letters");
    assert_eq!(stored.iter().map(|row| row.get(0)).collect::<BTreeSet<&str>>(), kinds);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// The story: a field that no route has made dead letters of events that the old consumer stored. Its value was too large for 64
/// bits, or it was half of a surrogate pair, such as a title that was cut in the middle of an emoji.
#[test]
fn what_nobody_asked_for_never_rejects_an_event() {
    let _calm = calm();
    let mut world = World::new("unasked", 1, 0.0);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let unasked = [
        r#""x":18446744073709551616"#,
        r#""x":-9223372036854775809"#,
        r#""x":1e400"#,
        r#""title":"\ud83d""#,
        r#""x":{"\udc00":[NaN,Infinity,-Infinity]}"#,
        r#""x":1,"x":2"#,
        &format!(r#""x":{deep}"#),
    ];
    let producer: BaseProducer = client_config().create().unwrap();
    let send = |payload: &str| {
        let record = BaseRecord::<(), str>::to(&world.topic).partition(0).payload(payload);
        assert!(producer.send(record).is_ok());
    };
    for (number, member) in unasked.iter().enumerate() {
        let time = "2026-01-02T03:04:05.678901+09:00";
        send(&format!(r#"{{"link":"/{number}","method":"GET",{member},"footprint_time":"{time}"}}"#));
    }
    // the same in a field that the route has is a dead letter
    send(r#"{"link":"\ud83d","method":"GET","footprint_time":1}"#);
    producer.flush(Duration::from_secs(30)).unwrap();
    let mut consumer = world.consumer();
    let letters = until("the dead letter", STORED, || {
        let rows = world.eye.query("select kafka_offset, reason from dead_letters order by kafka_offset");
        (!rows.is_empty()).then(|| rows.iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<(i64, String)>>())
    });
    let reason = "lone_surrogate: \"link\" escapes half of a surrogate pair";
    assert_eq!(letters, [(unasked.len() as i64, reason.to_owned())]);
    let links = world.eye.query("select link from user_footprint order by kafka_offset");
    let links: Vec<String> = links.iter().map(|row| row.get(0)).collect();
    assert_eq!(links, (0..unasked.len()).map(|number| format!("/{number}")).collect::<Vec<_>>());
    consumer.stop();
}

/// Any producer may send a header whose name is not UTF-8. The binding's own iterator panics on it. That would have ended the
/// reader's thread, and again after each start. The record must be stored like any other.
#[test]
fn a_header_name_that_is_not_utf_8_stops_nothing() {
    let _calm = calm();
    let mut world = World::new("header", 1, 0.0);
    let producer: BaseProducer = client_config().create().unwrap();
    let name = b"caf\xe9".to_vec();
    // SAFETY: the binding takes names only as text; this one is only copied, as bytes, into a C string
    #[allow(unsafe_code)]
    let key = unsafe { std::str::from_utf8_unchecked(&name) };
    let headers = OwnedHeaders::new().insert(Header { key, value: Some(b"\xff\x00") });
    let record = BaseRecord::<(), [u8]>::to(&world.topic).partition(0).payload(b"not json").headers(headers);
    assert!(producer.send(record).is_ok());
    producer.flush(Duration::from_secs(30)).unwrap();
    let mut consumer = world.consumer();
    let letter = until("the dead letter", STORED, || {
        let rows = world.eye.query("select headers -> 0 ->> 'key', headers -> 0 ->> 'base64' from dead_letters");
        rows.first().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)))
    });
    assert_eq!(letter, ("caf\u{fffd}".to_owned(), "/wA=".to_owned()));
    consumer.stop();
}
