//! Each server dies abruptly under load and comes back. Nothing is lost or doubled, and nobody has to help.

use std::time::Duration;

use footprint_stack::Server;

use crate::support::prove::prove_within;
use crate::support::world::World;
use crate::support::{alone, stack};

/// Records sent before each kill: many more than are stored by then. Records fetched before the first kill are stored while Kafka
/// is away.
const RECORDS: usize = 60_000;

/// Kills the server twice while claims are pending.
fn survives(name: &str, server: &Server) {
    let mut world = World::new(name, 2, 0.005);
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(1_000);
    let mut consumer = world.consumer();
    world.wait_some(source, 1_000, &consumer);
    for round in 1..=2 {
        world.send(RECORDS);
        let pending = world.wait_claimed(source, &consumer);
        let stored = world.stored(source);
        server.kill().unwrap();
        println!("{name} {round}: killed at {stored} stored, {pending} claims pending");
        assert!(stored < (1_000 + round * RECORDS) as i64, "killed in the middle");
        server.restart().unwrap();
        if round == 1 {
            world.wait_some(source, stored + 1_000, &consumer);
        }
    }
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn kafka_killed_and_restarted() {
    let _alone = alone();
    survives("kafka_restart", stack().kafka().unwrap());
}

#[test]
fn postgresql_killed_and_restarted() {
    let _alone = alone();
    survives("postgres_restart", stack().postgres().unwrap());
}

#[test]
fn clickhouse_killed_and_restarted() {
    let _alone = alone();
    survives("clickhouse_restart", stack().clickhouse().unwrap());
}
