//! `footprint offsets`: a person skips records, stores a range again, or accepts what retention deleted. Every record that is not given up
//! is stored exactly once, and `verify` finds no fault.

use std::time::Duration;

use serde_json::Value;

use crate::support::consumer::Consumer;
use crate::support::kafka::delete_records;
use crate::support::prove::{prove, prove_tables};
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// PostgreSQL's rows wait as long as the test holds the lock.
const HOLD: &str = "create function hold() returns trigger language plpgsql as $$ begin \
                    perform pg_advisory_xact_lock_shared(1); return new; end $$";

/// Sends records, and lets a consumer store all of them.
fn stored(world: &mut World, records: usize) -> i64 {
    let source = world.send(records);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    source
}

/// These records are given up: the oracle expects nothing there.
fn give_up(world: &mut World, source: i64, partition: i32, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        world.oracle.logs.get_mut(&(source, partition)).unwrap()[usize::try_from(offset).unwrap()] = None;
    }
}

fn gaps(world: &mut World) -> Vec<(i32, String, i64, i64)> {
    let sql = "select partition, sink, start_offset, end_offset from footprint_gap order by 1, 3";
    world.eye.query(sql).iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

fn in_clickhouse(world: &World) -> i64 {
    let sql = format!("select count() from {}.user_footprint", world.database);
    stack().clickhouse().unwrap().query(&sql).unwrap().trim().parse().unwrap()
}

/// A consumer stores all the rest and later records, and both databases hold what they must.
fn goes_on(world: &mut World) -> Consumer {
    let source = world.source();
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(world, &mut [&mut consumer]);
    world.command(&["verify", "--strict"]);
    consumer
}

#[test]
fn each_partition_is_shown_with_its_frontiers_its_commit_and_its_owner() {
    let _calm = calm();
    let mut world = World::new("shown", 2, 0.0);
    let source = stored(&mut world, 150);
    world.send(100);
    let lines = world.command(&["offsets", "show", "--json"]);
    let partitions: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends: Vec<i64> = (0..2).map(|partition| world.oracle.end(source, partition)).collect();
    assert_eq!(partitions.len(), 2);
    for (partition, end) in partitions.iter().zip(ends) {
        let next = partition["postgres_next"].as_i64().unwrap();
        assert_eq!(
            [&partition["clickhouse_next"], &partition["dead_letters_next"], &partition["committed"]],
            [next; 3]
        );
        assert_eq!((&partition["log_end"], partition["lag"].as_i64().unwrap()), (&end.into(), end - next));
        assert_eq!(
            (&partition["log_start"], &partition["lost"], &partition["claims"]),
            (&0.into(), &0.into(), &Value::Array(vec![]))
        );
        let owner = partition["owner"].as_str().unwrap();
        assert!(owner.contains(&format!("of group {}", world.topic)), "{owner}");
    }
    let text = world.command(&["offsets", "show", "--partition", "1"]);
    assert!(text.contains("│ part ") && text.contains(" s ago: partition 1\n") && text.lines().count() == 7, "{text}");
    let (status, out, _) = world.outcome(&["offsets", "show", "--partition", "9"]);
    assert!(status == 1 && out.contains("the ledger knows no such partition"), "{status}: {out}");
}

#[test]
fn skipped_records_are_never_stored_and_all_others_are() {
    let _calm = calm();
    let mut world = World::new("skipped", 2, 0.05);
    let source = stored(&mut world, 200);
    world.send(400);
    let (from, end) = (100, world.oracle.end(source, 1));
    let skip = |to: i64| {
        ["offsets", "skip", "--partition", "1", "--to"].map(str::to_owned).into_iter().chain([to.to_string()])
    };
    let run = |world: &World, to: i64, more: &[&str]| {
        let arguments: Vec<String> = skip(to).chain(more.iter().map(|&flag| flag.to_owned())).collect();
        world.outcome(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for (to, why) in
        [(from, "everything below offset 100 is stored already"), (end + 1, &format!("the log ends at offset {end}"))]
    {
        let (status, _, said) = run(&world, to, &["--yes"]);
        assert!(status == 1 && said.contains(why), "{status}: {said}");
    }
    let (_, said, _) = run(&world, 220, &[]);
    assert!(
        said.contains("postgresql: goes on at 220 instead of 100") && said.contains("nothing was changed"),
        "{said}"
    );
    assert!(said.contains("offsets [100, 220) would never be stored in either database: 120 of them"), "{said}");
    assert_eq!(world.ledger(source)[1].claimed, from);
    let (_, said, _) = run(&world, 220, &["--yes", "--json"]);
    let change: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&change["done"], &change["after"]["clickhouse"]), (&true.into(), &220.into()), "{change}");
    assert_eq!(gaps(&mut world), [(1, "both".to_owned(), 100, 220)]);
    give_up(&mut world, source, 1, 100..220);
    let mut consumer = goes_on(&mut world);

    // under a running consumer, which notices by itself
    let end = world.oracle.end(source, 1);
    world.eye.query(HOLD);
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    world.send(100);
    world.wait_claimed(source, &consumer);
    let (status, out, said) = run(&world, end + 5, &["--yes"]);
    assert_eq!(status, 0, "{out}{said}");
    world.eye.query("select pg_advisory_unlock(1)");
    give_up(&mut world, source, 1, end..end + 5);
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    // clickhouse may have stored them before
    let count = world.eye.query(&format!(
        "select count(*) from user_footprint where kafka_partition = 1 and kafka_offset between {end} and {}",
        end + 4
    ));
    assert_eq!(count[0].get::<_, i64>(0), 0);
    world.command(&["verify", "--strict"]);
}

/// The consumer died when ClickHouse had a claim and PostgreSQL had not. The skip ends inside of that claim.
#[test]
fn a_skip_into_a_pending_claim_leaves_the_rest_of_it_exactly_once() {
    let _calm = calm();
    let mut world = World::new("inclaim", 1, 0.0);
    world.eye.query(HOLD);
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    let source = world.send(500);
    let mut consumer = world.consumer();
    until_or("clickhouse has the claim", STORED, || (in_clickhouse(&world) == 500).then_some(()), || consumer.tail());
    consumer.kill();
    let row = world.ledger(source).remove(0);
    assert_eq!((row.postgres_next, row.claimed, row.pending()), (Some(0), 500, 1), "{row:?}");
    world.eye.query("select pg_advisory_unlock(1)");
    world.command(&["offsets", "skip", "--partition", "0", "--to", "123", "--yes"]);
    let row = world.ledger(source).remove(0);
    assert_eq!((row.postgres_next, row.claimed, row.claims), (Some(123), 500, vec![500]));
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    assert_eq!((world.eye.count("user_footprint"), in_clickhouse(&world)), (377, 500));
    world.command(&["verify", "--strict"]);
}

#[test]
fn what_retention_deleted_is_accepted_for_one_partition_and_the_route_goes_on() {
    let _calm = calm();
    let mut world = World::new("accepted", 2, 0.0);
    let source = stored(&mut world, 200);
    let (status, _, said) = world.outcome(&["offsets", "accept-gap", "--partition", "0"]);
    assert!(
        status == 1 && said.contains("nothing is lost: the log starts at 0, and everything below 100 is stored"),
        "{said}"
    );
    world.send(400);
    delete_records(&world.topic, 0, 170);
    let mut consumer = world.consumer();
    let status = consumer.wait(STORED);
    let log = consumer.log();
    assert!(status.code() == Some(1) && log.contains("footprint offsets accept-gap"), "{log}");
    let shown = world.command(&["offsets", "show"]);
    assert!(shown.contains("lost: partition 0: retention has deleted records that are not stored"), "{shown}");

    let said = world.command(&["offsets", "accept-gap", "--partition", "0"]);
    assert!(said.contains("offsets [100, 170) would never be stored in either database: 70 of them"), "{said}");
    assert!(gaps(&mut world).is_empty());
    world.command(&["offsets", "accept-gap", "--partition", "0", "--yes"]);
    assert_eq!(gaps(&mut world), [(0, "both".to_owned(), 100, 170)]);
    give_up(&mut world, source, 0, 100..170);
    goes_on(&mut world).stop();
}

#[test]
fn a_range_is_stored_again_only_if_neither_database_holds_any_of_it() {
    let _calm = calm();
    let mut world = World::new("rewound", 2, 0.05);
    let source = stored(&mut world, 600);
    let rewind = ["offsets", "rewind", "--partition", "0", "--to", "120"];
    let held = |world: &World, database: &str| {
        let (status, _, said) = world.outcome(&rewind);
        let rows = format!("{database} holds ");
        assert!(status == 1 && said.contains(&rows) && said.contains("they would be stored twice"), "{status}: {said}");
        said
    };
    let said = held(&world, "postgresql");
    assert!(said.contains(&format!(
        "delete from user_footprint where kafka_source = {source} and kafka_partition = 0 and kafka_offset >= 120"
    )));
    world.eye.query("delete from user_footprint where kafka_partition = 0 and kafka_offset >= 120");
    held(&world, "clickhouse");
    let delete = "delete from {}.user_footprint where kafka_partition = 0 and kafka_offset >= 120";
    stack().clickhouse().unwrap().query(&delete.replace("{}", &world.database)).unwrap();
    let said = world.command(&rewind);
    assert!(
        said.contains("postgresql: goes on at 120 instead of 300") && said.contains("nothing was changed"),
        "{said}"
    );

    // a consumer that lives would take the partition back
    let mut consumer = world.consumer();
    until_or(
        "it has the partitions",
        STORED,
        || world.epochs(source).values().all(|&epoch| epoch > 1).then_some(()),
        || consumer.tail(),
    );
    let (status, _, said) = world.outcome(&[&rewind[..], &["--yes"]].concat());
    assert!(status == 1 && said.contains("partition 0 is in use by process"), "{status}: {said}");
    consumer.stop();

    let (status, _, said) = world.outcome(&["offsets", "rewind", "--partition", "0", "--to", "300", "--yes"]);
    assert!(status == 1 && said.contains("storing goes on at offset 300"), "{status}: {said}");
    world.command(&[&rewind[..], &["--yes"]].concat());
    assert_eq!(world.ledger(source)[0].postgres_next, Some(120));
    goes_on(&mut world).stop();
    prove_tables(&mut world);
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_changed() {
    let _calm = calm();
    let mut world = World::new("offsetswrong", 1, 0.0);
    let (status, _, said) = world.outcome(&["offsets", "skip", "--partition", "0", "--to", "5", "--yes"]);
    assert!(status == 1 && said.contains("the ledger does not know partition 0 of route user_footprint"), "{said}");
    stored(&mut world, 20);
    for (arguments, why) in [
        (&["--partition", "7", "--to", "5"][..], "the ledger does not know partition 7"),
        (&["--partition", "0", "--to", "5", "--route", "other"], "no route is called other"),
    ] {
        let (status, _, said) = world.outcome(&[&["offsets", "skip"][..], arguments].concat());
        assert!(status == 1 && said.contains(why), "{said}");
    }
    world.set_text("kafka.bootstrap_servers", "127.0.0.1:1");
    let (status, said) = world.attempt(&["offsets", "show"], Duration::from_secs(60));
    assert!(status == Some(1) && said.contains("kafka at 127.0.0.1:1"), "{said}");
}
