//! The last line and the exit status are true for a run that was caught up, interrupted, drained or not drained.

use std::time::{Duration, Instant};

use crate::support::consumer::Consumer;
use crate::support::prove::{prove_tables, prove_within};
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{alone, calm, stack};

/// The rest of the line that begins with `start`.
fn line(consumer: &Consumer, start: &str) -> String {
    let log = consumer.log();
    let found = log.lines().find_map(|line| line.strip_prefix(start));
    found.unwrap_or_else(|| panic!("no line {start:?}: {}", consumer.tail())).to_owned()
}

/// The story: "caught up: 88000 records" and exit 0 after a SIGTERM in the middle of 300,000.
#[test]
fn interrupted_it_says_how_much_is_stored_and_the_next_start_goes_on() {
    let _calm = calm();
    let mut world = World::new("interrupted", 2, 0.0);
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(100_000);
    let mut consumer = world.consumer_with(&["--until-caught-up"]);
    world.wait_some(source, 2_000, &consumer);
    consumer.signal(libc::SIGTERM);
    let status = consumer.wait(Duration::from_secs(40));
    assert_eq!(status.code(), Some(1), "{}", consumer.tail());
    let stored = world.stored(source);
    assert!((2_000..100_000).contains(&stored), "interrupted in the middle: {stored}");
    let message = line(&consumer, "interrupted: ");
    assert!(message.starts_with(&format!("{stored} of 100000 stored")), "{message}");
    assert!(!consumer.log().contains("caught up"), "{}", consumer.tail());

    let mut consumer = world.consumer_with(&["--until-caught-up"]);
    assert_eq!(consumer.wait(STORED).code(), Some(0), "{}", consumer.tail());
    assert!(line(&consumer, "caught up: ").starts_with(&format!("{} records", 100_000 - stored)));
    prove_tables(&mut world);
}

#[test]
fn a_terminal_that_closes_drains_as_sigterm_does() {
    let _calm = calm();
    let mut world = World::new("hangup", 1, 0.0);
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(50_000);
    let mut consumer = world.consumer();
    world.wait_some(source, 1_000, &consumer);
    // both the kernel and the shell send it
    consumer.signal(libc::SIGHUP);
    consumer.signal(libc::SIGHUP);
    let status = consumer.wait(Duration::from_secs(40));
    assert_eq!(status.code(), Some(0), "{}", consumer.tail());
    line(&consumer, "drained: ");
    let row = world.ledger(source).remove(0);
    assert_eq!((row.pending(), row.lowest()), (0, row.claimed), "{row:?}");
}

/// Stops a server until this is dropped.
struct Paused<'a>(&'a footprint_stack::Server);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.resume().unwrap();
    }
}

fn pause(server: &footprint_stack::Server) -> Paused<'_> {
    server.pause().unwrap();
    Paused(server)
}

/// A consumer with a batch in flight to a ClickHouse that has stopped.
fn stuck(world: &mut World, arguments: &[&str]) -> (Consumer, Paused<'static>) {
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(50_000);
    let consumer = world.consumer_with(arguments);
    world.wait_some(source, 1_000, &consumer);
    let paused = pause(stack().clickhouse().unwrap());
    world.wait_claimed(source, &consumer);
    (consumer, paused)
}

/// The story: after 20 s "caught up", exit 0.
#[test]
fn what_a_stopped_clickhouse_has_not_stored_is_told() {
    let _alone = alone();
    for arguments in [&[][..], &["--until-caught-up"]] {
        let mut world = World::new("not_drained", 1, 0.0);
        world.set("pipeline.drain_deadline_ms", "2000");
        let (mut consumer, paused) = stuck(&mut world, arguments);
        consumer.signal(libc::SIGTERM);
        let status = consumer.wait(Duration::from_secs(40));
        drop(paused);
        assert_eq!(status.code(), Some(1), "{}", consumer.tail());
        let message = line(&consumer, "not drained: ");
        assert!(message.contains("of 1 partition not stored in clickhouse; nothing is lost"), "{message}");
        let left: u64 = message.split(' ').next().unwrap().parse().unwrap();
        assert!(left > 0, "{message}");
        let mut consumer = world.consumer();
        prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
        consumer.stop();
    }
}

/// PostgreSQL holds the ledger. If it is stopped, the ownership is lost before any row is reported as stored.
#[test]
fn what_a_stopped_postgresql_has_not_stored_is_told() {
    let _alone = alone();
    let mut world = World::new("not_drained_pg", 1, 0.0);
    world.set("pipeline.drain_deadline_ms", "2000");
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(100_000);
    let mut consumer = world.consumer();
    world.wait_some(source, 1_000, &consumer);
    world.wait_claimed(source, &consumer);
    let paused = pause(stack().postgres().unwrap());
    consumer.signal(libc::SIGTERM);
    let status = consumer.wait(Duration::from_secs(60));
    drop(paused);
    assert_eq!(status.code(), Some(1), "{}", consumer.tail());
    line(&consumer, "not drained: ");
    let mut consumer = world.consumer();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
    consumer.stop();
}

#[test]
fn a_second_signal_exits_at_once() {
    let _alone = alone();
    let mut world = World::new("second", 1, 0.0);
    let (mut consumer, paused) = stuck(&mut world, &[]);
    consumer.signal(libc::SIGTERM);
    let draining = || consumer.log().contains("draining").then_some(());
    until_or("it drains", STORED, draining, || consumer.tail());
    let at = Instant::now();
    consumer.signal(libc::SIGINT);
    let status = consumer.wait(Duration::from_secs(40));
    drop(paused);
    assert_eq!(status.code(), Some(1), "{}", consumer.tail());
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
    assert!(consumer.log().contains("second signal: exiting at once"), "{}", consumer.tail());
    let mut consumer = world.consumer();
    prove_within(&mut world, Duration::from_secs(90), &mut [&mut consumer]);
    consumer.stop();
}

/// The story: "nothing was left to store", exit 0, and ClickHouse was empty.
#[test]
fn a_sink_that_is_switched_on_again_is_filled_before_all_is_caught_up() {
    let _calm = calm();
    for (sink, enabled) in [("clickhouse", "clickhouse.enabled"), ("postgres", "postgres.enabled")] {
        let mut world = World::new(&format!("caught_up_{sink}"), 2, 0.01);
        world.send(20_000);
        for on in ["false", "true"] {
            world.set(enabled, on);
            let mut consumer = world.consumer_with(&["--until-caught-up"]);
            assert_eq!(consumer.wait(STORED).code(), Some(0), "{}", consumer.tail());
            let message = line(&consumer, "caught up: ");
            assert!(message.starts_with("20000 records"), "{sink} {on}: {message}");
        }
        prove_tables(&mut world);
    }
}

/// The story: "exactly once held: no fault" for a topic that does not exist.
#[test]
fn verify_of_nothing_says_so() {
    let _calm = calm();
    let world = World::new("verify_nothing", 1, 0.0);
    for (topic, why) in
        [("no-such-topic", "kafka has no topic no-such-topic"), (&world.topic, "nothing has been claimed")]
    {
        for arguments in [&["verify"][..], &["verify", "--json"]] {
            let output = world.program(arguments).env("TOPIC", topic).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains(why), "{text}");
            let message =
                if arguments.len() == 1 { "nothing to compare of user_footprint" } else { "\"clean\": false" };
            assert!(text.contains(message), "{text}");
        }
    }
}
