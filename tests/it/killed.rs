//! kill -9 at random moments. The next start finishes the claims, and nothing is lost or doubled.

use std::time::{Duration, Instant};

use crate::support::calm;
use crate::support::prove::prove_within;
use crate::support::wait::until_or;
use crate::support::world::World;

const KILLS: usize = 10;

#[test]
fn ten_kills_at_random_lose_and_double_nothing() {
    let _calm = calm();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    let mut world = World::new("killed", 3, 0.005);
    world.set("pipeline.batch_rows_max", "400");
    let source = world.send(150_000);
    let mut with_claims = 0;
    for kill in 0..KILLS {
        let before = world.stored(source);
        let mut consumer = world.consumer();
        // the next one is killed only after it has stored something, so progress is certain
        world.wait_some(source, before + 1, &consumer);
        let moment = Instant::now() + Duration::from_millis(rand::Rng::random_range(&mut random, 0..150));
        until_or("the moment", Duration::from_secs(5), || (Instant::now() >= moment).then_some(()), String::new);
        consumer.kill();
        let ledger = world.ledger(source);
        let pending: usize = ledger.iter().map(|row| row.pending()).sum();
        with_claims += usize::from(pending > 0);
        println!("kill {kill}: {} stored, {pending} claims pending", world.stored(source));
    }
    assert!(with_claims >= 3, "only {with_claims} of {KILLS} kills met a claim; seed {seed}");
    assert!(world.stored(source) < 150_000, "killed in the middle; seed {seed}");
    let mut consumer = world.consumer();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
}
