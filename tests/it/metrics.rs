//! /metrics: every line is in the catalogue, and the series of a partition are those of its present owner alone.

use std::collections::BTreeSet;
use std::time::Duration;

use footprint_event::reject::Reason;
use footprint_service::metrics::catalogue::{self, ALL, Kind};

use crate::support::consumer::Consumer;
use crate::support::kafka::Feed;
use crate::support::prove::prove;
use crate::support::wait::until_or;
use crate::support::world::World;
use crate::support::{calm, stack};

/// How long a group may take to share its partitions anew.
const SHARED: Duration = Duration::from_secs(60);

/// The partitions of which the consumer shows a lag.
fn partitions(consumer: &Consumer) -> BTreeSet<i32> {
    let Some((_, page)) = consumer.page("/metrics") else { return BTreeSet::new() };
    let lines = page.lines().filter(|line| line.starts_with("footprint_lag_records{"));
    lines.filter_map(|line| line.split("partition=\"").nth(1)?.split('"').next()?.parse().ok()).collect()
}

/// There is nothing of them in a run without faults and without lag.
const ONLY_WITH_A_FAULT: [catalogue::Metric; 2] = [catalogue::GAP_OFFSETS, catalogue::RETENTION_LEFT];
/// How long the topic of a test keeps a record, seconds.
const RETENTION: f64 = 3_600.0;
/// Rows wait as long as the test holds the lock.
const HOLD: &str = "create function hold() returns trigger language plpgsql as $$ begin \
                    perform pg_advisory_xact_lock_shared(1); return new; end $$";

/// The story: the gauges of a partition that had moved away stayed for ever, and every sum counted it twice.
#[test]
fn the_series_of_a_partition_leave_with_it() {
    let _calm = calm();
    let mut world = World::new("series", 4, 0.0);
    world.send(2_000);
    let mut first = world.consumer();
    let all: BTreeSet<i32> = (0..4).collect();
    until_or("the first has all", SHARED, || (partitions(&first) == all).then_some(()), || first.tail());
    let mut second = world.consumer();
    let shared = || {
        let (one, other) = (partitions(&first), partitions(&second));
        (one.is_disjoint(&other) && !other.is_empty() && one.union(&other).copied().eq(all.iter().copied()))
            .then_some(())
    };
    until_or("each partition has one owner", SHARED, shared, || {
        format!("{:?} {:?}", partitions(&first), partitions(&second))
    });
    second.stop();
    until_or("the first has all again", SHARED, || (partitions(&first) == all).then_some(()), || first.tail());
    prove(&mut world, &mut [&mut first]);
    first.stop();
}

#[test]
fn every_line_is_in_the_catalogue_and_every_metric_of_a_plain_run_is_there() {
    let _calm = calm();
    let mut world = World::new("catalogue", 2, 0.05);
    let source = world.send(2_000);
    let mut consumer = world.consumer();
    world.wait_stored(source, SHARED, &mut [&mut consumer]);
    // the client's statistics and the parts are counted every few seconds
    let is_counted = || {
        let (_, page) = consumer.page("/metrics")?;
        let has = |metric: catalogue::Metric| page.contains(&format!("\n{}{{", metric.name));
        let metrics =
            [catalogue::LAG, catalogue::ROUND_TRIP, catalogue::CLICKHOUSE_PARTS, catalogue::AUDIT_PASS_SECONDS];
        metrics.into_iter().all(has).then_some(())
    };
    until_or("everything is counted", SHARED, is_counted, || consumer.tail());
    let (_, page) = consumer.page("/metrics").unwrap();
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let is_of = |metric: &&catalogue::Metric| {
            metric.name == name || (metric.name == base && matches!(metric.kind, Kind::Histogram(_)))
        };
        let metric = ALL.iter().find(is_of).unwrap_or_else(|| panic!("not in the catalogue: {line}"));
        for label in metric.labels {
            assert!(rest.contains(&format!("{label}=\"")), "{label} is missing: {line}");
        }
        seen.insert(metric.name);
    }
    let missing: Vec<_> = ALL.iter().filter(|metric| !seen.contains(metric.name)).map(|metric| metric.name).collect();
    assert_eq!(missing, ONLY_WITH_A_FAULT.map(|metric| metric.name));
    // from the start: Prometheus takes a counter that first appears with its first event for one that did not grow
    for reason in Reason::CODES {
        let line = format!("footprint_dead_letters_total{{route=\"user_footprint\",reason=\"{reason}\"}} ");
        assert!(page.contains(&line), "{line}");
    }
    let counted = |sink: &str| {
        consumer.metric(&format!("footprint_sink_rows_total{{route=\"user_footprint\",sink=\"{sink}\"}}")).unwrap()
            as i64
    };
    let in_postgres: i64 = world.eye.query("select count(*) from user_footprint")[0].get(0);
    let in_clickhouse = format!("select count() from {}.user_footprint", world.database);
    let in_clickhouse: i64 = stack().clickhouse().unwrap().query(&in_clickhouse).unwrap().trim().parse().unwrap();
    assert_eq!((counted("postgres"), counted("clickhouse")), (in_postgres, in_clickhouse));
    consumer.stop();
}

/// PostgreSQL holds its rows back. What waits has an age, which grows, and Kafka's retention comes nearer.
#[test]
fn what_waits_has_an_age() {
    let _calm = calm();
    let mut world = World::at(stack().kafka().unwrap().bootstrap(), "ages", 1, 0.0);
    let retention = format!("{}", RETENTION as u64 * 1_000);
    stack().kafka().unwrap().create_topic(&world.topic, 1, &[("retention.ms", &retention)]).unwrap();
    world.command(&["migrate"]);
    world.eye.query(HOLD);
    world.eye.query("create trigger hold before insert on user_footprint for each row execute function hold()");
    world.eye.query("select pg_advisory_lock(1)");
    let source = world.send(500);
    let mut consumer = world.consumer();
    let value = |consumer: &Consumer, name: &str| consumer.metric(&format!("footprint_{name}{{"));
    let is_old = |consumer: &Consumer| {
        let ages = ["lag_seconds", "progress_age_seconds", "claim_age_seconds"].map(|name| value(consumer, name));
        ages.iter().all(|age| age.is_some_and(|age| age >= 3.0)).then_some(())
    };
    until_or("the ages grow", SHARED, || is_old(&consumer), || format!("{:?}", consumer.page("/metrics")));
    let (left, age) = (value(&consumer, "retention_left_seconds"), value(&consumer, "lag_seconds"));
    let sum = left.unwrap() + age.unwrap();
    assert!((sum - RETENTION).abs() < 1.0, "{left:?} {age:?}");
    assert_eq!(value(&consumer, "lag_records"), Some(500.0));
    assert_eq!(value(&consumer, "delay_seconds_count"), Some(0.0), "nothing is stored in both");
    assert!(value(&consumer, "claims_pending") >= Some(1.0));
    assert!(consumer.metric("footprint_budget_held_bytes{holder=\"batches\"}") > Some(0.0));

    let (_, status) = consumer.page("/status").unwrap();
    let password = stack().user_password();
    assert!(!status.contains(password), "{status}");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let (route, partition) = (&status["routes"][0], &status["routes"][0]["owned"][0]);
    for name in ["lag_seconds", "progress_age_seconds", "claim_age_seconds"] {
        assert!(partition[name].as_f64() >= Some(3.0), "{name}: {partition}");
    }
    assert_eq!((partition["lag_records"].as_i64(), partition["partition"].as_i64()), (Some(500), Some(0)));
    let in_lanes = route["lanes"].as_array().unwrap().iter().map(|lane| lane["partitions"].as_u64().unwrap());
    assert_eq!(in_lanes.sum::<u64>(), 1, "{route}");
    assert!(status["budget"]["held"]["batches"].as_u64() > Some(0), "{}", status["budget"]);
    let settings = status["configuration"]["settings"].as_array().unwrap();
    let topic =
        settings.iter().find(|setting| setting["key"] == "routes[0].topic" || setting["key"] == "routes.0.topic");
    assert_eq!(topic.unwrap()["value"], world.topic.as_str());
    assert!(settings.iter().all(|setting| !setting["origin"].is_null()));

    world.eye.query("select pg_advisory_unlock(1)");
    world.wait_stored(source, SHARED, &mut [&mut consumer]);
    let is_new = || {
        let ages = ["lag_seconds", "progress_age_seconds", "claim_age_seconds"].map(|name| value(&consumer, name));
        (ages == [Some(0.0); 3] && value(&consumer, "retention_left_seconds").is_none()).then_some(())
    };
    until_or("nothing waits", SHARED, is_new, || format!("{:?}", consumer.page("/metrics")));
    assert!(value(&consumer, "delay_seconds_count") > Some(0.0));
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// The story: lag was 0 while hundreds of records waited behind a producer that hung in a transaction.
#[test]
fn records_behind_an_open_transaction_are_counted() {
    let _calm = calm();
    let mut world = World::new("opentx", 1, 0.0);
    let source = world.source();
    let mut consumer = world.consumer();
    world.send_to(source, 100);
    let mut producer = Feed::transactional(&world.topic, 1, 7);
    producer.begin();
    let open = producer.send(40);
    world.send_to(source, 60);
    let waiting = |consumer: &Consumer, expected: f64| {
        (consumer.metric("footprint_lag_open_transaction_records{") == Some(expected)).then_some(())
    };
    until_or("they are counted", SHARED, || waiting(&consumer, 100.0), || consumer.tail());
    producer.commit();
    world.oracle.note(source, open);
    world.wait_stored(source, SHARED, &mut [&mut consumer]);
    until_or("none waits", SHARED, || waiting(&consumer, 0.0), || consumer.tail());
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}
