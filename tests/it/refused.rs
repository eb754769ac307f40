//! Records that one database refuses. Each becomes a dead letter for that database alone, with the database's own words, and all
//! other records are stored. If no row is at fault, the program stops before the ledger moves.
//!
//! The story: such a record was tried again for ever. With one lane the whole route stopped, and a trigger that dropped rows made
//! the ledger wrong.

use std::time::Duration;

use crate::support::consumer::Consumer;
use crate::support::oracle::Place;
use crate::support::prove::{prove, prove_tables};
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// How long the program may take to notice that it must stop.
const STOPPED: Duration = Duration::from_secs(120);

fn event(link: &str) -> String {
    format!(r#"{{"link":{link:?},"method":"GET","footprint_time":"2026-01-02T03:04:05.678901+09:00"}}"#)
}

fn events<'a>(links: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    links.into_iter().map(event).collect()
}

/// Letters and digits without a pattern: nothing compresses them.
fn incompressible(length: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[(state % 64) as usize])
    };
    (0..length).map(|_| draw()).collect()
}

/// The reasons of the dead letters for one database, in offset order.
fn reasons(world: &mut World, sink: &str) -> Vec<String> {
    let sql = format!("select reason from dead_letters where sink = '{sink}' order by kafka_partition, kafka_offset");
    world.eye.query(&sql).iter().map(|row| row.get(0)).collect()
}

/// The consumer must end with exit status 1. Returns its output.
fn stops(consumer: &mut Consumer) -> String {
    let status = consumer.wait(STOPPED);
    let log = consumer.log();
    assert_eq!(status.code(), Some(1), "{log}");
    log
}

fn says(log: &str, words: &[&str]) {
    for words in words {
        assert!(log.contains(words), "{words}:\n{log}");
    }
}

/// A consumer stores everything, and later records too.
fn goes_on(world: &mut World, source: i64) {
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    prove(world, &mut [&mut consumer]);
    consumer.stop();
}

/// PostgreSQL refuses offset 1 of three. The reason must contain `words`, and `verify` finds no fault.
fn one_of_three(name: &str, changes: &[&str], links: [&str; 3], words: &str) {
    let _calm = calm();
    let mut world = World::new(name, 1, 0.0);
    for change in changes {
        world.eye.query(change);
    }
    let source = world.send_these(0, &events(links));
    world.oracle.refused_by_postgres.insert((source, 0, 1));
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let reasons = reasons(&mut world, "postgres");
    assert!(reasons.len() == 1 && reasons[0].contains(words), "{reasons:?}");
    consumer.stop();
    prove_tables(&mut world);
    world.command(&["verify", "--strict"]);
}

#[test]
fn a_value_too_long_for_an_index_is_a_dead_letter_for_postgresql_alone() {
    let long = incompressible(3_000);
    let index = "create index on user_footprint (link)";
    one_of_three("index", &[index], ["/a", &long, "/b"], "exceeds btree version 4 maximum");
}

#[test]
fn a_trigger_that_raises_for_one_record_makes_a_dead_letter_with_its_words() {
    let raise = "create function raise() returns trigger language plpgsql as $$ begin \
                 if new.link = '/bad' then raise exception 'no % here', new.link using errcode = 'XY123'; end if; \
                 return new; end $$";
    let trigger = "create trigger raise before insert on user_footprint for each row execute function raise()";
    one_of_three("raise", &[raise, trigger], ["/a", "/bad", "/b"], "no /bad here (SQLSTATE XY123)");
}

/// The story: a division by zero was taken for the fence: "the ledger row has changed since it was read", for ever.
#[test]
fn a_generated_column_that_divides_by_zero_makes_a_dead_letter() {
    let column = "alter table user_footprint add column share integer generated always as (1 / length(link)) stored";
    one_of_three("divide", &[column], ["/a", "", "/b"], "division by zero (SQLSTATE 22012)");
}

/// Not even if the trigger raises the fence's own code.
#[test]
fn a_generated_column_that_reads_a_text_as_a_number_makes_a_dead_letter() {
    let column = "alter table user_footprint add column number integer generated always as (link::integer) stored";
    one_of_three("number", &[column], ["1", "footprint fenced 00000000", "2"], "(SQLSTATE 22P02)");
}

#[test]
fn a_constraint_that_is_checked_at_the_end_makes_a_dead_letter() {
    let raise = "create function late() returns trigger language plpgsql as $$ begin \
                 if new.link = '/bad' then raise exception 'too late for %', new.link; end if; return null; end $$";
    let trigger = "create constraint trigger late after insert on user_footprint deferrable initially deferred \
                   for each row execute function late()";
    one_of_three("deferred", &[raise, trigger], ["/a", "/bad", "/b"], "too late for /bad (SQLSTATE P0001)");
}

/// A trigger may raise any code, even one that says "try again".
#[test]
fn a_refusal_that_claims_to_pass_is_not_tried_for_ever() {
    let raise = "create function busy() returns trigger language plpgsql as $$ begin \
                 if new.link = '/bad' then raise exception 'busy' using errcode = '40001'; end if; return new; end $$";
    let trigger = "create trigger busy before insert on user_footprint for each row execute function busy()";
    one_of_three("busy", &[raise, trigger], ["/a", "/bad", "/b"], "busy (SQLSTATE 40001)");
}

#[test]
fn a_refused_row_of_one_partition_holds_up_no_other_in_its_transaction() {
    let _calm = calm();
    let mut world = World::new("together", 2, 0.05);
    world.set("pipeline.lanes", "1");
    world.eye.query("alter table user_footprint add constraint short check (length(link) < 400)");
    let long = incompressible(400);
    let source = world.send(2_000);
    let at = world.oracle.end(source, 1);
    world.send_these(1, &events(["/c", &long, "/d"]));
    world.send(2_000);
    world.oracle.refused_by_postgres.insert((source, 1, at + 1));
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let reasons = reasons(&mut world, "postgres");
    assert!(reasons.len() == 1 && reasons[0].contains("violates check constraint \"short\""), "{reasons:?}");
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
    world.command(&["verify"]);
}

/// The good records of both partitions at these offsets.
fn good_at(world: &World, source: i64, is_meant: impl Fn(i64) -> bool) -> Vec<Place> {
    let of = |partition| (0..world.oracle.end(source, partition)).map(move |offset| (source, partition, offset));
    let is_good = |place: &Place| world.oracle.sent(*place).is_some_and(|sent| sent.fault.is_none());
    (0..2).flat_map(of).filter(|&(_, _, offset)| is_meant(offset)).filter(is_good).collect()
}

/// Three consumers die, each after `step` stored records. The fourth stores what is left, and `verify` finds no fault.
fn killed_thrice(world: &mut World, source: i64, step: i64) {
    for kill in 1..=3 {
        let mut consumer = world.consumer();
        world.wait_some(source, step * kill, &consumer);
        consumer.kill();
    }
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED * 2, &mut [&mut consumer]);
    consumer.stop();
    prove_tables(world);
    world.command(&["verify"]);
}

/// Every step towards a dead letter is in one transaction, so a process that dies in it leaves nothing behind.
#[test]
fn kills_amid_refused_rows_lose_and_double_nothing() {
    let _calm = calm();
    let mut world = World::new("killedamid", 2, 0.01);
    world.set("pipeline.batch_rows_max", "1000");
    world.eye.query("alter table user_footprint add constraint odd check (kafka_offset % 97 <> 5)");
    let source = world.send(30_000);
    let refused = good_at(&world, source, |offset| offset % 97 == 5);
    world.oracle.refused_by_postgres.extend(refused);
    killed_thrice(&mut world, source, 6_000);
}

#[test]
fn more_refused_rows_than_allowed_stop_before_the_ledger_moves() {
    let _calm = calm();
    let mut world = World::new("toomany", 1, 0.0);
    world.eye.query("alter table user_footprint add constraint odd check (kafka_offset % 7 <> 3)");
    let source = world.send(1_000);
    let mut consumer = world.consumer_with(&["--until-caught-up"]);
    let log = stops(&mut consumer);
    says(&log, &["101 of ", "partition 0 offset 3: ", "constraint \"odd\"", "pipeline.refused_rows_share_max"]);
    let next = world.ledger(source)[0].postgres_next;
    assert_eq!(next, Some(0), "nothing is stored");
    assert!(reasons(&mut world, "postgres").is_empty());

    world.set("pipeline.refused_rows_share_max", "0.2");
    let refused = (0..1_000).filter(|offset| offset % 7 == 3).map(|offset| (source, 0, offset));
    world.oracle.refused_by_postgres.extend(refused);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    prove_tables(&mut world);
}

/// PostgreSQL takes the COPY, but the table holds fewer rows. The ledger must not say that they are stored.
#[test]
fn a_trigger_that_drops_rows_stops_before_the_ledger_moves() {
    let _calm = calm();
    let mut world = World::new("dropped", 1, 0.0);
    world.eye.query(
        "create function swallow() returns trigger language plpgsql as $$ begin \
         if new.kafka_offset = 42 then return null; end if; return new; end $$",
    );
    world.eye.query("create trigger swallow before insert on user_footprint for each row execute function swallow()");
    let source = world.send(100);
    let mut consumer = world.consumer_with(&["--until-caught-up"]);
    let log = stops(&mut consumer);
    says(&log, &["99 of 100 rows", "its trigger swallow drops rows"]);
    assert_eq!(world.ledger(source)[0].postgres_next, Some(0), "nothing is stored");
    world.eye.query("drop trigger swallow on user_footprint");
    goes_on(&mut world, source);
}

/// A remedy is true: it never asks for a right that the user has, and it names the missing right.
#[test]
fn a_missing_right_is_named_and_no_other() {
    let _calm = calm();
    let mut world = World::new("rights", 1, 0.0);
    world.eye.query("create table secret (link text)");
    world.eye.query(
        "create function note() returns trigger language plpgsql as $$ begin \
         insert into secret values (new.link); return new; end $$",
    );
    world.eye.query("create trigger note before insert on user_footprint for each row execute function note()");
    let source = world.send(10);
    let log = stops(&mut world.consumer_with(&["--until-caught-up"]));
    says(&log, &["permission denied for table secret (SQLSTATE 42501)", "partition 0 offset 0"]);
    assert!(!log.contains("grant insert"), "{log}");

    world.eye.query("drop trigger note on user_footprint");
    world.eye.query("alter table user_footprint owner to postgres");
    world.eye.query(&format!("grant select on user_footprint to {}", footprint_stack::APPLICATION_USER));
    let log = stops(&mut world.consumer_with(&["--until-caught-up"]));
    assert!(log.contains("grant insert on \"user_footprint\""), "{log}");
    assert!(!log.contains("on \"dead_letters\""), "{log}");

    world.eye.query(&format!("grant insert on user_footprint to {}", footprint_stack::APPLICATION_USER));
    goes_on(&mut world, source);
}

/// ClickHouse names the row of a violated constraint, and checks the constraint before it writes anything.
#[test]
fn a_constraint_of_clickhouse_makes_a_dead_letter_for_clickhouse_alone() {
    let _calm = calm();
    let mut world = World::new("short", 1, 0.0);
    clickhouse(&world, "add constraint short check length(link) < 200");
    let long = incompressible(300);
    let source = world.send_these(0, &events(["/a", &long, "/b"]));
    world.oracle.refused_by_clickhouse.insert((source, 0, 1));
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    let reasons = reasons(&mut world, "clickhouse");
    assert!(reasons.len() == 1 && reasons[0].contains("`short`") && !reasons[0].contains(&long), "{reasons:?}");
    assert!(!consumer.log().contains(&long), "no row's values in a log");
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
    world.command(&["verify", "--strict"]);
    assert!(world.command(&["dead-letters", "list"]).contains("partition 0 offset 1 clickhouse: clickhouse_refused: "));
}

#[test]
fn one_record_that_both_databases_refuse_has_a_dead_letter_for_each() {
    let _calm = calm();
    let mut world = World::new("refusedboth", 1, 0.0);
    clickhouse(&world, "add constraint short check length(link) < 200");
    world.eye.query("alter table user_footprint add constraint short check (length(link) < 200)");
    let source = world.send_these(0, &events(["/a", &incompressible(300), "/b"]));
    world.oracle.refused_by_clickhouse.insert((source, 0, 1));
    world.oracle.refused_by_postgres.insert((source, 0, 1));
    goes_on(&mut world, source);
    world.command(&["verify", "--strict"]);
}

#[test]
fn kills_amid_rows_that_clickhouse_refuses_lose_and_double_nothing() {
    let _calm = calm();
    let mut world = World::new("killedch", 2, 0.01);
    world.set("pipeline.batch_rows_max", "500");
    clickhouse(&world, "add constraint odd check kafka_offset % 197 != 5");
    let source = world.send(8_000);
    let refused = good_at(&world, source, |offset| offset % 197 == 5);
    world.oracle.refused_by_clickhouse.extend(refused);
    killed_thrice(&mut world, source, 1_800);
}

/// If ClickHouse refuses without naming a row, the route stops and prints the command that leaves a record out.
#[test]
fn a_record_is_left_out_by_hand_where_clickhouse_does_not_name_it() {
    let _calm = calm();
    let mut world = World::new("byhand", 1, 0.0);
    clickhouse(&world, "add column checked UInt8 materialized throwIf(link = '/bad', 'not this one')");
    let source = world.send_these(0, &events(["/a", "/bad", "/b"]));
    let log = stops(&mut world.consumer_with(&["--until-caught-up"]));
    says(&log, &["not this one", "offsets [0, 3)", "footprint dead-letters add --route user_footprint --partition 0"]);
    let add = |offset, database| {
        [
            "dead-letters",
            "add",
            "--route",
            "user_footprint",
            "--partition",
            "0",
            "--offset",
            offset,
            "--database",
            database,
        ]
    };
    let output = world.command(&add("1", "clickhouse"));
    assert!(output.contains("partition 0 offset 1 is a dead letter for clickhouse"), "{output}");
    world.oracle.refused_by_clickhouse.insert((source, 0, 1));
    goes_on(&mut world, source);
    world.command(&["verify", "--strict"]);
    let (status, said) = world.attempt(&add("0", "clickhouse"), STORED);
    assert!(status == Some(1) && said.contains("has stored everything below offset"), "{status:?}: {said}");
}

/// The same for PostgreSQL, when a batch of one row is refused with a code that does not blame the row.
#[test]
fn a_record_is_left_out_by_hand_where_postgresql_does_not_blame_it() {
    let _calm = calm();
    let mut world = World::new("byhandpg", 1, 0.0);
    world.eye.query(
        "create function strange() returns trigger language plpgsql as $$ begin \
         if new.link = '/bad' then raise exception 'strange' using errcode = 'XX000'; end if; return new; end $$",
    );
    world.eye.query("create trigger strange before insert on user_footprint for each row execute function strange()");
    let source = world.send_these(0, &events(["/bad"]));
    let log = stops(&mut world.consumer_with(&["--until-caught-up"]));
    says(&log, &["partition 0 offset 0: strange (SQLSTATE XX000)", "--offset 0 --database postgres"]);
    world.command(&[
        "dead-letters",
        "add",
        "--route",
        "user_footprint",
        "--partition",
        "0",
        "--offset",
        "0",
        "--database",
        "postgres",
    ]);
    world.oracle.refused_by_postgres.insert((source, 0, 0));
    goes_on(&mut world, source);
    world.command(&["verify", "--strict"]);
}

/// Constraints that may refuse rows are named before any row is sent.
#[test]
fn check_names_the_constraints_of_clickhouses_table() {
    let _calm = calm();
    let world = World::new("named", 1, 0.0);
    clickhouse(&world, "add constraint short check length(link) < 200");
    let output = world.command(&["check"]);
    assert!(output.contains("a row that short refuses becomes a dead letter for clickhouse"), "{output}");
}

/// Changes the table in ClickHouse, as its administrator.
fn clickhouse(world: &World, change: &str) {
    let sql = format!("alter table {}.user_footprint {change}", world.database);
    stack().clickhouse().unwrap().query(&sql).unwrap();
}
