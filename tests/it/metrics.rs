//! /metrics: every line is in the catalogue, and the series of a partition are those of its present owner alone.

use std::collections::BTreeSet;
use std::time::Duration;

use footprint_event::reject::Reason;
use footprint_service::metrics::catalogue::{self, ALL, Kind};

use crate::support::consumer::Consumer;
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
    let lag_is_known = || (partitions(&consumer).len() == 2).then_some(());
    until_or("the lag is asked", SHARED, lag_is_known, || consumer.tail());
    let is_audited = || consumer.metric("footprint_audit_pass_seconds{");
    until_or("the audit has been everywhere", SHARED, is_audited, || consumer.tail());
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
    assert_eq!(missing, Vec::<&str>::new());
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
