//! Grafana's dashboards without a Grafana server: every query of every panel is expanded as Grafana does, asked of both servers as the
//! read-only user of `grafana/README.md`, and compared with what the stored events imply. So the twins' answers are equal too. Queries to
//! Prometheus are asked of a real one that scrapes a real consumer (`grafana/operations.rs`).

mod ask;
mod expand;
mod expected;
mod files;
pub mod operations;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::support::world::World;
use crate::support::{Calm, alone, calm, stack};
use ask::{Answer, Cell, Reader};
use expand::Asked;
use expected::{Event, expected};
use files::{Database, Query};

/// 2026-03-29T00:00:00Z, a Sunday. One hour later Berlin's clocks skip an hour, three weeks earlier New York's did.
const SUNDAY_MS: i64 = 1_774_742_400_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What the dashboards are asked for. Each range is of whole seconds.
const ASKED: [Asked<'_>; 6] = [
    // a week by hours, also for the picture
    asked(SUNDAY_MS - 6 * DAY_MS, SUNDAY_MS + DAY_MS, HOUR_MS, &[("tz", "Europe/Berlin"), ("prefix", "")]),
    // a day over the change of Berlin's clocks
    asked(SUNDAY_MS - 6 * HOUR_MS, SUNDAY_MS + 18 * HOUR_MS, 5 * MINUTE_MS, &[("tz", "Europe/Berlin"), ("prefix", "")]),
    // two weeks by days, in a zone that is half an hour off
    asked(SUNDAY_MS - 14 * DAY_MS, SUNDAY_MS + DAY_MS, DAY_MS, &[("tz", "Asia/Kolkata"), ("prefix", "/docs/")]),
    // ten minutes, whose ends are the times of events
    asked(SUNDAY_MS, SUNDAY_MS + 10 * MINUTE_MS, MINUTE_MS, &[("tz", "UTC"), ("prefix", "")]),
    // letters beyond ASCII, and a quote
    asked(SUNDAY_MS - 7 * DAY_MS, SUNDAY_MS, 3 * HOUR_MS, &[("tz", "America/New_York"), ("prefix", "/it's")]),
    // nothing was seen then
    asked(SUNDAY_MS - 400 * DAY_MS, SUNDAY_MS - 393 * DAY_MS, HOUR_MS, &[("tz", "UTC"), ("prefix", "")]),
];

const fn asked<'a>(from_ms: i64, to_ms: i64, interval_ms: i64, variables: &'a [(&'a str, &'a str)]) -> Asked<'a> {
    Asked { from_ms, to_ms, interval_ms, variables }
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Events as they are sent: the time, the method and the link.
fn moves() -> Vec<(i64, &'static str, String)> {
    let mut numbers = Numbers(17);
    let mut moves = Vec::new();
    for number in 0..4_000 {
        // most are of the last two days
        let age_us = if number % 4 == 0 { numbers.below(23 * 86_400) } else { numbers.below(2 * 86_400) } * 1_000_000;
        let time_us = (SUNDAY_MS + DAY_MS) * 1_000 - i64::try_from(age_us + numbers.below(1_000_000)).unwrap();
        let method = ["GET", "GET", "GET", "GET", "GET", "POST", "POST", "put", "HEAD"][numbers.below(9) as usize];
        // few links have most of the views; the others are viewed equally often, so that only the order of bytes decides
        let rank = numbers.below(60).min(numbers.below(60));
        let link = match rank {
            0..4 => format!("/docs/{rank}"),
            4 => "/it's".to_owned(),
            5 => "/it's/\"quoted\"".to_owned(),
            6..20 => format!(
                "/{}",
                ["a", "B", "Ä", "_b", "ß", "Z", "z", "é", "É", "-", "0", "日本", "A", "aa"][rank as usize - 6]
            ),
            _ => format!("/docs/Page-{rank}"),
        };
        moves.push((time_us, method, link));
    }
    // equal counts in the ten minutes, which a dictionary orders differently from bytes
    for link in ["/tie", "/Tie", "/Ätie", "/_tie", "/a-tie"] {
        moves.push((SUNDAY_MS * 1_000 + 300_000_000, "GET", link.to_owned()));
    }
    // at the ends of the ten minutes, of the period before them, and of the same time a week earlier: exactly, just inside, just outside
    for ends_ms in [0, 10 * MINUTE_MS, -10 * MINUTE_MS, -7 * DAY_MS, 10 * MINUTE_MS - 7 * DAY_MS] {
        for us in [-1, 0, 0, 1] {
            let time_us = (SUNDAY_MS + ends_ms) * 1_000 + us;
            moves.push((time_us, "GET", "/edge".to_owned()));
            // a page that loses views
            let less = if ends_ms < 0 { 3 } else { 1 };
            moves.extend((0..less).map(|_| (time_us, "GET", "/less".to_owned())));
        }
    }
    moves
}

/// Sends the events to both partitions. Kafka's times are of the last two days of the first range. Returns them as they must be stored.
fn send(world: &mut World) -> Vec<Event> {
    let moves = moves();
    let source = world.source();
    let mut events = Vec::new();
    for partition in 0..2 {
        let half: Vec<_> = moves.iter().skip(partition).step_by(2).collect();
        let payload = |(time_us, method, link): &&(i64, &str, String)| {
            serde_json::json!({ "link": link, "method": method, "footprint_time": time_us }).to_string()
        };
        let payloads: Vec<String> = half.iter().map(payload).collect();
        let received_ms = |number: usize| SUNDAY_MS - DAY_MS + i64::try_from(number).unwrap() * 83_017;
        let partition = i32::try_from(partition).unwrap();
        let sent = world.feed.send_at(partition, &payloads, received_ms);
        for ((_, offset, _), (number, (time_us, method, link))) in sent.iter().zip(half.into_iter().enumerate()) {
            events.push(Event {
                time_us: *time_us,
                request: (*method).to_owned(),
                link: link.clone(),
                received: Some((received_ms(number) * 1_000, partition, *offset)),
            });
        }
        world.oracle.note(source, sent);
    }
    events
}

/// Expands and asks one query.
fn answer(reader: &Reader, query: &Query, asked: &Asked<'_>) -> Answer {
    let expand = if query.database == Database::PostgreSql { expand::postgresql } else { expand::clickhouse };
    let said = |error: String| panic!("{}: {error}", query.panel);
    let sql = expand(&query.sql, asked).unwrap_or_else(said);
    let answer = reader.ask(query.database, &sql).unwrap_or_else(|error| panic!("{}: {error}", query.panel));
    if query.is_time_series {
        ask::time_series(answer).unwrap_or_else(|error| panic!("{}: {error}", query.panel))
    } else {
        answer
    }
}

/// Every query of every panel must have the answer that the events imply. Returns how many rows each question's answers had.
fn assert_answers(reader: &Reader, events: &[Event]) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for asked in &ASKED {
        for query in files::queries() {
            let Some(mut wanted) = expected(&query.question, events, asked) else { continue };
            let given = answer(reader, &query, asked);
            for (name, given) in wanted.columns.iter_mut().zip(&given.columns).filter(|(name, _)| name.is_empty()) {
                assert!(given.to_lowercase() == query.database.key(), "{}: {given}", query.panel);
                name.clone_from(given);
            }
            let first = wanted.rows.iter().zip(&given.rows).find(|(wanted, given)| wanted != given);
            assert!(
                wanted == given,
                "{} ({:?}), {asked:?}: {} rows {:?} and not {} rows {:?}; first difference, wanted and given: {first:?}",
                query.panel,
                query.database,
                given.rows.len(),
                given.columns,
                wanted.rows.len(),
                wanted.columns,
            );
            *rows.entry(query.question).or_default() += given.rows.len();
        }
    }
    rows
}

/// The answers of the questions that the events do not decide: what the servers' own catalogs say.
fn assert_storage(reader: &Reader, world: &World, row_count: usize) {
    let postgres = stack().postgres().unwrap();
    postgres.execute(&world.database, "vacuum analyze user_footprint").unwrap();
    let sizes = "select pg_table_size('user_footprint'), pg_indexes_size('user_footprint'), \
                 pg_total_relation_size('user_footprint')";
    let row = postgres.query(&world.database, sizes).unwrap().remove(0);
    let number = |text: &str| text.trim().parse::<f64>().unwrap();
    let row_count = row_count as f64;
    let mut in_postgres = vec![row_count];
    in_postgres.extend(row.into_iter().map(|size| number(&size.unwrap())));
    let of_parts = |value: &str| {
        let parts = "system.parts where active and table = 'user_footprint'";
        let sql = format!("select {value} from {parts} and database = '{}'", world.database);
        number(&stack().clickhouse().unwrap().query(&sql).unwrap())
    };
    let (uncompressed, on_disk) = (of_parts("sum(data_uncompressed_bytes)"), of_parts("sum(bytes_on_disk)"));
    // a part has small files besides its columns
    let others = 512.0 * of_parts("count()");
    let mut asked_of = BTreeSet::new();
    for query in files::queries().into_iter().filter(|query| query.question == "storage") {
        let given = answer(reader, &query, &ASKED[0]);
        let numbers = given.rows[0].iter().map(|cell| if let Cell::Number(number) = cell { *number } else { f64::NAN });
        match (query.database, numbers.collect::<Vec<f64>>().as_slice()) {
            (Database::PostgreSql, numbers) => assert_eq!(numbers, in_postgres, "{}", query.panel),
            (Database::ClickHouse, &[rows, all, total]) => {
                assert_eq!((rows, total), (row_count, on_disk), "{}", query.panel);
                assert!(
                    (uncompressed..=uncompressed + others).contains(&all),
                    "{}: {all}, {uncompressed}",
                    query.panel
                );
            }
            (_, numbers) => panic!("{}: {numbers:?}", query.panel),
        }
        asked_of.insert(query.database);
    }
    assert_eq!(asked_of.len(), 2, "storage is asked of both");
}

/// The time of a query is that of the server: less than the time that the answer took, and it grows with the work.
fn assert_query_time(reader: &Reader) {
    const PAUSE_S: f64 = 0.2;
    let mut asked_of = BTreeSet::new();
    for query in files::queries().into_iter().filter(|query| query.question == "query_time") {
        let slower = match query.database {
            Database::PostgreSql => format!("from (select u.* from user_footprint u, pg_sleep({PAUSE_S})) slow"),
            Database::ClickHouse => format!("from (select * from user_footprint where sleep({PAUSE_S}) = 0)"),
        };
        let sql = query.sql.replace("from user_footprint", &slower);
        for (sql, least) in [(query.sql.clone(), 0.000_01), (sql, PAUSE_S)] {
            let began = Instant::now();
            let given = answer(reader, &Query { sql, ..query.clone() }, &ASKED[0]);
            let most = began.elapsed().as_secs_f64();
            let [Cell::Number(seconds)] = given.rows[0].as_slice() else { panic!("{}: {given:?}", query.panel) };
            assert!((least..=most).contains(seconds), "{}: {seconds} s, not {least} to {most} s", query.panel);
        }
        asked_of.insert(query.database);
    }
    assert_eq!(asked_of.len(), 2, "the time is asked of both");
}

/// The reader can do nothing but read the table.
fn assert_reads_only(reader: &Reader) {
    let said = reader.ask(Database::PostgreSql, "delete from user_footprint").expect_err("read-only by default");
    assert!(said.contains("read-only transaction"), "{said}");
    // the user may change its own default, so the rights must do
    reader.write_by_default();
    for (database, sql, refusal) in [
        (Database::PostgreSql, "delete from user_footprint", "permission denied"),
        (Database::PostgreSql, "create table t (a int)", "permission denied"),
        (Database::PostgreSql, "select * from footprint_ledger", "permission denied"),
        (Database::ClickHouse, "insert into user_footprint (link) values ('/')", "Not enough privileges"),
        (Database::ClickHouse, "drop table user_footprint", "Not enough privileges"),
        (Database::ClickHouse, "select * from system.parts", "Not enough privileges"),
    ] {
        let said = reader.ask(database, sql).expect_err(sql);
        assert!(said.contains(refusal), "{sql}: {said}");
    }
}

/// A world and its reader. ClickHouse is restarted for the reader's user; then other tests may run.
fn world(make: impl FnOnce() -> World) -> (World, Reader, Calm) {
    let alone = alone();
    let world = make();
    let reader = Reader::new(&world.database);
    drop(alone);
    (world, reader, calm())
}

#[test]
fn every_panel_shows_what_the_events_imply() {
    let (mut world, reader, _calm) = world(|| World::new("grafana", 2, 0.0));
    assert_reads_only(&reader);
    // empty tables: no error, and nothing but counts of 0
    assert_answers(&reader, &[]);

    let events = send(&mut world);
    world.command(&["run", "--until-caught-up"]);
    let rows = assert_answers(&reader, &events);
    for question in files::question_names() {
        // these two are not decided by the events
        let is_measured = question == "storage" || question == "query_time";
        assert!(is_measured || rows.get(&question).is_some_and(|&rows| rows > 0), "{question}: {rows:?}");
    }
    // the limits of the lists were reached: three ranges on two dashboards
    assert!(rows["latest_events"] >= 3 * 2 * 50 && rows["growing_pages"] > 2 * 15, "{rows:?}");
    assert_storage(&reader, &world, events.len());
    assert_query_time(&reader);
    save_for_picture(&reader);
}

/// For `tools/dashboards/render.py`: the answers of the first range, if a person asks for them.
fn save_for_picture(reader: &Reader) {
    let Some(path) = std::env::var_os("FOOTPRINT_GRAFANA_ANSWERS") else { return };
    let mut answers: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
    for query in files::queries() {
        let answer = answer(reader, &query, &ASKED[0]);
        answers.entry(query.panel).or_default().push(answer.json());
    }
    std::fs::write(path, serde_json::to_string(&answers).unwrap()).unwrap();
}

/// Old tables with 300 rows, adopted. PostgreSQL's column orders links as a dictionary does, unlike ClickHouse.
fn adopted() -> World {
    let mut world = World::without_tables("grafana_adopted", 2, 0.0);
    world.set("clickhouse.user", &format!("{:?}", footprint_stack::TEST_ADOPTER));
    let table = format!("{}.user_footprint", world.database);
    let user = footprint_stack::APPLICATION_USER;
    let made = format!(
        "set role {user};
         create table user_footprint (
             request varchar(10), link text collate \"und-x-icu\", footprint_time timestamptz
         );
         insert into user_footprint select 'GET', '/old/' || n % 7, to_timestamp({} - n / 2) from generate_series(0, 299) n",
        SUNDAY_MS / 1_000 + 600
    );
    stack().postgres().unwrap().execute(&world.database, &made).unwrap();
    let clickhouse = stack().clickhouse().unwrap();
    let made = format!(
        "create table {table} (link String, request LowCardinality(String), footprint_time DateTime64(6, 'UTC'))
         engine = MergeTree order by (request, footprint_time)"
    );
    clickhouse.query(&made).unwrap();
    let filled = format!(
        "insert into {table} select '/old/' || toString(number % 7), 'GET', toDateTime64({} - intDiv(number, 2), 6, 'UTC')
         from numbers(300)",
        SUNDAY_MS / 1_000 + 600
    );
    clickhouse.query(&filled).unwrap();
    world.command(&["migrate"]);
    world
}

#[test]
fn the_panels_work_on_adopted_tables() {
    let old = |n: i64| Event {
        // two rows of each time; the last are of the same time as new rows
        time_us: (SUNDAY_MS + 10 * MINUTE_MS - n / 2 * 1_000) * 1_000,
        request: "GET".to_owned(),
        link: format!("/old/{}", n % 7),
        received: None,
    };
    let mut events: Vec<Event> = (0..300).map(old).collect();
    let (mut world, reader, _calm) = world(adopted);
    assert_answers(&reader, &events);
    events.extend(send(&mut world));
    world.command(&["run", "--until-caught-up"]);
    assert_answers(&reader, &events);
}
