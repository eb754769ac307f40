//! Every kind of bad record, many of them: each becomes one dead letter with its payload, none stops the stream.

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
    assert_eq!(kinds.len(), 13, "every kind was sent: {kinds:?}");
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let stored = world.eye.query("select distinct split_part(reason, ':', 1) from dead_letters");
    assert_eq!(stored.iter().map(|row| row.get(0)).collect::<BTreeSet<&str>>(), kinds);
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// Anybody may send a header whose name is not UTF-8. The binding's own iterator panics on it, which would have ended the
/// reader's thread, and again after each start: the record must go its way like any other.
#[test]
fn a_header_name_that_is_not_utf_8_stops_nothing() {
    let _calm = calm();
    let mut world = World::new("header", 1, 0.0);
    let producer: BaseProducer = client_config().create().unwrap();
    let name = b"caf\xe9".to_vec();
    // SAFETY: the binding takes names as text alone; this one is only copied, as bytes, into a C string
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
