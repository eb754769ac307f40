//! A route's definition changes while claims are pending. Each range is finished by the definition that claimed it. The story:
//! ClickHouse had a range, and PostgreSQL was locked. The program was killed and started again with another `timezone`, and the
//! two databases held different times for the same records.

use std::time::Duration;

use footprint_trials::trial::Proxy;

use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// How long the program may take to notice that it must stop.
const STOPPED: Duration = Duration::from_secs(60);

/// PostgreSQL's rows wait as long as the test holds the lock.
const HOLD: &str = "create function hold() returns trigger language plpgsql as $$ begin \
                    perform pg_advisory_xact_lock_shared(1); return new; end $$";
const TRIGGER: &str = "create trigger hold before insert on user_footprint for each row execute function hold()";

/// Local times: the route decides what they mean. Every tenth event has no link.
fn events(count: usize) -> Vec<String> {
    let event = |number: usize| {
        let link = if number.is_multiple_of(10) { String::new() } else { format!(r#""link":"/{number}","#) };
        format!(r#"{{{link}"method":"GET","footprint_time":"2026-01-02T03:{:02}:{:02}"}}"#, number / 60, number % 60)
    };
    (0..count).map(event).collect()
}

/// A row: offset, link, and the time in seconds since 2026-01-02 00:00:00 UTC.
type Row = (i64, String, i64);

fn in_postgres(world: &mut World) -> Vec<Row> {
    let sql = "select kafka_offset, coalesce(link, '-'), (extract(epoch from footprint_time) - 1767312000)::bigint \
               from user_footprint order by 1";
    world.eye.query(sql).iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn in_clickhouse(world: &World) -> Vec<Row> {
    let sql = format!(
        "select kafka_offset, coalesce(link, '-'), toUnixTimestamp(footprint_time) - 1767312000 from {}.user_footprint order by 1",
        world.database
    );
    let answer = stack().clickhouse().unwrap().query(&sql).unwrap();
    let row = |line: &str| {
        let mut values = line.split('\t');
        let mut next = || values.next().unwrap().to_owned();
        (next().parse().unwrap(), next(), next().parse().unwrap())
    };
    answer.lines().map(row).collect()
}

/// The rows of `count` events from `offset` on. The definition takes events without a link for `missing` (none: they are dead
/// letters), and its zone's clocks are `east` seconds ahead.
fn rows(count: i64, offset: i64, missing: Option<&str>, east: i64) -> Vec<Row> {
    let row = |number: i64| {
        let link = if number % 10 == 0 { missing?.to_owned() } else { format!("/{number}") };
        Some((offset + number, link, 3 * 3_600 + number - east))
    };
    (0..count).filter_map(row).collect()
}

fn dead_letters(world: &mut World) -> Vec<i64> {
    world.eye.query("select kafka_offset from dead_letters order by 1").iter().map(|row| row.get(0)).collect()
}

/// A killed consumer has claimed 200 events. ClickHouse has them and PostgreSQL does not.
fn claimed_and_killed(world: &mut World) -> i64 {
    let source = world.send_these(0, &events(200));
    world.eye.query(HOLD);
    world.eye.query(TRIGGER);
    world.eye.query("select pg_advisory_lock(1)");
    let mut consumer = world.consumer();
    let expected = rows(200, 0, None, 0);
    let held = |world: &mut World| {
        let waits = !world.eye.query("select 1 from pg_locks where locktype = 'advisory' and not granted").is_empty();
        (waits && in_clickhouse(world) == expected).then_some(())
    };
    until_or("clickhouse holds what postgresql does not", STORED, || held(world), || consumer.tail());
    consumer.kill();
    let row = &world.ledger(source)[0];
    assert_eq!((row.claimed, row.postgres_next, row.pending()), (200, Some(0), 1), "one claim is pending");
    // the killed consumer's backend continues, and notices that its client is gone
    world.eye.query("select pg_advisory_unlock(1)");
    world.eye.query("drop trigger hold on user_footprint");
    source
}

/// Another zone, and a default for events that were dead letters.
fn redefine(world: &mut World) {
    world.definition.timezone = "Asia/Seoul";
    world.definition.columns[1] = r#"{ name = "link", kind = "text", presence = { default = "none" } }"#;
}

const EAST: i64 = 9 * 3_600;

#[test]
fn a_claim_is_finished_by_the_definition_that_made_it() {
    let _calm = calm();
    let mut world = World::new("definition", 1, 0.0);
    let source = claimed_and_killed(&mut world);
    redefine(&mut world);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    assert!(consumer.log().contains("claimed under an earlier definition of the route: finished by that"));
    world.send_these(0, &events(100));
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    let expected = [rows(200, 0, None, 0), rows(100, 200, Some("none"), EAST)].concat();
    assert_eq!(in_postgres(&mut world), expected);
    assert_eq!(in_clickhouse(&world), expected);
    let letters: Vec<i64> = (0..200).step_by(10).collect();
    assert_eq!(dead_letters(&mut world), letters);
}

/// A column of the definition that claimed the range is gone from both tables. Nothing is decoded by guess.
#[test]
fn a_definition_that_the_tables_no_longer_take_is_a_stop_with_the_statements_that_help() {
    let _calm = calm();
    let mut world = World::new("dropped", 1, 0.0);
    let source = claimed_and_killed(&mut world);
    world.definition.columns[1] = r#"{ name = "title", kind = "text", presence = "optional" }"#;
    let clickhouse = |world: &World, sql: &str| {
        let sql = sql.replace("\"user_footprint\"", &format!("{}.user_footprint", world.database));
        stack().clickhouse().unwrap().query(&sql).unwrap();
    };
    world.eye.query("alter table user_footprint drop column link, add column title text");
    clickhouse(&world, "alter table \"user_footprint\" drop column link, add column title Nullable(String)");
    for database in ["postgresql", "clickhouse"] {
        let mut consumer = world.consumer_with(&["--until-caught-up"]);
        assert_eq!(consumer.wait(STOPPED).code(), Some(1), "{}", consumer.log());
        let log = consumer.log();
        let line = log.lines().find(|line| line.starts_with("footprint: ")).unwrap_or(&log);
        let named = format!(
            "records [0, 200) were claimed under an earlier definition of the route and must be finished by that: {database} table "
        );
        assert!(line.contains(&named), "{line}");
        let statement =
            line.split_once(&format!("run in {database}: ")).unwrap().1.split("; then start again").next().unwrap();
        match database {
            "postgresql" => drop(world.eye.query(statement)),
            _ => stack().clickhouse().unwrap().query(statement).map(drop).unwrap(),
        }
    }
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    assert_eq!(in_postgres(&mut world), rows(200, 0, None, 0));
    // ClickHouse's values of the column are gone with it
    let kept = |rows: Vec<Row>| rows.into_iter().map(|(offset, _, time)| (offset, time)).collect::<Vec<_>>();
    assert_eq!(kept(in_clickhouse(&world)), kept(rows(200, 0, None, 0)));
}

/// Claims of a program that stored no definitions: PostgreSQL's rows are the truth if it has them.
#[test]
fn a_definition_that_nobody_kept_is_told() {
    let _calm = calm();
    let mut world = World::new("unkept", 1, 0.0);
    let source = claimed_and_killed(&mut world);
    world.eye.query("delete from footprint_definition");
    redefine(&mut world);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    let log = consumer.log();
    let warns = |line: &&str| {
        line.contains("WARN") && line.contains("[0, 200)") && line.contains("the databases may differ in them")
    };
    assert_eq!(log.lines().filter(warns).count(), 1, "{log}");
    let (status, out, _) = world.outcome(&["verify"]);
    assert_eq!(status, 3, "{out}");
}

/// The rows that PostgreSQL holds of a claim under a lost definition go into ClickHouse as they are, whatever their kinds: one
/// of them is changed by hand, so that no decoder can have made it.
#[test]
fn clickhouse_gets_the_rows_that_postgresql_holds() {
    let _calm = calm();
    let mut world = World::without_tables("truth", 1, 0.0);
    world.definition.columns = [
        r#"{ name = "visitor", kind = "uuid", presence = "optional" }"#,
        r#"{ name = "mobile", kind = "boolean" }"#,
        r#"{ name = "footprint_time", kind = "timestamp" }"#,
    ];
    world.command(&["migrate"]);
    let direct = stack().clickhouse().unwrap().http_port();
    let proxy = Proxy::start(direct).unwrap();
    world.set("clickhouse.port", &proxy.port().to_string());
    let event = |visitor| format!(r#"{{"visitor":{visitor},"mobile":true,"footprint_time":"2026-01-02T03:04:05Z"}}"#);
    let source = world.send_these(0, &[event("null")]);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    proxy.hold();
    let uuid = r#""01234567-89ab-cdef-1032-547698badcfe""#;
    world.send_these(0, &[uuid, "null", uuid].map(event));
    let in_postgres_alone = |world: &mut World| {
        let row = &world.ledger(source)[0];
        (row.postgres_next == Some(4) && row.clickhouse_next == Some(1)).then_some(())
    };
    until_or("postgresql holds what clickhouse does not", STORED, || in_postgres_alone(&mut world), || consumer.tail());
    consumer.kill();
    world.eye.query("delete from footprint_definition");
    world.eye.query("update footprint_ledger set fingerprints = array_fill(12345::bigint, array[cardinality(claims)])");
    world.eye.query(
        "update user_footprint set visitor = 'f1234567-89ab-cdef-1032-547698badcfe', mobile = false where kafka_offset = 3",
    );

    world.set("clickhouse.port", &direct.to_string());
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    assert!(consumer.log().contains("clickhouse gets the rows that postgresql holds"), "{}", consumer.log());
    let sql = format!("select kafka_offset, visitor, mobile from {}.user_footprint order by 1", world.database);
    let rows = stack().clickhouse().unwrap().query(&sql).unwrap();
    let expected = [
        "0\t\\N\ttrue",
        "1\t01234567-89ab-cdef-1032-547698badcfe\ttrue",
        "2\t\\N\ttrue",
        "3\tf1234567-89ab-cdef-1032-547698badcfe\tfalse",
    ];
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
}

/// What an older program has left behind: inserts under unknown ids, which can only be waited out, no definition, no first start.
/// It is finished, and both databases hold each record once.
#[test]
fn claims_of_a_program_of_before_are_finished() {
    let _calm = calm();
    let mut world = World::new("upgraded", 1, 0.0);
    world.set("pipeline.sink_timeout_ms", "1000");
    let source = claimed_and_killed(&mut world);
    world.eye.query("update footprint_ledger set format = 1, fingerprints = '{12345}', first_offset = null");
    world.eye.query("delete from footprint_definition");
    world.eye.query("delete from footprint_first_start");
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    assert!(consumer.log().contains("another ledger's inserts may be on their way: waiting them out"));
    assert_eq!(in_postgres(&mut world), rows(200, 0, None, 0));
    assert_eq!(in_clickhouse(&world), rows(200, 0, None, 0));
    world.command(&["verify", "--strict"]);
}
