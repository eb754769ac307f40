//! The program reports a commit that Kafka refuses, with what to do. Only monitors depend on the commit: the ledger says where to
//! continue.

use std::time::Duration;

use footprint_event::route::Route;
use footprint_service::config::Config;
use footprint_service::kafka::consumer_config;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::support::calm;
use crate::support::kafka::client_config;
use crate::support::wait::{until, until_or};
use crate::support::world::{STORED, World};

/// The story: refused commits were logged only at debug, and a group whose offsets did not move looked healthy.
#[test]
fn a_refused_commit_is_told_with_its_remedy() {
    const NAME: &str = "one";
    let _calm = calm();
    let mut world = World::new("committed", 1, 0.0);
    world.set("kafka.instance_name", &format!("{NAME:?}"));
    // long enough that the commit is what finds out that another consumer has joined under the same name
    world.set("kafka.session_timeout_ms", "60000");
    world.set("kafka.properties", r#"{ "heartbeat.interval.ms" = "30000" }"#);
    world.set("telemetry.log", "\"info\"");
    let source = world.send(500);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let is_committed = |world: &World| world.committed().get(&0).map(|(offset, _)| *offset) == Some(500);
    until_or("what is stored is committed", STORED, || is_committed(&world).then_some(()), || consumer.tail());

    let namesake = namesake(&world, NAME);
    until("the broker gives the partition to its namesake", STORED, || {
        drop(namesake.poll(Duration::from_millis(50)));
        (namesake.assignment().unwrap().count() == 1).then_some(())
    });
    world.send(500);
    let reported = || {
        let log = consumer.log();
        let line = log.lines().find(|line| line.contains("kafka refused to commit offsets"))?;
        Some(line.contains("WARN") && line.contains("kafka.instance_name"))
    };
    assert!(until_or("the refused commit is reported", STORED, reported, || consumer.tail()), "{}", consumer.tail());
    let rows = world.ledger(source);
    assert_eq!(rows[0].lowest(), 1_000, "what the commit was about is stored");
    assert_eq!(world.committed()[&0].0, 500, "and was not committed");
}

/// A consumer that joins under the name of the world's own consumer, which the broker then refuses.
fn namesake(world: &World, name: &str) -> BaseConsumer {
    let mut config = Config::load(None, &[]).unwrap();
    config.kafka.instance_name = name.to_owned();
    config.kafka.group_id.clone_from(&world.topic);
    let route = Route { topic: world.topic.clone(), ..config.routes[0].clone() };
    let mut config = consumer_config(&config.kafka, &route, 1_024);
    config.set("bootstrap.servers", client_config().get("bootstrap.servers").unwrap());
    let namesake: BaseConsumer = config.create().unwrap();
    namesake.subscribe(&[&world.topic]).unwrap();
    namesake
}
