//! `verify --repair`: what one store lost is inserted again, equal to what it was, from Kafka or from the other database. Nothing is
//! removed. A repair that is killed leaves nothing doubled, and the next one finishes.

use std::time::Duration;

use footprint_trials::trial::{Loss, Output, Process, Proxy};

use crate::support::kafka::delete_records;
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// How long one repair may take.
const REPAIRED: Duration = Duration::from_secs(60);
/// While the table `hold` has a row, an insert waits.
const HOLD: [&str; 4] = [
    "create table hold as select 1 as held",
    "grant select on hold to public",
    "create function hold() returns trigger language plpgsql as $$ begin \
     while exists (select from hold) loop perform pg_sleep(0.02); end loop; return new; end $$",
    "create trigger hold before insert on user_footprint for each row execute function hold()",
];

/// What the three tables hold, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    postgres: Vec<String>,
    clickhouse: Vec<String>,
    dead_letters: Vec<String>,
}

impl Held {
    fn of(world: &mut World) -> Self {
        let mut lines = |sql: &str| world.eye.query(sql).iter().map(|row| row.get(0)).collect::<Vec<String>>();
        let postgres =
            lines("select held::text from user_footprint held order by kafka_source, kafka_partition, kafka_offset, 1");
        let dead_letters = lines(
            "select (to_jsonb(t) - 'stored_at')::text from dead_letters t order by kafka_source, kafka_partition, kafka_offset",
        );
        let sql = format!(
            "select * from {}.user_footprint order by kafka_source, kafka_partition, kafka_offset format TabSeparated",
            world.database
        );
        let clickhouse = stack().clickhouse().unwrap().query(&sql).unwrap();
        Self { postgres, clickhouse: clickhouse.lines().map(str::to_owned).collect(), dead_letters }
    }
}

/// A world whose records are all stored, and whose consumer has ended.
fn stored(name: &str, count: usize) -> (World, i64, Held) {
    let mut world = World::new(name, 2, 0.02);
    let source = world.send(count);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    let held = Held::of(&mut world);
    assert!(held.postgres.len() > count / 2 && held.dead_letters.len() > 3, "{}", held.dead_letters.len());
    (world, source, held)
}

fn in_clickhouse(world: &World, sql: &str) {
    stack()
        .clickhouse()
        .unwrap()
        .query(&sql.replace("user_footprint", &format!("{}.user_footprint", world.database)))
        .unwrap();
}

/// Removes the rows of one partition that meet a condition.
fn lose(world: &mut World, place: &str, partition: i32, condition: &str) {
    let condition = format!("kafka_partition = {partition} and {condition}");
    match place {
        "clickhouse" => in_clickhouse(
            world,
            &format!("alter table user_footprint delete where {condition} settings mutations_sync = 2"),
        ),
        table => drop(world.eye.query(&format!("delete from {table} where {condition}"))),
    }
}

#[test]
fn what_is_lost_is_inserted_again_and_is_equal_to_what_it_was() {
    let _calm = calm();
    let (mut world, _, held) = stored("mended", 3_000);
    lose(&mut world, "user_footprint", 0, "kafka_offset between 100 and 399");
    lose(&mut world, "clickhouse", 1, "kafka_offset in (7, 8, 900)");
    // both databases have lost it
    lose(&mut world, "user_footprint", 1, "kafka_offset between 20 and 30");
    lose(&mut world, "clickhouse", 1, "kafka_offset between 20 and 30");
    lose(&mut world, "dead_letters", 0, "kafka_offset < 1000");
    let lost = Held::of(&mut world);
    assert!(lost.postgres.len() < held.postgres.len() - 250 && lost.clickhouse.len() < held.clickhouse.len() - 10);
    assert!(lost.dead_letters.len() < held.dead_letters.len());

    let (status, out, _) = world.outcome(&["verify"]);
    assert!(status == 3 && out.contains("run `footprint verify --repair` to insert them"), "{out}");
    assert_eq!(Held::of(&mut world), lost, "without --repair nothing is written");
    let (status, out, err) = world.outcome(&["verify", "--repair"]);
    assert_eq!(status, 0, "{out}{err}");
    assert_eq!(Held::of(&mut world), held, "{out}");
    let (rows, letters) =
        (held.postgres.len() - lost.postgres.len(), held.dead_letters.len() - lost.dead_letters.len());
    let in_clickhouse = held.clickhouse.len() - lost.clickhouse.len();
    let said = format!(
        "repaired route user_footprint: {rows} rows inserted into postgres, {in_clickhouse} into clickhouse, {letters} dead letters; \
         0 rows were taken from the other database"
    );
    assert!(out.contains(&said), "{out}");

    // the same rows are lost once more: clickhouse remembers the first repair's token, and must store them nevertheless
    for _ in 0..3 {
        lose(&mut world, "clickhouse", 1, "kafka_offset in (7, 8, 900)");
        let (status, out, err) = world.outcome(&["verify", "--repair"]);
        assert_eq!(status, 0, "{out}{err}");
        assert_eq!(Held::of(&mut world), held, "{out}");
    }
}

#[test]
fn a_doubled_and_a_changed_row_are_left_and_their_statements_help() {
    let _calm = calm();
    let (mut world, _, held) = stored("remedies", 1_000);
    let insert = "insert into user_footprint select * from user_footprint where kafka_partition = 0 and kafka_offset =";
    world.eye.query(&format!("{insert} 11"));
    in_clickhouse(&world, &format!("{insert} 12"));
    world.eye.query("update user_footprint set link = 'forged' where kafka_partition = 1 and kafka_offset = 13");
    in_clickhouse(
        &world,
        "alter table user_footprint update link = 'forged' where kafka_partition = 1 and kafka_offset = 14 \
         settings mutations_sync = 2",
    );
    let letter =
        "kafka_partition = 0 and kafka_offset = (select min(kafka_offset) from dead_letters where kafka_partition = 0)";
    world.eye.query(&format!("insert into dead_letters select * from dead_letters where {letter}"));
    lose(&mut world, "user_footprint", 0, "kafka_offset = 15");
    let harmed = Held::of(&mut world);

    let (status, out, err) = world.outcome(&["verify", "--repair"]);
    assert_eq!(status, 3, "what is doubled or changed is still there: {out}{err}");
    assert!(out.contains("EXACTLY ONCE DID NOT HOLD: 5 faults"), "{out}");
    let after = Held::of(&mut world);
    assert_eq!((after.postgres.len(), &after.clickhouse), (harmed.postgres.len() + 1, &harmed.clickhouse), "{out}");

    let (_, out, _) = world.outcome(&["verify", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let remedies = report["remedies"].as_array().unwrap();
    assert_eq!(remedies.len(), 5, "{out}");
    for remedy in remedies {
        let statement = remedy["statement"].as_str().unwrap();
        match remedy["place"].as_str().unwrap() {
            "clickhouse" => drop(stack().clickhouse().unwrap().query(statement).unwrap()),
            _ => drop(world.eye.query(statement)),
        }
    }
    let copies = world.eye.query("select count(*) from user_footprint where kafka_partition = 0 and kafka_offset = 11");
    assert_eq!(copies[0].get::<_, i64>(0), 1, "the statement leaves exactly one");
    let (status, out, err) = world.outcome(&["verify", "--repair"]);
    assert_eq!(status, 0, "{out}{err}");
    assert_eq!(Held::of(&mut world), held, "{out}");
}

#[test]
fn a_record_that_kafka_no_longer_has_comes_from_the_other_database() {
    let _calm = calm();
    let (mut world, _, held) = stored("others", 1_000);
    delete_records(&world.topic, 0, 300);
    lose(&mut world, "user_footprint", 0, "kafka_offset in (10, 250, 299, 301)");
    lose(&mut world, "clickhouse", 0, "kafka_offset in (11, 251)");
    let (status, out, err) = world.outcome(&["verify", "--repair"]);
    assert_eq!(status, 0, "{out}{err}");
    assert_eq!(Held::of(&mut world), held, "{out}");
    assert!(!out.contains("0 rows were taken from the other database"), "{out}");

    // a whole life of the topic is gone
    world.recreate_topic();
    lose(&mut world, "user_footprint", 1, "kafka_offset in (20, 21)");
    lose(&mut world, "clickhouse", 1, "kafka_offset in (22, 23)");
    let (status, out, err) = world.outcome(&["verify", "--repair"]);
    assert_eq!(status, 0, "{out}{err}");
    assert_eq!(Held::of(&mut world), held, "{out}");
}

/// Kafka has nothing any more, so each value crosses from one database to the other.
#[test]
fn every_kind_of_value_crosses_from_either_database_unchanged() {
    let _calm = calm();
    let column = |name: &str, kind: &str| -> &'static str {
        format!(r#"{{ name = "{name}", kind = "{kind}", presence = "optional" }}"#).leak()
    };
    let cases = [
        (
            [column("i", "integer"), column("f", "float"), column("b", "boolean")],
            vec![
                r#"{"i":-9223372036854775808,"f":-0.0,"b":false}"#.to_owned(),
                r#"{"i":9223372036854775807,"f":5e-324,"b":true}"#.to_owned(),
                r#"{"i":0,"f":1.7976931348623157e308,"b":null}"#.to_owned(),
            ],
        ),
        (
            [column("u", "uuid"), column("at", "timestamp"), column("t", "text")],
            vec![
                r#"{"u":"01234567-89ab-cdef-1032-547698badcfe","at":"1969-12-31T23:59:59.999999Z","t":""}"#.to_owned(),
                r#"{"u":"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF","at":"2100-02-28T00:00:00.123456+09:00","t":"a'\\\n\""}"#
                    .to_owned(),
                format!(r#"{{"u":null,"at":null,"t":"{}"}}"#, "ü".repeat(200_000)),
            ],
        ),
    ];
    for (columns, mut events) in cases {
        events.push("{}".to_owned());
        let mut world = World::without_tables("kinds_cross", 1, 0.0);
        world.definition.columns = columns;
        world.command(&["migrate"]);
        let source = world.send_these(0, &[events.clone(), events].concat());
        let mut consumer = world.consumer();
        world.wait_stored(source, STORED, &mut [&mut consumer]);
        consumer.stop();
        let held = Held::of(&mut world);
        assert_eq!((held.postgres.len(), held.clickhouse.len()), (8, 8));
        delete_records(&world.topic, 0, 8);
        lose(&mut world, "user_footprint", 0, "kafka_offset < 4");
        lose(&mut world, "clickhouse", 0, "kafka_offset >= 4");
        let (status, out, err) = world.outcome(&["verify", "--repair"]);
        assert_eq!(status, 0, "{out}{err}");
        assert!(out.contains("8 rows were taken from the other database"), "{out}");
        assert_eq!(Held::of(&mut world), held);
    }
}

/// The other database's row has a content that no definition gives: one of the two is wrong, and nothing is made equal by guess.
#[test]
fn a_row_that_the_other_database_contradicts_is_left() {
    let _calm = calm();
    let (mut world, _, _) = stored("contradicted", 500);
    world.eye.query("update user_footprint set link = 'forged' where kafka_partition = 0 and kafka_offset in (5, 6)");
    lose(&mut world, "clickhouse", 0, "kafka_offset in (5, 6)");
    let before = Held::of(&mut world);
    let (status, out, err) = world.outcome(&["verify", "--repair"]);
    assert_eq!(status, 3, "{out}{err}");
    let left = "partition 0 offset 5: the other database holds another row than its record makes";
    assert!(out.contains("not inserted: clickhouse source ") && out.contains(left), "{out}");
    assert_eq!(Held::of(&mut world), before);
}

/// The route's zone has changed since. The other database's row shows which definition claimed the record.
#[test]
fn a_row_is_decoded_by_the_definition_that_claimed_it() {
    let _calm = calm();
    let mut world = World::new("defined", 1, 0.0);
    let event =
        |second: usize| format!(r#"{{"link":"/a","method":"GET","footprint_time":"2026-01-02T03:04:{second:02}"}}"#);
    let source = world.send_these(0, &(0..50).map(event).collect::<Vec<_>>());
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    world.definition.timezone = "Asia/Seoul";
    world.send_these(0, &(0..50).map(event).collect::<Vec<_>>());
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    consumer.stop();
    let held = Held::of(&mut world);
    lose(&mut world, "user_footprint", 0, "kafka_offset in (10, 60)");
    lose(&mut world, "clickhouse", 0, "kafka_offset in (11, 61)");
    let (status, out, err) = world.outcome(&["verify", "--repair"]);
    assert_eq!(status, 0, "{out}{err}");
    assert_eq!(Held::of(&mut world), held, "{out}");
}

#[test]
fn beside_a_running_consumer_nothing_is_doubled() {
    let _calm = calm();
    let mut world = World::new("beside", 2, 0.01);
    world.set("pipeline.batch_rows_max", "500");
    let source = world.send(2_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, STORED, &mut [&mut consumer]);
    for round in 0..4 {
        lose(&mut world, "user_footprint", 0, &format!("kafka_offset between {round}00 and {round}20"));
        lose(&mut world, "clickhouse", 1, &format!("kafka_offset between {round}00 and {round}20"));
        world.send(20_000);
        let (status, out, err) = world.outcome(&["verify", "--repair"]);
        assert_eq!(status, 0, "{out}{err}");
    }
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// Starts a repair in a process of its own.
fn start(world: &World, name: &str) -> Process {
    let log = world.file(name, "");
    Process::start(world.program(&["verify", "--repair"]), name, Output::File(&log), Output::File(&log)).unwrap()
}

/// Waits until a repair's insert into PostgreSQL waits in the trigger.
fn wait_held(world: &mut World, repair: &Process) {
    let held = || {
        let sql = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()";
        (!world.eye.query(sql).is_empty()).then_some(())
    };
    until_or("the repair inserts into postgresql", REPAIRED, held, || repair.tail());
}

#[test]
fn a_second_repair_is_kept_away_and_a_killed_one_is_finished_by_the_next() {
    let _calm = calm();
    let (mut world, _, held) = stored("killed_repair", 1_000);
    for statement in HOLD {
        world.eye.query(statement);
    }
    // clickhouse's rows come first, then postgresql's wait
    lose(&mut world, "clickhouse", 0, "kafka_offset in (10, 11)");
    lose(&mut world, "user_footprint", 1, "kafka_offset between 10 and 20");
    lose(&mut world, "clickhouse", 1, "kafka_offset in (30, 31)");
    let mut first = start(&world, "first");
    wait_held(&mut world, &first);
    let (status, out, err) = world.outcome(&["verify", "--repair"]);
    assert!(
        status == 1 && err.contains("another `footprint verify --repair` of route user_footprint is running"),
        "{out}{err}"
    );
    first.kill().unwrap();
    world.eye.query("delete from hold");
    let now = Held::of(&mut world);
    assert_eq!(now.clickhouse.len(), held.clickhouse.len() - 2, "it was killed between the two databases");
    assert!(now.postgres.len() < held.postgres.len());
    // the lock goes with the killed one's session
    let again = || {
        let (status, out, err) = world.outcome(&["verify", "--repair"]);
        assert!(status == 0 || err.contains("another `footprint verify --repair`"), "{out}{err}");
        (status == 0).then_some(())
    };
    until_or("the next repair finishes", REPAIRED, again, String::new);
    assert_eq!(Held::of(&mut world), held);
}

/// The rows have landed, and the repair dies before it knows.
#[test]
fn a_repair_that_is_killed_before_clickhouse_has_answered_doubles_nothing() {
    let _calm = calm();
    let (mut world, _, held) = stored("unanswered", 1_000);
    lose(&mut world, "clickhouse", 0, "kafka_offset between 10 and 40");
    let direct = stack().clickhouse().unwrap().http_port();
    for withhold in [true, false] {
        let proxy = Proxy::start(direct).unwrap();
        world.set("clickhouse.port", &proxy.port().to_string());
        proxy.lose(Loss { marks: &[b"insert_deduplication_token"], withhold });
        let mut repair = start(&world, "unanswered");
        until_or("the answer is lost", REPAIRED, || proxy.has_lost().then_some(()), || repair.tail());
        if withhold {
            let landed = || (Held::of(&mut world) == held).then_some(());
            until_or("the rows have landed", REPAIRED, landed, || repair.tail());
            repair.kill().unwrap();
        } else {
            // it reads back, and goes on
            let ended = repair.wait(REPAIRED).unwrap();
            assert_eq!(ended.status.code(), Some(0), "{}", repair.stderr_text());
        }
        drop(proxy);
        world.set("clickhouse.port", &direct.to_string());
        let (status, out, err) = world.outcome(&["verify", "--repair"]);
        assert_eq!(status, 0, "{out}{err}");
        assert_eq!(Held::of(&mut world), held, "{out}");
        lose(&mut world, "clickhouse", 0, "kafka_offset between 10 and 40");
    }
}
