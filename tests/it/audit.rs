//! The audit of a running consumer: what somebody changes in a table is found, named, written to the ledger, and seen to be mended.

use std::time::{Duration, Instant};

use crate::support::calm;
use crate::support::consumer::Consumer;
use crate::support::stack;
use crate::support::wait::until_or;
use crate::support::world::World;

/// How long it may take until a fault in this small table is found, and until its end is noticed.
const FOUND: Duration = Duration::from_secs(30);
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
    // the servers are asked as often as they may be
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
    world.command(&["verify"]);
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
