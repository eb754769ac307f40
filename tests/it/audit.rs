//! The audit of a running consumer: what somebody changes in a table is found, named, written to the ledger, and seen to be mended.

use std::time::{Duration, Instant};

use crate::support::calm;
use crate::support::consumer::Consumer;
use crate::support::kafka::delete_records;
use crate::support::stack;
use crate::support::wait::until_or;
use crate::support::world::World;

/// How long it may take until a fault in this small table is found, and until its end is noticed.
const FOUND: Duration = Duration::from_secs(60);
const ROUTE: &str = "user_footprint";

/// One of the databases, and how its rows are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Postgres,
    Clickhouse,
}

impl Place {
    fn sink(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Clickhouse => "clickhouse",
        }
    }

    fn run(self, world: &mut World, sql: &str) {
        match self {
            Self::Postgres => drop(world.eye.query(sql)),
            Self::Clickhouse => {
                let sql = sql.replace("user_footprint", &format!("{}.user_footprint", world.database));
                stack().clickhouse().unwrap().query(&sql).unwrap();
            }
        }
    }

    fn delete(self, condition: &str) -> String {
        match self {
            Self::Postgres => format!("delete from user_footprint where {condition}"),
            Self::Clickhouse => {
                format!("alter table user_footprint delete where {condition} settings mutations_sync = 2")
            }
        }
    }

    fn update(self, set: &str, condition: &str) -> String {
        match self {
            Self::Postgres => format!("update user_footprint set {set} where {condition}"),
            Self::Clickhouse => {
                format!("alter table user_footprint update {set} where {condition} settings mutations_sync = 2")
            }
        }
    }
}

/// What somebody does to a row, and how it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tampering {
    Lost,
    Doubled,
    Changed,
}

impl Tampering {
    fn kind(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Changed => "changed",
        }
    }

    /// The statements that do it, and those that undo it. `kept` is a table with the row as it was.
    fn statements(self, place: Place, row: &str) -> (Vec<String>, Vec<String>) {
        let back = "insert into user_footprint select * from kept".to_owned();
        match self {
            Self::Lost => (vec![place.delete(row)], vec![back]),
            Self::Doubled => (vec![back.clone()], vec![place.delete(row), back]),
            Self::Changed => (vec![place.update("link = concat(link, 'x')", row)], vec![place.delete(row), back]),
        }
    }
}

fn metric(consumer: &Consumer, name: &str, labels: &str) -> f64 {
    consumer.metric(&format!("footprint_audit_{name}{{{labels}}}")).unwrap_or(0.0)
}

fn on(partition: i32) -> String {
    format!("route=\"{ROUTE}\",partition=\"{partition}\"")
}

/// Waits until everything is proven, and nothing is wrong.
fn all_proven(world: &mut World, consumer: &Consumer, source: i64) {
    let ends: Vec<(i32, i64)> = world.ledger(source).iter().map(|row| (row.partition, row.lowest())).collect();
    let proven = || {
        let is_proven = |&(partition, end): &(i32, i64)| {
            let labels = on(partition);
            metric(consumer, "proven_offset", &labels) == end as f64
                && metric(consumer, "faulty_ranges", &labels) == 0.0
                && consumer.metric(&format!("footprint_audit_proof_age_seconds{{{labels}}}")).is_some()
        };
        ends.iter().all(is_proven).then_some(())
    };
    let seen = || consumer.page("/metrics").map(|(_, page)| page).unwrap_or_default() + &consumer.tail();
    until_or("everything is proven", FOUND, proven, seen);
}

/// The audit's row of the ledger's table.
fn proof(world: &mut World, partition: i32) -> (i64, [i64; 6], String) {
    let row = &world.eye.query(&format!(
        "select end_offset, postgres_lost, postgres_doubled, postgres_changed, clickhouse_lost, clickhouse_doubled, \
         clickhouse_changed, coalesce(example, '') from footprint_proof where proven_by = 'audit' and partition = {partition}"
    ))[0];
    (row.get(0), std::array::from_fn(|index| row.get(index + 1)), row.get(7))
}

#[test]
fn a_row_that_somebody_loses_doubles_or_changes_is_found_in_each_database() {
    let _calm = calm();
    let mut world = World::new("audit", 2, 0.02);
    // without pauses
    world.set("audit.cpu_percent", "100");
    let source = world.send(3_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, FOUND, &mut [&mut consumer]);
    all_proven(&mut world, &consumer, source);
    let rows = ["postgres", "clickhouse"]
        .map(|sink| metric(&consumer, "records_total", &format!("route=\"{ROUTE}\",sink=\"{sink}\"")));
    assert!(rows[0] >= 3_000.0 && rows[1] > 2_500.0, "{rows:?}");

    for place in [Place::Postgres, Place::Clickhouse] {
        for tampering in [Tampering::Lost, Tampering::Doubled, Tampering::Changed] {
            is_found(&mut world, &consumer, source, place, tampering);
        }
    }
    consumer.stop();
    verify_writes_its_result(&mut world, source);
}

/// `verify` writes what it found, too. Without the right to, it says so, and its verdict is the same.
fn verify_writes_its_result(world: &mut World, source: i64) {
    const WRITTEN: &str = "select partition, end_offset, postgres_lost, coalesce(example, '') from footprint_proof \
                           where proven_by = 'verify' order by partition";
    let written = |world: &mut World| -> Vec<(i32, i64, i64, String)> {
        let rows = world.eye.query(WRITTEN);
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
    };
    let ends: Vec<(i32, i64)> = world.ledger(source).iter().map(|row| (row.partition, row.lowest())).collect();
    let out = world.command(&["verify"]);
    assert!(!out.contains("footprint_proof"), "{out}");
    let clean: Vec<_> = ends.iter().map(|&(partition, end)| (partition, end, 0, String::new())).collect();
    assert_eq!(written(world), clean);

    world.eye.query(
        "delete from user_footprint where kafka_partition = 1 and kafka_offset = \
                     (select min(kafka_offset) from user_footprint where kafka_partition = 1)",
    );
    world.eye.query("revoke insert, update on footprint_proof from footprint");
    let (status, out, _) = world.outcome(&["verify"]);
    assert!(status == 3 && out.contains("note: this result was not written to footprint_proof: "), "{out}");
    assert_eq!(written(world), clean);

    world.eye.query("grant insert, update on footprint_proof to footprint");
    assert_eq!(world.outcome(&["verify"]).0, 3);
    let written = written(world);
    assert_eq!((written[0].clone(), written[1].2), (clean[0].clone(), 1));
    assert!(written[1].3.starts_with("postgres: offset ") && written[1].3.ends_with(" is lost"), "{written:?}");
}

/// What Kafka has deleted is proven by the other database. After a restart the audit goes on where it was, and knows of its faults.
#[test]
fn without_kafka_the_databases_prove_each_other_and_a_restart_forgets_nothing() {
    const RECORDS: i64 = 10_000;
    /// All records of the first millisecond: no other row of ClickHouse has their time.
    const FIRST: &str = "kafka_offset < 16";
    let _calm = calm();
    let mut world = World::new("audit_gone", 1, 0.0);
    world.set("audit.cpu_percent", "100");
    let source = world.send(RECORDS as usize);
    let mut consumer = world.consumer();
    world.wait_stored(source, FOUND, &mut [&mut consumer]);
    // the second range is in Kafka only from its middle on
    delete_records(&world.topic, 0, 6_000);
    all_proven(&mut world, &consumer, source);
    until_or("it is written", FOUND, || (proof(&mut world, 0).0 == RECORDS).then_some(()), || consumer.tail());
    consumer.stop();
    let row = |offset: i64| format!("kafka_offset = {offset}");
    world.eye.query("create table kept as select * from user_footprint where kafka_offset in (5000, 5500)");
    let clickhouse =
        format!("create table {0}.kept engine Memory as select * from user_footprint where {FIRST}", world.database);
    Place::Clickhouse.run(&mut world, &clickhouse);
    // the first rows of all are only in PostgreSQL, and the others are in the range that Kafka has in part
    Place::Postgres.run(&mut world, &Place::Postgres.delete(&row(5_000)));
    Place::Postgres.run(&mut world, &Place::Postgres.update("link = 'x'", &row(5_500)));
    Place::Clickhouse.run(&mut world, &Place::Clickhouse.delete(FIRST));

    let mut consumer = world.consumer();
    let seen =
        |consumer: &Consumer| consumer.page("/metrics").map(|(_, page)| page).unwrap_or_default() + &consumer.tail();
    let proven = |consumer: &Consumer| consumer.metric(&format!("footprint_audit_proven_offset{{{}}}", on(0)));
    let first = until_or("it has begun", FOUND, || proven(&consumer), || seen(&consumer));
    assert!(first == RECORDS as f64 || first == 0.0, "it goes on where it was: {first}");
    let counts = [("postgres", "lost"), ("postgres", "changed"), ("clickhouse", "lost"), ("clickhouse", "changed")];
    let counted = |consumer: &Consumer| {
        counts.map(|(sink, kind)| {
            metric(consumer, "faults_total", &format!("route=\"{ROUTE}\",sink=\"{sink}\",kind=\"{kind}\""))
        })
    };
    // nobody can say which database has changed
    let found = || (counted(&consumer) == [1.0, 1.0, 16.0, 1.0]).then_some(());
    until_or("all are found", FOUND, found, || seen(&consumer));
    consumer.stop();
    let (end, found, example) = proof(&mut world, 0);
    assert_eq!((end, found, example.as_str()), (RECORDS, [1, 0, 1, 16, 0, 1], "clickhouse: offset 0 is lost"));

    let mut consumer = world.consumer();
    let first = until_or("it has begun", FOUND, || proven(&consumer), || seen(&consumer));
    assert_eq!(first, 0.0, "it knows that something is wrong there");
    world.eye.query("delete from user_footprint where kafka_offset = 5500");
    world.eye.query("insert into user_footprint select * from kept");
    let back = format!("insert into user_footprint select * from {}.kept", world.database);
    Place::Clickhouse.run(&mut world, &back);
    all_proven(&mut world, &consumer, source);
    assert_eq!(proof(&mut world, 0), (RECORDS, [0; 6], String::new()));

    // a whole range, and more than a range around it
    let all = format!("create table {}.all engine Memory as select * from user_footprint", world.database);
    Place::Clickhouse.run(&mut world, &all);
    Place::Clickhouse.run(&mut world, &Place::Clickhouse.delete("kafka_offset < 5200"));
    let before = counted(&consumer);
    let found = || (counted(&consumer)[2] == before[2] + 5_200.0).then_some(());
    until_or("all are found", FOUND, found, || seen(&consumer));
    let back = format!("insert into user_footprint select * from {}.all where kafka_offset < 5200", world.database);
    Place::Clickhouse.run(&mut world, &back);
    all_proven(&mut world, &consumer, source);
    consumer.stop();
}

fn is_found(world: &mut World, consumer: &Consumer, source: i64, place: Place, tampering: Tampering) {
    let row = world.eye.query("select kafka_partition, kafka_offset from user_footprint order by random() limit 1");
    let (partition, offset): (i32, i64) = (row[0].get(0), row[0].get(1));
    let row = format!("kafka_partition = {partition} and kafka_offset = {offset}");
    let (sink, kind) = (place.sink(), tampering.kind());
    let (kept, gone) = match place {
        Place::Postgres => {
            (format!("create table kept as select * from user_footprint where {row}"), "drop table kept")
        }
        Place::Clickhouse => (
            format!("create table {0}.kept engine Memory as select * from user_footprint where {row}", world.database),
            "drop table kept sync",
        ),
    };
    let named = |sql: &str| match place {
        Place::Postgres => sql.to_owned(),
        Place::Clickhouse => sql
            .replace("from kept", &format!("from {}.kept", world.database))
            .replace("drop table kept", &format!("drop table {}.kept", world.database)),
    };
    let (tamper, mend) = tampering.statements(place, &row);
    let (tamper, mend): (Vec<String>, Vec<String>) =
        (tamper.iter().map(|sql| named(sql)).collect(), mend.iter().map(|sql| named(sql)).collect());
    let gone = named(gone);
    let counter = format!("route=\"{ROUTE}\",sink=\"{sink}\",kind=\"{kind}\"");
    let before = metric(consumer, "faults_total", &counter);
    place.run(world, &kept);
    for sql in &tamper {
        place.run(world, sql);
    }
    let began = Instant::now();
    let found = || {
        let is_counted = metric(consumer, "faults_total", &counter) == before + 1.0;
        (is_counted && metric(consumer, "faulty_ranges", &on(partition)) == 1.0).then_some(())
    };
    let seen = || consumer.page("/metrics").map(|(_, page)| page).unwrap_or_default() + &consumer.tail();
    until_or(&format!("{kind} in {sink} at {partition}/{offset} is found"), FOUND, found, seen);
    println!("{kind} in {sink}: found after {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(metric(consumer, "proven_offset", &on(partition)), offset as f64, "all below it is proven");
    let place_in_row = 3 * usize::from(place == Place::Clickhouse)
        + [Tampering::Lost, Tampering::Doubled, Tampering::Changed].iter().position(|one| *one == tampering).unwrap();
    let mut faults = [0; 6];
    faults[place_in_row] = 1;
    let (_, found, example) = proof(world, partition);
    assert_eq!((found, example), (faults, format!("{sink}: offset {offset} is {kind}")));
    assert!(
        consumer.log().contains(&format!("{sink}: offset {offset} is {kind}; run `footprint verify")),
        "{}",
        consumer.tail()
    );

    for sql in &mend {
        place.run(world, sql);
    }
    place.run(world, &gone);
    all_proven(world, consumer, source);
    assert_eq!(proof(world, partition).1, [0; 6]);
    assert_eq!(metric(consumer, "faults_total", &counter), before + 1.0, "one fault, counted once");
}
