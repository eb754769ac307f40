//! `footprint dead-letters`: dead letters that have become good are stored once in each database, whatever interrupts the replay, and
//! `verify` then finds no fault.

use std::time::Duration;

use crate::support::prove::prove_tables;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// The route reads a field that no event has, so every event is a dead letter.
const MISSPELT: &str = r#"{ name = "request", field = "procedure", kind = "text", low_cardinality = true }"#;
const RIGHT: &str = r#"{ name = "request", field = "method", kind = "text", low_cardinality = true }"#;
/// PostgreSQL's rows wait as long as the test holds the lock. No time limit on locks ends this wait.
const HOLD: &str = "create function hold() returns trigger language plpgsql as $$ begin \
                    while not pg_try_advisory_xact_lock_shared(1) loop perform pg_sleep(0.02); end loop; return new; end $$";
const REPLAY: [&str; 3] = ["dead-letters", "replay", "--yes"];

fn event(link: &str) -> String {
    format!(r#"{{"link":{link:?},"method":"GET","footprint_time":"2026-01-02T03:04:05.678901+09:00"}}"#)
}

/// A world whose records are all dead letters, and whose route is right now.
fn all_dead(name: &str, partitions: u16, records: usize) -> (World, i64) {
    let mut world = World::new(name, partitions, 0.0);
    world.definition.columns[0] = MISSPELT;
    let source = world.send(records);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    world.definition.columns[0] = RIGHT;
    (world, source)
}

fn letters(world: &mut World) -> i64 {
    world.eye.count("dead_letters")
}

fn in_clickhouse(world: &World) -> u64 {
    let sql = format!("select count() from {}.user_footprint", world.database);
    stack().clickhouse().unwrap().query(&sql).unwrap().trim().parse().unwrap()
}

/// Changes the table in ClickHouse, as its administrator.
fn clickhouse(world: &World, change: &str) {
    let sql = format!("alter table {}.user_footprint {change}", world.database);
    stack().clickhouse().unwrap().query(&sql).unwrap();
}

#[test]
fn after_a_mended_route_each_dead_letter_is_stored_once_and_verify_is_clean() {
    let _calm = calm();
    let (mut world, source) = all_dead("mended", 2, 1_300);
    // bad by any definition
    world.send_these(1, &["not json".to_owned()]);
    world.oracle.logs.get_mut(&(source, 1)).unwrap().last_mut().unwrap().as_mut().unwrap().fault = Some("not_json");
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);

    let said = world.command(&["dead-letters", "replay"]);
    assert!(said.contains("1300 dead letters would become rows: 1300 in both databases"), "{said}");
    assert!(said.contains("1 remain bad\n  not_json: 1\n") && said.contains("nothing was changed"), "{said}");
    assert_eq!((letters(&mut world), world.eye.count("user_footprint"), in_clickhouse(&world)), (1_301, 0, 0));

    // beside a running consumer of the same group, and only some of them
    let said = world.command(&[&REPLAY[..], &["--partition", "0", "--from", "10", "--to", "600"]].concat());
    assert!(said.contains("590 dead letters became rows: 590 in both databases"), "{said}");
    assert_eq!((letters(&mut world), world.eye.count("user_footprint"), in_clickhouse(&world)), (711, 590, 590));
    let report: serde_json::Value = serde_json::from_str(&world.command(&[&REPLAY[..], &["--json"]].concat())).unwrap();
    assert_eq!((&report["both"], &report["bad"]["not_json"]), (&710.into(), &1.into()), "{report}");
    assert_eq!(letters(&mut world), 1);
    let said = world.command(&REPLAY);
    assert!(said.contains("0 dead letters became rows"), "{said}");

    world.send(100);
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    prove_tables(&mut world);
    world.command(&["verify", "--strict"]);
}

/// The record that both databases refused has two dead letters. One database takes it first, and then the other.
#[test]
fn a_row_that_one_database_refused_is_stored_in_that_database_alone() {
    let _calm = calm();
    let mut world = World::new("halves", 1, 0.0);
    clickhouse(&world, "add constraint short check length(link) < 20");
    world.eye.query("alter table user_footprint add constraint odd check (link not like '%b%')");
    let long = "a".repeat(30);
    let both = "b".repeat(30);
    let source = world.send_these(0, &[event("/fine"), event(&long), event("/b"), event(&both)]);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    assert_eq!((letters(&mut world), world.eye.count("user_footprint"), in_clickhouse(&world)), (4, 2, 2));
    // nothing has changed: the databases refuse what they refused
    let said = world.command(&REPLAY);
    assert!(said.contains("0 dead letters became rows") && said.contains("4 rows are refused"), "{said}");
    assert_eq!((letters(&mut world), world.eye.count("user_footprint"), in_clickhouse(&world)), (4, 2, 2));

    world.eye.query("alter table user_footprint drop constraint odd");
    let said = world.command(&REPLAY);
    assert!(said.contains("2 dead letters became rows: 0 in both databases, 2 in postgresql alone"), "{said}");
    assert_eq!((letters(&mut world), world.eye.count("user_footprint"), in_clickhouse(&world)), (2, 4, 2));
    world.command(&["verify", "--strict"]);

    clickhouse(&world, "drop constraint short");
    let said = world.command(&REPLAY);
    assert!(
        said.contains("2 dead letters became rows: 0 in both databases, 0 in postgresql alone, 2 in clickhouse"),
        "{said}"
    );
    prove_tables(&mut world);
    world.command(&["verify", "--strict"]);
}

/// A record that no database could hold is good now, but one of them refuses it: it becomes a row in the other.
#[test]
fn what_a_database_refuses_at_the_replay_is_a_dead_letter_for_that_database_alone() {
    let _calm = calm();
    let mut world = World::new("refusedagain", 1, 0.0);
    world.definition.columns[0] = MISSPELT;
    let source =
        world.send_these(0, &[event("/fine"), event("/postgres"), event("/clickhouse"), event("/postgres/clickhouse")]);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    world.definition.columns[0] = RIGHT;
    clickhouse(&world, "add constraint no check position(link, 'clickhouse') = 0");
    world.eye.query("alter table user_footprint add constraint no check (link not like '%postgres%')");
    let said = world.command(&REPLAY);
    assert!(
        said.contains("3 dead letters became rows: 1 in both databases, 1 in postgresql alone, 1 in clickhouse"),
        "{said}"
    );
    for (offset, refused) in [(1, [true, false]), (2, [false, true]), (3, [true, true])] {
        let [postgres, clickhouse] = refused;
        if postgres {
            world.oracle.refused_by_postgres.insert((source, 0, offset));
        }
        if clickhouse {
            world.oracle.refused_by_clickhouse.insert((source, 0, offset));
        }
    }
    prove_tables(&mut world);
    world.command(&["verify", "--strict"]);
}

/// Killed when ClickHouse has the rows and PostgreSQL has not. Meanwhile the route changes again: the batch is finished by the
/// definition that began it, so both databases hold the same.
#[test]
fn a_replay_that_is_killed_between_the_databases_is_finished_by_the_next_one() {
    let _calm = calm();
    let (mut world, _) = all_dead("killedreplay", 2, 900);
    world.eye.query(HOLD);
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    let mut first = world.program(&REPLAY).spawn().unwrap();
    until_or("clickhouse has the first batch", STORED, || (in_clickhouse(&world) == 450).then_some(()), String::new);
    // a second one at the same time is refused
    let (status, said) = world.attempt(&REPLAY, STORED);
    assert!(status == Some(1) && said.contains("another `dead-letters replay`"), "{status:?}: {said}");
    first.kill().unwrap();
    first.wait().unwrap();
    let is_gone =
        "select 1 from pg_stat_activity where datname = current_database() and application_name like '%dead-letters%'";
    until_or("its sessions end", STORED, || world.eye.query(is_gone).is_empty().then_some(()), String::new);
    world.eye.query("select pg_advisory_unlock(1)");
    assert_eq!((letters(&mut world), world.eye.count("user_footprint"), in_clickhouse(&world)), (900, 0, 450));
    let (status, said) = world.attempt(&["dead-letters", "purge", "--yes"], STORED);
    assert!(status == Some(1) && said.contains("was interrupted; finish it first"), "{status:?}: {said}");

    world.definition.timezone = "Asia/Seoul";
    let said = world.command(&["dead-letters", "replay"]);
    assert!(said.contains("450 dead letters of an interrupted replay would be finished first"), "{said}");
    world.definition.timezone = "UTC";
    let said = world.command(&REPLAY);
    assert!(said.contains("900 dead letters became rows: 900 in both databases"), "{said}");
    assert_eq!(world.eye.count("footprint_replay"), 0);
    prove_tables(&mut world);
    world.command(&["verify", "--strict"]);
}

/// ClickHouse has not stored the range yet, so a consumer still writes it.
#[test]
fn a_dead_letter_whose_range_is_not_stored_everywhere_waits() {
    let _calm = calm();
    let mut world = World::new("waits", 1, 0.0);
    world.definition.columns[0] = MISSPELT;
    world.set("clickhouse.enabled", "false");
    let source = world.send_these(0, &[event("/a"), event("/b")]);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    world.definition.columns[0] = RIGHT;
    let said = world.command(&REPLAY);
    assert!(
        said.contains("0 dead letters became rows") && said.contains("2 must wait: a database is switched off"),
        "{said}"
    );
    assert_eq!((letters(&mut world), world.eye.count("user_footprint"), in_clickhouse(&world)), (2, 0, 0));
}

#[test]
fn dead_letters_are_listed_shown_and_purged() {
    let _calm = calm();
    let mut world = World::new("purged", 1, 0.0);
    let bad = "no \u{1b}[31mjson";
    let late = event("/late").replace("2026-01-02", "2026-13-02");
    let source = world.send_these(0, &[event("/a"), bad.to_owned(), bad.to_owned(), event("/b"), bad.to_owned(), late]);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    // without a command they are listed
    let listed = world.command(&["dead-letters"]);
    assert_eq!(listed, world.command(&["dead-letters", "list"]));
    assert!(
        listed.contains("user_footprint partition 0 offset 1 both: not_json: the payload is not one JSON value\n"),
        "{listed}"
    );
    let count = |arguments: &[&str]| {
        let lines = world.command(&[&["dead-letters", "list", "--json"], arguments].concat());
        lines
            .lines()
            .filter(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["route"].is_string())
            .count()
    };
    assert_eq!(count(&[]), 4);
    assert_eq!(count(&["--reason", "bad_time"]), 1);
    assert_eq!(count(&["--reason", "bad"]), 0);
    assert_eq!(count(&["--from", "2", "--to", "5"]), 2);
    assert_eq!(count(&["--partition", "1"]), 0);
    assert_eq!(count(&["--database", "postgres"]), 0);
    assert_eq!(count(&["--since", "2026-01-01", "--route", "user_footprint"]), 4);
    assert_eq!(count(&["--until", "2026-01-01T00:00:00Z"]), 0);
    let (status, _, said) = world.outcome(&["dead-letters", "list", "--since", "yesterday"]);
    assert!(status == 2 && said.contains("write it like 2026-01-02T03:04:05Z"), "{said}");

    let shown = world.command(&["dead-letters", "show", "--partition", "0", "--offset", "2"]);
    assert!(
        shown.contains("missing in both databases\nreason     not_json: ") && shown.contains("no \\u001b[31mjson"),
        "{shown}"
    );
    let shown = world.command(&["dead-letters", "show", "--partition", "0", "--offset", "2", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["payload"], &shown["offset"]), (&bad.into(), &2.into()), "{shown}");
    let (status, _, said) = world.outcome(&["dead-letters", "show", "--partition", "0", "--offset", "3"]);
    assert!(status == 1 && said.contains("partition 0 offset 3 is no dead letter"), "{said}");

    let purge = ["dead-letters", "purge", "--reason", "not_json"];
    let said = world.command(&purge);
    assert!(
        said.contains("user_footprint not_json (both): 3\n3 dead letters would be deleted; nothing was changed"),
        "{said}"
    );
    assert_eq!(letters(&mut world), 4);
    let said = world.command(&[&purge[..], &["--yes"]].concat());
    assert!(said.contains("3 dead letters were deleted"), "{said}");
    assert_eq!(letters(&mut world), 1);
    let gaps = world.eye.query("select start_offset, end_offset, sink from footprint_gap order by 1");
    let gaps: Vec<(i64, i64, String)> = gaps.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(gaps, [(1, 3, "both".to_owned()), (4, 5, "both".to_owned())]);
    world.command(&["verify", "--strict"]);
}

#[test]
fn a_stopped_postgresql_is_named() {
    let _calm = calm();
    let mut world = World::new("awayletters", 1, 0.0);
    world.set("postgres.port", "1");
    for command in [&["dead-letters", "list"][..], &["dead-letters", "purge", "--yes"], &REPLAY] {
        let (status, said) = world.attempt(command, Duration::from_secs(60));
        assert!(status == Some(1) && said.contains("postgresql at"), "{command:?}: {status:?}: {said}");
    }
}
