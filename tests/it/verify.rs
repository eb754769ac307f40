//! `verify` against real servers. The topic and the tables are filled by hand so that they are exactly right. Then each kind of
//! fault is put into each database, and exactly this fault must be named.

use std::time::{Duration, Instant};

use footprint::upkeep::verify::{FindingKind, Options, Place, Report, VerifyError, verify};
use footprint_event::route::{Kind as ColumnKind, Route};
use footprint_service::config::Config;
use footprint_service::kafka::Inquirer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

mod site;

use site::{Site, Where};

/// The Kafka time of offset 0; one record a second.
const FIRST_MS: i64 = 1_760_000_000_000;
/// The record at each offset divisible by it is bad.
const BAD_EVERY: i64 = 1_000;
const SOURCE: i64 = 4_242;

type Found = (FindingKind, Place, i32, i64);

fn payload(offset: i64) -> String {
    if offset % BAD_EVERY == 0 {
        return format!("not json {offset}");
    }
    // the database's own clock arithmetic must give the same: one microsecond an offset beyond the second
    let seconds = FIRST_MS / 1_000;
    format!(
        r#"{{"link": "https://example.org/é/{offset}", "method": "GET", "footprint_time": {}}}"#,
        seconds * 1_000_000 + offset
    )
}

/// A topic and both tables, and the ledger's rows for them.
struct World {
    site: Site,
    config: Config,
    options: Options,
}

impl World {
    /// `counts[p]` records in partition `p`, all of them stored.
    async fn filled(name: &str, counts: &[i64]) -> Self {
        let site = Site::new(name, counts.len() as u16).await;
        produce(&site, counts, 0);
        let config = site.config();
        let world = Self { site, config, options: Options { window_bits: 12, show: 10_000, ..Options::default() } };
        world.know(SOURCE).await;
        for (partition, count) in counts.iter().enumerate() {
            world.store_postgres(SOURCE, partition as i32, 0, *count).await;
            world.store_clickhouse(SOURCE, partition as i32, 0, *count).await;
            world.ledger(SOURCE, partition as i32, *count).await;
        }
        world
    }

    /// Registers the present topic as `source`.
    async fn know(&self, source: i64) {
        let (kafka, topic) = (self.config.kafka.clone(), self.site.topic.clone());
        let (cluster, id) = tokio::task::spawn_blocking(move || {
            let inquirer = Inquirer::new(&kafka).unwrap();
            let wait = Duration::from_secs(10);
            (inquirer.cluster_id(wait).unwrap(), inquirer.describe_topic(&topic, wait).unwrap().topic_id)
        })
        .await
        .unwrap();
        self.pg(&format!(
            "insert into footprint_route values ('user_footprint', 'user_footprint', 'user_footprint') on conflict do nothing;
             insert into footprint_source values ({source}, '{cluster}', '{}', '{id}')",
            self.site.topic
        ))
        .await;
    }

    async fn ledger(&self, source: i64, partition: i32, next: i64) {
        self.pg(&format!(
            "insert into footprint_ledger values ('user_footprint', {source}, {partition}, 1, gen_random_uuid(), {next}, {next},
             {next}, {next}, null, null, '{{}}', '{{}}', null, 'test', 1)"
        ))
        .await;
    }

    async fn store_postgres(&self, source: i64, partition: i32, from: i64, to: i64) {
        self.pg(&self.postgres_sql(source, partition, from, to)).await;
    }

    fn postgres_sql(&self, source: i64, partition: i32, from: i64, to: i64) -> String {
        let (seconds, last) = (FIRST_MS / 1_000, to - 1);
        format!(
            "insert into user_footprint (request, link, footprint_time, kafka_source, kafka_partition, kafka_offset, received_at)
             select 'GET', 'https://example.org/é/' || o, to_timestamp({seconds}) + o * interval '1 microsecond', {source},
             {partition}, o, to_timestamp({seconds} + o) from generate_series({from}, {last}) o where o % {BAD_EVERY} <> 0;
             insert into dead_letters (route, kafka_source, kafka_partition, kafka_offset, payload, reason, received_at)
             select 'user_footprint', {source}, {partition}, o, convert_to('not json ' || o, 'UTF8'), 'not_json: x',
             to_timestamp({seconds} + o) from generate_series({from}, {last}) o where o % {BAD_EVERY} = 0"
        )
    }

    async fn store_clickhouse(&self, source: i64, partition: i32, from: i64, to: i64) {
        let seconds = FIRST_MS / 1_000;
        self.ch(&format!(
            "insert into user_footprint (request, link, footprint_time, kafka_source, kafka_partition, kafka_offset, received_at)
             select 'GET', concat('https://example.org/é/', toString(o)), fromUnixTimestamp64Micro({seconds} * 1000000 + o, 'UTC'),
             {source}, {partition}, o, fromUnixTimestamp64Micro(({seconds} + o) * 1000000, 'UTC')
             from (select toInt64(number) + {from} as o from numbers({})) where o % {BAD_EVERY} != 0",
            to - from
        ))
        .await;
    }

    async fn pg(&self, sql: &str) {
        self.site.postgres(sql).await;
    }

    async fn ch(&self, sql: &str) {
        self.site.clickhouse(sql).await;
    }

    async fn report(&self) -> Report {
        verify(&self.config, self.options.clone()).await.unwrap()
    }

    /// The findings, by name.
    async fn found(&self) -> Vec<Found> {
        let report = self.report().await;
        let findings = report.routes[0].findings.iter();
        let mut found: Vec<Found> = findings.map(|f| (f.kind, f.place, f.partition, f.offset)).collect();
        found.sort();
        assert_eq!(found.len() as u64, FindingKind::ALL.into_iter().map(|kind| report.count(kind)).sum::<u64>());
        assert_eq!(report.clean, !found.iter().any(|(kind, ..)| kind.is_fault()), "{found:?}");
        found
    }
}

/// Appends `counts[p]` records to partition `p`, whose next offset is `from`.
fn produce(site: &Site, counts: &[i64], from: i64) {
    let producer: BaseProducer = site.producer(&[]);
    for (partition, count) in counts.iter().enumerate() {
        for offset in from..from + count {
            let payload = payload(offset);
            let mut record = BaseRecord::<(), str>::to(&site.topic)
                .partition(partition as i32)
                .timestamp(FIRST_MS + offset * 1_000)
                .payload(&payload);
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(5));
                record = back;
            }
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// The story: rows doubled above the frontier were not reported, and no retry ever removes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_doubled_above_the_frontier_is_reported() {
    let world = World::filled("ahead", &[10_000]).await;
    world.pg("update footprint_ledger set clickhouse_next = 5000").await;
    assert_eq!(world.found().await, [], "rows in flight are no fault");
    world.site.change(Where::Clickhouse, "double", "kafka_offset = 7777").await;
    assert_eq!(world.found().await, [(FindingKind::Doubled, Place::Clickhouse, 0, 7_777)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_is_clean_also_where_the_log_was_shortened() {
    let world = World::filled("clean", &[150_000, 60_000, 0]).await;
    // rows of the old system have no identity, and `verify` ignores them
    world.pg("insert into user_footprint (request, link) values ('GET', 'old')").await;
    world.ch("insert into user_footprint (request, link) values ('GET', 'old')").await;
    assert_eq!(world.found().await, []);
    let report = world.report().await;
    let partitions = &report.routes[0].sources[0].partitions;
    assert_eq!(partitions.len(), 3);
    let first = &partitions[0];
    assert_eq!((first.records, first.postgres.rows, first.clickhouse.rows), (150_000, 149_850, 149_850));
    assert_eq!((first.dead_letters.rows, first.lag, first.log_start), (150, 0, Some(0)));

    world.site.delete_records(0, 70_001);
    world.pg("delete from user_footprint where kafka_offset in (69, 70002) and kafka_partition = 0").await;
    assert_eq!(
        world.found().await,
        [(FindingKind::Missing, Place::Postgres, 0, 69), (FindingKind::Missing, Place::Postgres, 0, 70_002)]
    );
    let report = world.report().await;
    let first = &report.routes[0].sources[0].partitions[0];
    assert_eq!((first.log_start, first.records), (Some(70_001), 79_999));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_in_each_database_is_named_and_nothing_else() {
    let world = World::filled("faults", &[10_000, 10_000]).await;
    for (place, offset) in [(Where::Postgres, 100), (Where::Clickhouse, 200)] {
        let at = |delta: i64| format!("kafka_partition = 1 and kafka_offset = {}", offset + delta);
        world.site.change(place, "delete", &at(1)).await;
        world.site.change(place, "double", &at(2)).await;
        world.site.change(place, "update link = 'https://example.org/forged'", &at(3)).await;
        // a copy and a change that a search by received_at would miss
        world.site.change(place, "double elsewhen", &at(4)).await;
        world.site.change(place, "update received_at = '2001-01-01 00:00:00'", &at(5)).await;
        world.site.change(place, "move to 10000", &at(6)).await;
        world.site.change(place, "move to -7", &at(7)).await;
    }
    // a row for a bad record, and a dead letter for a good one
    world.store_postgres(SOURCE, 0, 1, 2).await;
    world
        .pg("update user_footprint set kafka_offset = 3000 where ctid in
        (select max(ctid) from user_footprint where kafka_partition = 0 and kafka_offset = 1)")
        .await;
    let letter = |offset| {
        format!(
        "insert into dead_letters (route, kafka_source, kafka_partition, kafka_offset, payload, reason, received_at)
         values ('user_footprint', {SOURCE}, 0, {offset}, 'x', 'not_json: x', now())"
    )
    };
    world.pg(&letter(3_001)).await;
    world.pg(&letter(20_000)).await;
    world.pg("delete from dead_letters where kafka_partition = 0 and kafka_offset = 4000").await;
    world.pg("update dead_letters set payload = 'forged' where kafka_partition = 0 and kafka_offset = 5000").await;
    world
        .pg("insert into dead_letters select * from dead_letters where kafka_partition = 0 and kafka_offset = 6000")
        .await;
    // another route's dead letters of the same identity do not count
    world
        .pg("insert into dead_letters (route, kafka_source, kafka_partition, kafka_offset, reason, received_at)
        values ('other', 4242, 0, 17, 'not_json: x', now())")
        .await;

    let mut expected = vec![
        (FindingKind::Unexpected, Place::Postgres, 0, 3_000),
        (FindingKind::Unexpected, Place::DeadLetters, 0, 3_001),
        (FindingKind::Unexpected, Place::DeadLetters, 0, 20_000),
        (FindingKind::Missing, Place::DeadLetters, 0, 4_000),
        (FindingKind::Differing, Place::DeadLetters, 0, 5_000),
        (FindingKind::Doubled, Place::DeadLetters, 0, 6_000),
    ];
    for (place, offset) in [(Place::Postgres, 100), (Place::Clickhouse, 200)] {
        expected.extend([
            (FindingKind::Missing, place, 1, offset + 1),
            (FindingKind::Doubled, place, 1, offset + 2),
            (FindingKind::Differing, place, 1, offset + 3),
            (FindingKind::Doubled, place, 1, offset + 4),
            (FindingKind::Differing, place, 1, offset + 5),
            (FindingKind::Missing, place, 1, offset + 6),
            (FindingKind::Missing, place, 1, offset + 7),
            (FindingKind::Unexpected, place, 1, 10_000),
            (FindingKind::Unexpected, place, 1, -7),
        ]);
    }
    expected.sort();
    assert_eq!(world.found().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_flight_gaps_and_a_sink_that_is_off_are_no_faults() {
    let world = World::filled("lag", &[9_000, 9_000, 9_000]).await;
    // 0: ClickHouse is behind, and a part of the claimed rows has landed; PostgreSQL ends at its frontier
    world.pg("update footprint_ledger set claimed = 8500, postgres_next = 8000, dead_letters_next = 8000, clickhouse_next = 7000
        where partition = 0;
        delete from user_footprint where kafka_partition = 0 and kafka_offset >= 8000;
        delete from dead_letters where kafka_partition = 0 and kafka_offset >= 8000").await;
    world
        .ch("alter table user_footprint delete where kafka_partition = 0 and (kafka_offset >= 8500 or
        kafka_offset between 7100 and 7900) settings mutations_sync = 2")
        .await;
    // 1: ClickHouse was switched off at 5000; 2: the ledger knows of a gap
    world
        .pg("update footprint_ledger set clickhouse_next = null, clickhouse_stopped = 5000 where partition = 1;
        insert into footprint_gap values ('user_footprint', 4242, 2, 'clickhouse', 4000, 4100, 'switched on again')")
        .await;
    world
        .ch("alter table user_footprint delete where (kafka_partition = 1 and kafka_offset >= 5000)
        or (kafka_partition = 2 and kafka_offset between 4000 and 4099) settings mutations_sync = 2")
        .await;
    assert_eq!(world.found().await, []);
    let report = world.report().await;
    let partitions = &report.routes[0].sources[0].partitions;
    assert_eq!((partitions[0].lag, partitions[1].clickhouse.on, partitions[2].gaps.len()), (2_000, false, 1));
    assert_eq!(partitions[1].clickhouse.compared_below, 5_000);

    // one past the claim, one past PostgreSQL's frontier, one below each border
    world.store_clickhouse(SOURCE, 0, 8_501, 8_502).await;
    world.store_postgres(SOURCE, 0, 8_001, 8_002).await;
    world
        .ch("alter table user_footprint delete where kafka_offset in (3999, 4999, 6999) settings mutations_sync = 2")
        .await;
    assert_eq!(
        world.found().await,
        [
            (FindingKind::Missing, Place::Clickhouse, 0, 3_999),
            (FindingKind::Missing, Place::Clickhouse, 0, 4_999),
            (FindingKind::Missing, Place::Clickhouse, 0, 6_999),
            (FindingKind::Missing, Place::Clickhouse, 1, 3_999),
            (FindingKind::Missing, Place::Clickhouse, 1, 4_999),
            (FindingKind::Missing, Place::Clickhouse, 2, 3_999),
            (FindingKind::Missing, Place::Clickhouse, 2, 4_999),
            (FindingKind::Missing, Place::Clickhouse, 2, 6_999),
            (FindingKind::Unexpected, Place::Postgres, 0, 8_001),
            (FindingKind::Unexpected, Place::Clickhouse, 0, 8_501),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_life_of_the_topic_is_compared_without_it_and_a_stranger_is_unexpected() {
    let world = World::filled("lives", &[3_000]).await;
    world.site.recreate_topic(1);
    let report = world.report().await;
    assert!(report.clean && !report.routes[0].sources[0].in_kafka);
    world.ch("alter table user_footprint update link = 'x' where kafka_offset = 9 settings mutations_sync = 2").await;
    world.pg("delete from user_footprint where kafka_offset = 10").await;
    world.store_clickhouse(77, 3, 5, 6).await;
    // claimed, not stored, and gone with the topic
    world.pg("update footprint_ledger set claimed = 3100").await;
    let mut found = world.found().await;
    found.sort();
    assert_eq!(
        found,
        [
            (FindingKind::Missing, Place::Postgres, 0, 10),
            (FindingKind::Differing, Place::Either, 0, 9),
            (FindingKind::Unexpected, Place::Clickhouse, 3, 5),
            (FindingKind::Lost, Place::Postgres, 0, 3_000),
            (FindingKind::Lost, Place::Clickhouse, 0, 3_000),
        ]
    );
    // the new life has the same offsets and another source
    world.pg("update footprint_ledger set claimed = 3000; insert into user_footprint select request, link, footprint_time,
        kafka_source, kafka_partition, 10, received_at + interval '1 second' from user_footprint where kafka_offset = 9").await;
    world.know(5_000).await;
    produce(&world.site, &[500], 0);
    world.store_postgres(5_000, 0, 0, 500).await;
    world.store_clickhouse(5_000, 0, 0, 500).await;
    world.ledger(5_000, 0, 500).await;
    let report = world.report().await;
    let lives: Vec<_> = report.routes[0].sources.iter().map(|source| (source.source, source.in_kafka)).collect();
    assert_eq!(lives, [(SOURCE, false), (5_000, true), (77, false)]);
    assert_eq!(report.routes[0].sources[1].partitions[0].records, 500);
    assert_eq!(report.routes[0].sources[1].partitions[0].counts.faults(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_and_control_records_are_no_records() {
    let world = World::filled("aborted", &[0]).await;
    let producer: BaseProducer = world.site.producer(&[("transactional.id", world.site.topic.as_str())]);
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    // offsets 0..=9 committed, 10 its marker, 11..=20 aborted, 21 its marker, 22..=31 committed, 32 its marker
    for (first, commit) in [(0, true), (11, false), (22, true)] {
        producer.begin_transaction().unwrap();
        for offset in first..first + 10 {
            let payload = payload(offset);
            let record = BaseRecord::<(), str>::to(&world.site.topic).partition(0).timestamp(FIRST_MS + offset * 1_000);
            producer.send(record.payload(&payload)).map_err(|(error, _)| error).unwrap();
        }
        match commit {
            true => producer.commit_transaction(Duration::from_secs(30)).unwrap(),
            false => {
                producer.flush(Duration::from_secs(30)).unwrap();
                producer.abort_transaction(Duration::from_secs(30)).unwrap();
            }
        }
    }
    for (from, to) in [(0, 10), (22, 32)] {
        world.store_postgres(SOURCE, 0, from, to).await;
        world.store_clickhouse(SOURCE, 0, from, to).await;
    }
    world.pg("update footprint_ledger set claimed = 33, postgres_next = 33, clickhouse_next = 33, dead_letters_next = 33").await;
    let begun = Instant::now();
    assert_eq!(world.found().await, []);
    assert!(begun.elapsed() < Duration::from_secs(20), "the position passes the last marker");
    // a row of an aborted record matches no record
    world.store_postgres(SOURCE, 0, 12, 13).await;
    world.store_clickhouse(SOURCE, 0, 12, 13).await;
    assert_eq!(world.found().await, [(FindingKind::NotInLog, Place::Log, 0, 12)]);
    let strict = Options { strict: true, ..world.options.clone() };
    assert!(!verify(&world.config, strict).await.unwrap().clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_writer_nothing_in_flight_is_a_fault() {
    let world = std::sync::Arc::new(World::filled("beside", &[4_000]).await);
    let writer = tokio::spawn({
        let world = std::sync::Arc::clone(&world);
        async move {
            for from in (4_000..12_000).step_by(400) {
                let to = from + 400;
                produce(&world.site, &[400], from);
                world.pg(&format!("update footprint_ledger set claimed = {to}")).await;
                world.store_clickhouse(SOURCE, 0, from, to).await;
                let stored = format!("update footprint_ledger set postgres_next = {to}, dead_letters_next = {to}");
                // several statements sent as one are one transaction
                world.pg(&format!("{}; {stored}", world.postgres_sql(SOURCE, 0, from, to))).await;
                world.pg(&format!("update footprint_ledger set clickhouse_next = {to}")).await;
            }
        }
    });
    let mut rounds = 0;
    while !writer.is_finished() {
        assert_eq!(world.found().await, []);
        rounds += 1;
    }
    writer.await.unwrap();
    assert!(rounds > 1);
    assert_eq!(world.found().await, []);
    assert_eq!(world.report().await.routes[0].sources[0].partitions[0].records, 12_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_an_error_and_no_verdict() {
    let world = World::filled("away", &[10]).await;
    let begun = Instant::now();
    let mut config = world.config.clone();
    config.clickhouse.port = 1;
    let error = verify(&config, world.options.clone()).await.unwrap_err();
    assert!(matches!(error, VerifyError::ClickHouse { .. }), "{error}");
    let mut config = world.config.clone();
    config.postgres.port = 1;
    assert!(matches!(verify(&config, world.options.clone()).await.unwrap_err(), VerifyError::Connect(_)));
    let mut config = world.config.clone();
    config.kafka.bootstrap_servers = "127.0.0.1:1".into();
    assert!(matches!(verify(&config, world.options.clone()).await.unwrap_err(), VerifyError::Kafka { .. }));
    assert!(begun.elapsed() < Duration::from_secs(60));
    let unknown = Options { routes: vec!["no-such-topic".into()], ..world.options.clone() };
    assert!(matches!(verify(&world.config, unknown).await.unwrap_err(), VerifyError::NoRoute(_)));
    // a sink that is switched off and away is a note
    let mut config = world.config.clone();
    config.clickhouse.port = 1;
    config.clickhouse.enabled = false;
    world.pg("update footprint_ledger set clickhouse_next = null, clickhouse_stopped = 5").await;
    let report = verify(&config, world.options.clone()).await.unwrap();
    assert!(report.clean && report.routes[0].notes[0].contains("clickhouse is switched off"));
}

/// A route with every kind of column, all of them nullable.
fn every_kind(topic: &str) -> Route {
    let column = |name: &str, kind: &str| serde_json::json!({"name": name, "kind": kind, "presence": "optional"});
    let route = serde_json::json!({
        "name": "every_kind", "topic": topic, "postgres_table": "every_kind", "clickhouse_table": "every_kind",
        "columns": [column("t", "text"), column("i", "integer"), column("f", "float"), column("b", "boolean"),
            column("at", "timestamp"), column("u", "uuid")],
    });
    let route = serde_json::from_value::<Route>(route).unwrap().validated().unwrap();
    let has = |kind: &ColumnKind| route.columns.iter().any(|column| column.kind == *kind);
    assert!(ColumnKind::ALL.iter().all(has), "a kind has no column");
    route
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_is_the_same_on_all_three_sides() {
    let mut world = World::filled("kinds", &[0]).await;
    let first = world.config.routes[0].clone();
    world.config.routes = vec![every_kind(&first.topic)];
    let received = FIRST_MS / 1_000;
    let long = "ü".repeat(300_000);
    let payloads = [
        r#"{"t": "", "i": -9223372036854775808, "f": -0.0, "b": false, "at": "1969-12-31T23:59:59.999999Z",
            "u": "01234567-89ab-cdef-1032-547698badcfe"}"#
            .to_owned(),
        r#"{"t": null, "i": null, "f": null, "b": null, "at": null, "u": null}"#.to_owned(),
        format!(
            r#"{{"t": "{long}", "i": 9223372036854775807, "f": 5e-324, "b": true, "at": "2100-02-28T00:00:00.123456+09:00",
            "u": "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"}}"#
        ),
        r#"{"f": 1.7976931348623157e308, "t": "a'\\\n\"", "at": 1, "u": "00000000-0000-0000-0000-000000000000"}"#
            .to_owned(),
    ];
    let producer: BaseProducer = world.site.producer(&[]);
    for payload in &payloads {
        let record = BaseRecord::<(), str>::to(&world.site.topic).partition(0).timestamp(FIRST_MS).payload(payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    world.pg(&format!(
        r#"create table every_kind (u uuid, at timestamptz, b boolean, f float8, i bigint, t text, kafka_source bigint,
             kafka_partition integer, kafka_offset bigint, received_at timestamptz);
           insert into footprint_route values ('every_kind', 'every_kind', 'every_kind');
           update footprint_ledger set route = 'every_kind', claimed = 4, postgres_next = 4, clickhouse_next = 4,
             dead_letters_next = 4;
           insert into every_kind values
           ('01234567-89ab-cdef-1032-547698badcfe', '1969-12-31 23:59:59.999999Z', false, '-0', '-9223372036854775808', '', {SOURCE}, 0, 0, to_timestamp({received})),
           (null, null, null, null, null, null, {SOURCE}, 0, 1, to_timestamp({received})),
           ('ffffffff-ffff-ffff-ffff-ffffffffffff', '2100-02-28 00:00:00.123456+09', true, 5e-324, 9223372036854775807, repeat('ü', 300000), {SOURCE}, 0, 2, to_timestamp({received})),
           ('00000000-0000-0000-0000-000000000000', '1970-01-01 00:00:01Z', null, 1.7976931348623157e308, null, E'a\'\\\n"', {SOURCE}, 0, 3, to_timestamp({received}))"#
    ))
    .await;
    world
        .ch("create table every_kind (u Nullable(UUID), t Nullable(String), i Nullable(Int64), f Nullable(Float64), b Nullable(Bool),
        at Nullable(DateTime64(6, 'UTC')), kafka_source Nullable(Int64), kafka_partition Nullable(Int32),
        kafka_offset Nullable(Int64), received_at Nullable(DateTime64(6, 'UTC'))) engine = MergeTree order by ()")
        .await;
    world.ch(&format!(
        r#"insert into every_kind
           select toUUID('01234567-89ab-cdef-1032-547698badcfe'), '', toInt64('-9223372036854775808'), toFloat64('-0'), false, fromUnixTimestamp64Micro(toInt64(-1), 'UTC'),
             {SOURCE}, 0, 0, toDateTime64({received}, 6, 'UTC')
           union all select null, null, null, null, null, null, {SOURCE}, 0, 1, toDateTime64({received}, 6, 'UTC')
           union all select toUUID('ffffffff-ffff-ffff-ffff-ffffffffffff'), repeat('ü', 300000), 9223372036854775807, toFloat64('5e-324'), true,
             toDateTime64('2100-02-27 15:00:00.123456', 6, 'UTC'), {SOURCE}, 0, 2, toDateTime64({received}, 6, 'UTC')
           union all select toUUID('00000000-0000-0000-0000-000000000000'), concat('a', char(39), char(92), char(10), char(34)), null, 1.7976931348623157e308, null,
             fromUnixTimestamp64Micro(toInt64(1000000), 'UTC'), {SOURCE}, 0, 3, toDateTime64({received}, 6, 'UTC')"#
    ))
    .await;
    assert_eq!(world.found().await, []);
    assert_eq!(world.report().await.routes[0].sources[0].partitions[0].records, 4);
    // the same through LZ4, as from a server on another machine
    world.config.clickhouse.compression = footprint_service::config::Compression::Lz4;
    assert_eq!(world.found().await, []);
    for (column, value) in [
        ("t", "' '"),
        ("i", "0"),
        ("f", "0"),
        ("b", "false"),
        ("at", "'1970-01-01 00:00:00'"),
        ("u", "'00000000-0000-0000-0000-000000000000'"),
    ] {
        world.pg(&format!("update every_kind set {column} = {value} where kafka_offset = 1")).await;
        assert_eq!(world.found().await, [(FindingKind::Differing, Place::Postgres, 0, 1)], "{column}");
        world.pg(&format!("update every_kind set {column} = null where kafka_offset = 1")).await;
    }
    // halves that change places are another UUID
    world.pg("update every_kind set u = '10325476-98ba-dcfe-0123-456789abcdef' where kafka_offset = 0").await;
    assert_eq!(world.found().await, [(FindingKind::Differing, Place::Postgres, 0, 0)]);
    // zero is not minus zero, and a column that is cut short differs
    world.pg("update every_kind set f = 0 where kafka_offset = 0; update every_kind set t = left(t, -1) where kafka_offset = 2").await;
    assert_eq!(
        world.found().await,
        [(FindingKind::Differing, Place::Postgres, 0, 0), (FindingKind::Differing, Place::Postgres, 0, 2)]
    );
}
