//! Series that exist only as long as what they describe: a partition that this process owns, a broker of its client. They are written
//! from the status at each question, in Prometheus' text format.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use metrics_process::collector::collect;

use super::catalogue::{self, Kind, Metric};
use crate::status::{BrokerView, PartitionView, Status};

/// The time of the question, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// It counts the time that passes.
    pub instant: Instant,
    /// The time of day, which Kafka's timestamps are compared with.
    pub time: SystemTime,
}

impl Now {
    /// The present time.
    pub fn read() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }
}

/// The value of one partition. None: not known.
type OfPartition = fn(&PartitionView, Now) -> Option<f64>;
/// The value of one broker. None: not known.
type OfBroker = fn(&BrokerView) -> Option<f64>;

const OF_PARTITIONS: [(Metric, OfPartition); 8] = [
    (catalogue::CLAIMS_PENDING, |view, _| Some(view.claims_pending as f64)),
    (catalogue::CLAIM_AGE, |view, now| Some(seconds(view.claim_age(now.instant)))),
    (catalogue::LOG_END, |view, _| view.log_end.map(|end| end as f64)),
    (catalogue::LAG, |view, _| view.lag().map(|lag| lag as f64)),
    (catalogue::LAG_SECONDS, |view, now| view.lag_age(now.time).map(seconds)),
    (catalogue::OPEN_TRANSACTION, |view, _| view.behind_open_transaction.map(|records| records as f64)),
    (catalogue::PROGRESS_AGE, |view, now| Some(seconds(view.progress_age(now.instant)))),
    (catalogue::RETENTION_LEFT, |view, now| view.retention_left(now.instant).map(seconds)),
];

const OF_BROKERS: [(Metric, OfBroker); 3] = [
    (catalogue::ROUND_TRIP, |broker| broker.round_trip.map(seconds)),
    (catalogue::THROTTLE, |broker| Some(seconds(broker.throttle))),
    (catalogue::TRANSPORT_ERRORS, |broker| Some(broker.errors as f64)),
];

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// The series of these routes.
pub fn of(routes: &[(&str, &Status)], now: Now) -> String {
    let mut text = String::new();
    for (metric, value) in OF_PARTITIONS {
        family(&mut text, metric, routes, |status, sample| {
            for view in &status.partitions {
                if let Some(value) = value(view, now) {
                    sample(format_args!("partition=\"{}\"", view.partition), value);
                }
            }
        });
    }
    family(&mut text, catalogue::FRONTIER, routes, |status, sample| {
        for view in &status.partitions {
            for (sink, next) in [("postgres", view.postgres_next), ("clickhouse", view.clickhouse_next)] {
                if let Some(next) = next {
                    sample(format_args!("partition=\"{}\",sink=\"{sink}\"", view.partition), next as f64);
                }
            }
        }
    });
    for (metric, value) in OF_BROKERS {
        family(&mut text, metric, routes, |status, sample| {
            for broker in &status.brokers {
                if let Some(value) = value(broker) {
                    sample(format_args!("broker=\"{}\"", escaped(&broker.name)), value);
                }
            }
        });
    }
    text
}

/// What the kernel counts of the process. The recorder's counters are whole numbers, and seconds of processor time are not.
pub fn of_process() -> String {
    let counted = collect();
    let whole = |value: Option<u64>| value.map(|value| value as f64);
    let mut text = String::new();
    for (metric, value) in [
        (catalogue::PROCESS_CPU, counted.cpu_seconds_total),
        (catalogue::PROCESS_RESIDENT, whole(counted.resident_memory_bytes)),
        (catalogue::PROCESS_VIRTUAL, whole(counted.virtual_memory_bytes)),
        (catalogue::PROCESS_VIRTUAL_MAX, whole(counted.virtual_memory_max_bytes)),
        (catalogue::PROCESS_FDS, whole(counted.open_fds)),
        (catalogue::PROCESS_FDS_MAX, whole(counted.max_fds)),
        (catalogue::PROCESS_THREADS, whole(counted.threads)),
        (catalogue::PROCESS_START, whole(counted.start_time_seconds)),
    ] {
        if let Some(value) = value {
            head(&mut text, metric);
            let _ = writeln!(text, "{} {value}\n", metric.name);
        }
    }
    text
}

fn head(text: &mut String, metric: Metric) {
    let kind = if metric.kind == Kind::Counter { "counter" } else { "gauge" };
    let _ = write!(text, "# HELP {} {}\n# TYPE {} {kind}\n", metric.name, metric.is, metric.name);
}

/// Writes one metric. `samples` calls its second argument with the labels behind the route, and the value, of each series.
fn family(
    text: &mut String,
    metric: Metric,
    routes: &[(&str, &Status)],
    samples: impl Fn(&Status, &mut dyn FnMut(std::fmt::Arguments<'_>, f64)),
) {
    head(text, metric);
    for (route, status) in routes {
        // a route's name is a plain identifier
        samples(status, &mut |labels, value| {
            let _ = writeln!(text, "{}{{route=\"{route}\",{labels}}} {value}", metric.name);
        });
    }
    text.push('\n');
}

/// A label's value, escaped as the text format demands.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_counted_with_parts_of_a_second() {
        let cpu = || collect().cpu_seconds_total.unwrap();
        let (before, text, after) = (cpu(), of_process(), cpu());
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"), "{text}");
        assert!((before..=after).contains(&value("process_cpu_seconds_total")), "not rounded: {before} {after}");
        assert!(value("process_resident_memory_bytes") > 1e6 && value("process_threads") >= 1.0);
    }

    #[test]
    fn series_are_those_of_what_is_there() {
        let now = Now::read();
        let view = PartitionView {
            partition: 3,
            claims_pending: 2,
            claim_since: Some(now.instant - Duration::from_secs(4)),
            postgres_next: Some(10),
            clickhouse_next: Some(8),
            log_end: Some(20),
            oldest_received: Some(now.time - Duration::from_secs(7)),
            stuck_since: Some(now.instant - Duration::from_secs(2)),
            overtaken_at: Some(now.instant + Duration::from_secs(90)),
            behind_open_transaction: Some(5),
        };
        let broker = BrokerView {
            name: "a\"b:9092".to_owned(),
            round_trip: Some(Duration::from_millis(2)),
            throttle: Duration::ZERO,
            errors: 3,
        };
        let status = Status { partitions: vec![view], brokers: vec![broker], ..Status::default() };
        let text = of(&[("visits", &status)], now);
        for line in [
            "footprint_claims_pending{route=\"visits\",partition=\"3\"} 2",
            "footprint_claim_age_seconds{route=\"visits\",partition=\"3\"} 4",
            "footprint_frontier_offset{route=\"visits\",partition=\"3\",sink=\"postgres\"} 10",
            "footprint_frontier_offset{route=\"visits\",partition=\"3\",sink=\"clickhouse\"} 8",
            "footprint_log_end_offset{route=\"visits\",partition=\"3\"} 20",
            "footprint_lag_records{route=\"visits\",partition=\"3\"} 12",
            "footprint_lag_seconds{route=\"visits\",partition=\"3\"} 7",
            "footprint_lag_open_transaction_records{route=\"visits\",partition=\"3\"} 5",
            "footprint_progress_age_seconds{route=\"visits\",partition=\"3\"} 2",
            "footprint_retention_left_seconds{route=\"visits\",partition=\"3\"} 90",
            "footprint_kafka_round_trip_seconds{route=\"visits\",broker=\"a\\\"b:9092\"} 0.002",
            "footprint_kafka_transport_errors_total{route=\"visits\",broker=\"a\\\"b:9092\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
        let none = of(&[("visits", &Status::default())], now);
        assert!(!none.contains("partition=") && !none.contains("broker="));
    }
}
