//! PostgreSQL is restored to an older copy of itself, so its ledger knows less than ClickHouse holds. The rows that PostgreSQL
//! lost are stored again, and ClickHouse gets no row twice.

use std::time::Duration;

use crate::support::prove::prove_within;
use crate::support::world::{STORED, World};
use crate::support::{alone, stack};

#[test]
fn an_older_copy_under_stopped_consumers() {
    let _alone = alone();
    let postgres = stack().postgres().unwrap();
    let mut world = World::new("restored_stopped", 2, 0.005);
    let source = world.send(20_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    let copy = postgres.snapshot().unwrap();

    world.send(30_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    postgres.restore(&copy).unwrap();
    assert_eq!(world.stored(source), 20_000, "the ledger went back");

    let mut consumer = world.consumer();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn an_older_copy_under_a_running_consumer() {
    let _alone = alone();
    let postgres = stack().postgres().unwrap();
    let mut world = World::new("restored_running", 2, 0.005);
    world.set("pipeline.batch_rows_max", "1000");
    let source = world.send(20_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let copy = postgres.snapshot().unwrap();

    world.send(60_000);
    world.wait_some(source, 25_000, &consumer);
    let pending = world.wait_claimed(source, &consumer);
    println!("restored with {pending} claims pending");
    postgres.restore(&copy).unwrap();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
    assert!(consumer.log().contains("went back in time"), "it was noticed: {}", consumer.tail());
    consumer.stop();
}
