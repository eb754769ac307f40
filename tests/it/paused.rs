//! `pause` and `resume`: every process of the group follows within five seconds, also one that starts later. A paused route reads and claims
//! nothing. A paused sink waits, and the other one is stored.

use std::time::{Duration, Instant};

use crate::support::consumer::Consumer;
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// How soon a running consumer follows.
const FOLLOWED: Duration = Duration::from_secs(5);
/// How long a paused consumer may take to end.
const ENDED: Duration = Duration::from_secs(30);
const READ: &str = "footprint_reader_records_total";
/// Rows wait as long as the test holds the lock.
const HOLD: &str = "create function hold() returns trigger language plpgsql as $$ begin \
                    perform pg_advisory_xact_lock_shared(1); return new; end $$";
const REASON: &str = "the disk of clickhouse is full";

/// Waits until a consumer shows a component in this state, and that it is ready: a pause is no failure. Returns why and what to do.
fn shown_within(limit: Duration, consumer: &Consumer, component: &str, state: &str) -> (String, String) {
    let seen = || {
        let (status, condition) = consumer.condition(component)?;
        (status == 200 && condition.state == state).then_some((condition.why, condition.what_to_do))
    };
    until_or(&format!("{component} is {state}"), limit, seen, || consumer.tail())
}

/// The same of a running consumer, which follows soon.
fn shown(consumer: &Consumer, component: &str, state: &str) -> (String, String) {
    shown_within(FOLLOWED, consumer, component, state)
}

fn rows(world: &mut World) -> (i64, i64) {
    let postgres = world.eye.query("select count(*) from user_footprint")[0].get(0);
    let sql = format!("select count() from {}.user_footprint", world.database);
    (postgres, stack().clickhouse().unwrap().query(&sql).unwrap().trim().parse().unwrap())
}

#[test]
fn a_paused_route_reads_nothing_in_any_process_until_it_is_resumed() {
    let _calm = calm();
    let mut world = World::new("paused", 2, 0.0);
    let source = world.send(400);
    let mut first = world.consumer();
    let mut second = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut first, &mut second]);
    let both = |world: &mut World| (world.owners(source).len() == 2).then_some(());
    until_or("both own a partition", STORED, || both(&mut world), || second.tail());

    let out = world.command(&["pause", "user_footprint", "--reason", REASON]);
    assert!(out.starts_with("route user_footprint: paused by ") && out.contains(REASON), "{out}");
    for consumer in [&first, &second] {
        for component in ["reader", "coordinator"] {
            let (why, what_to_do) = shown(consumer, component, "paused");
            assert!(why.starts_with("paused by ") && why.contains(" UTC: ") && why.ends_with(REASON), "{why}");
            assert_eq!(what_to_do, "footprint resume user_footprint");
        }
    }
    let at = first.address().unwrap();
    let health = world.command(&["health", "--at", &at]);
    assert!(health.contains("reader paused since ") && health.contains(REASON), "{health}");
    assert_eq!(
        first.metric(r#"footprint_component_health{route="user_footprint",component="reader",state="paused"}"#),
        Some(1.0)
    );
    let list = world.command(&["pause"]);
    assert!(list.starts_with("route user_footprint: paused by ") && list.lines().count() == 1, "{list}");
    let again = world.command(&["pause", "user_footprint", "--reason", "another"]);
    assert!(again.contains(REASON) && again.contains("it was paused before; nothing was changed"), "{again}");

    let read_before = first.metric(READ).unwrap();
    world.send(2_000);
    // a process that dies, and one that starts, change nothing
    second.kill();
    let mut third = world.consumer();
    shown_within(STORED, &third, "reader", "paused");
    let owned = |world: &mut World| (world.owners(source).len() == 2).then_some(());
    until_or("the new process owns a partition", STORED, || owned(&mut world), || third.tail());
    // the log's end is asked every five seconds: by then everything would have been read
    let lags = || {
        let seen = [&first, &third].map(|consumer| {
            let page: serde_json::Value = serde_json::from_str(&consumer.page("/status").unwrap().1).unwrap();
            let owned = page["routes"][0]["owned"].as_array().unwrap().clone();
            owned.iter().map(|partition| partition["lag_records"].as_i64().unwrap_or_default()).sum::<i64>()
        });
        (seen.iter().sum::<i64>() == 2_000).then_some(())
    };
    until_or("all that was sent is lag", STORED, lags, || third.tail());
    assert_eq!(world.ledger(source).iter().map(|row| row.claimed).sum::<i64>(), 400, "nothing new is claimed");
    let read = |consumer: &Consumer| consumer.metric(READ).unwrap_or_default();
    assert_eq!((read(&first), read(&third)), (read_before, 0.0), "and nothing is read");
    assert_eq!(rows(&mut world), (400, 400));

    let out = world.command(&["resume", "user_footprint"]);
    assert!(out.starts_with("route user_footprint continues"), "{out}");
    shown(&first, "reader", "ok");
    prove(&mut world, &mut [&mut first, &mut third]);
    let out = world.command(&["resume", "user_footprint"]);
    assert_eq!(out, "route user_footprint was not paused\n");
    first.stop();
    third.stop();
}

/// PostgreSQL is slow, so much is read and not yet claimed when the route is paused.
#[test]
fn what_is_claimed_is_stored_and_what_is_read_waits() {
    let _calm = calm();
    let mut world = World::new("paused_claims", 1, 0.0);
    world.set("pipeline.batch_rows_max", "10");
    world.eye.query(HOLD);
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    let source = world.send(3_000);
    let mut consumer = world.consumer();
    let all_read = || (consumer.metric(READ) == Some(3_000.0)).then_some(());
    until_or("all is read", STORED, all_read, || consumer.tail());
    world.wait_claimed(source, &consumer);
    world.command(&["pause", "user_footprint", "--reason", REASON]);
    shown(&consumer, "coordinator", "paused");
    let claimed = world.ledger(source)[0].claimed;
    assert!(claimed > 0 && claimed < 2_000, "{claimed}");
    world.eye.query("select pg_advisory_unlock(1)");
    world.wait_some(source, claimed, &consumer);
    assert_eq!((world.ledger(source)[0].claimed, world.stored(source)), (claimed, claimed));
    assert_eq!(rows(&mut world), (claimed, claimed));
    // a paused route drains at once
    consumer.stop();
    world.command(&["resume", "user_footprint"]);
    let mut next = world.consumer();
    prove(&mut world, &mut [&mut next]);
    next.stop();
}

#[test]
fn a_paused_sink_waits_and_the_other_is_stored() {
    let _calm = calm();
    let mut world = World::new("paused_sink", 1, 0.0);
    let source = world.send(100);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    world.command(&["pause", "user_footprint", "--sink", "clickhouse", "--reason", REASON]);
    let (why, what_to_do) = shown(&consumer, "clickhouse", "paused");
    assert!(why.ends_with(REASON) && what_to_do == "footprint resume user_footprint --sink clickhouse", "{why}");
    let (_, reader) = consumer.condition("reader").unwrap();
    assert_eq!(reader.state, "ok");
    world.send(500);
    let stored = |world: &mut World| (rows(world) == (600, 100)).then_some(());
    until_or("postgresql has all", STORED, || stored(&mut world), || consumer.tail());

    // a stop does not wait for the paused sink's whole deadline, and says what is left
    let begun = Instant::now();
    consumer.signal(libc::SIGTERM);
    assert_eq!(consumer.wait(ENDED).code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(consumer.log().contains("not drained"), "{}", consumer.tail());
    assert_eq!(rows(&mut world), (600, 100), "a stop does not write to a paused sink");

    let mut next = world.consumer();
    shown_within(STORED, &next, "clickhouse", "paused");
    let left = world.command(&["pause", "user_footprint", "--reason", "both"]);
    assert!(left.contains("both"), "{left}");
    let out = world.command(&["resume", "user_footprint"]);
    assert!(out.contains("still paused: clickhouse of route user_footprint: ") && out.contains(REASON), "{out}");
    assert_eq!(rows(&mut world), (600, 100));
    let out = world.command(&["resume", "user_footprint", "--sink", "clickhouse"]);
    assert!(out.starts_with("clickhouse of route user_footprint continues"), "{out}");
    prove(&mut world, &mut [&mut next]);
    next.stop();
}

/// The story: what is paused is never caught up, and the command would wait without end.
#[test]
fn until_caught_up_says_that_the_route_is_paused() {
    let _calm = calm();
    let mut world = World::new("paused_goal", 1, 0.0);
    world.send(100);
    for sink in [&[][..], &["--sink", "postgres"]] {
        world.command(&[&["pause", "user_footprint", "--reason", REASON], sink].concat());
        let (status, _, err) = world.outcome(&["run", "--until-caught-up"]);
        let command = ["footprint resume user_footprint"].iter().chain(sink).copied().collect::<Vec<_>>().join(" ");
        assert_eq!(status, 1, "{err}");
        assert!(
            err.contains("route user_footprint cannot be caught up, it is paused by ") && err.contains(&command),
            "{err}"
        );
        world.command(&[&["resume", "user_footprint"], sink].concat());
    }
    world.command(&["run", "--until-caught-up"]);
    // what is stored already needs no reading
    world.command(&["pause", "user_footprint", "--reason", REASON]);
    world.command(&["run", "--until-caught-up"]);
    let (status, _, err) = world.outcome(&["pause", "nobody", "--reason", REASON]);
    assert!(status == 1 && err.contains("no route is called \"nobody\""), "{err}");
    let (status, _, err) = world.outcome(&["pause", "user_footprint"]);
    assert!(status == 2 && err.contains("--reason"), "{err}");
}
