//! What is counted, and how. A route's counters are looked up once, when its pipeline begins. They are counted once a batch, never once
//! an event. The series of a partition are not counted here: the pages write them from what the pipeline publishes, so they disappear
//! with the partition ([`partition_series`]).

pub mod audit;
pub mod catalogue;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use footprint_event::reject::Reason;
use footprint_protocol::ledger::SinkName;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use self::catalogue::{ALL, Kind, Metric};
use crate::health::{Component, State};
use crate::status::PartitionView;

/// Installs the recorder, with every metric's meaning and buckets. What is counted before is not counted.
///
/// # Errors
/// A recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in ALL {
        if let Kind::Histogram(bounds) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)?;
        }
    }
    let recorder = builder.install_recorder()?;
    for Metric { name, kind, is, .. } in ALL {
        match kind {
            Kind::Counter => describe_counter!(*name, *is),
            Kind::Gauge => describe_gauge!(*name, *is),
            Kind::Histogram(_) => describe_histogram!(*name, *is),
        }
    }
    Ok(recorder)
}

/// The counters of one route.
#[derive(Clone, Debug)]
pub struct Meters {
    route: Arc<str>,
    records_read: Counter,
    bytes_read: Counter,
    unreadable: Counter,
    reader_paused: Gauge,
    reader_pauses: Counter,
    owned: Gauge,
    assigned: Gauge,
    takeovers: Counter,
    claim_seconds: Histogram,
    fenced: Counter,
    repairs: Counter,
    doubled: Counter,
}

/// The counters of one route and sink.
#[derive(Clone, Debug)]
pub struct SinkMeters {
    route: Arc<str>,
    sink: &'static str,
    rows: Counter,
    batches: Counter,
    write_seconds: Histogram,
    delay_seconds: Histogram,
    retries: Counter,
    fenced: Counter,
}

/// The outcome of one group of batches.
#[derive(Debug, Default)]
pub struct Written {
    /// Batches stored.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Batches that the fence refused.
    pub fenced: u64,
    /// The code of the reason of each dead letter stored.
    pub dead_letters: Vec<&'static str>,
    /// The time from Kafka's timestamp of each batch's first record until now.
    pub delays: Vec<Duration>,
}

impl Meters {
    /// The counters of a route.
    pub fn new(route: &str) -> Self {
        let route: Arc<str> = route.into();
        let counter = |metric: Metric| counter!(metric.name, "route" => Arc::clone(&route));
        let gauge = |metric: Metric| gauge!(metric.name, "route" => Arc::clone(&route));
        // a counter that first appears with its first event is no growth for Prometheus
        for reason in Reason::CODES {
            dead_letters(&route, reason).increment(0);
        }
        Self {
            records_read: counter(catalogue::RECORDS_READ),
            bytes_read: counter(catalogue::BYTES_READ),
            unreadable: counter(catalogue::UNREADABLE),
            reader_paused: gauge(catalogue::READER_PAUSED),
            reader_pauses: counter(catalogue::READER_PAUSES),
            owned: gauge(catalogue::OWNED),
            assigned: gauge(catalogue::ASSIGNED),
            takeovers: counter(catalogue::TAKEOVERS),
            claim_seconds: histogram!(catalogue::CLAIM_SECONDS.name, "route" => Arc::clone(&route)),
            fenced: counter(catalogue::FENCED),
            repairs: counter(catalogue::REPAIRS),
            doubled: counter(catalogue::DOUBLED),
            route,
        }
    }

    /// The counters of one of its sinks.
    pub fn sink(&self, sink: SinkName) -> SinkMeters {
        let (route, sink) = (Arc::clone(&self.route), sink.as_str());
        let counter = |metric: Metric| counter!(metric.name, "route" => Arc::clone(&route), "sink" => sink);
        let histogram = |metric: Metric| histogram!(metric.name, "route" => Arc::clone(&route), "sink" => sink);
        for class in ERROR_CLASSES {
            errors(&route, sink, class).increment(0);
        }
        SinkMeters {
            rows: counter(catalogue::ROWS_WRITTEN),
            batches: counter(catalogue::BATCHES_WRITTEN),
            write_seconds: histogram(catalogue::WRITE_SECONDS),
            delay_seconds: histogram(catalogue::WAY_SECONDS),
            retries: counter(catalogue::RETRIES),
            fenced: self.fenced.clone(),
            route,
            sink,
        }
    }

    /// Kafka's client gave an error in place of records.
    pub fn unreadable(&self) {
        self.unreadable.increment(1);
    }

    /// A chunk was read.
    pub fn read(&self, records: usize, bytes: usize) {
        self.records_read.increment(records as u64);
        self.bytes_read.increment(bytes as u64);
    }

    /// Reading was paused or resumed.
    pub fn paused(&self, paused: bool) {
        self.reader_paused.set(f64::from(u8::from(paused)));
        if paused {
            self.reader_pauses.increment(1);
        }
    }

    /// Partitions assigned and owned now.
    pub fn partitions(&self, assigned: usize, owned: usize) {
        self.assigned.set(assigned as f64);
        self.owned.set(owned as f64);
    }

    /// A claim has an answer.
    pub fn claimed(&self, elapsed: Duration) {
        self.claim_seconds.record(elapsed.as_secs_f64());
    }

    /// A claim or a heartbeat found the partition no longer ours.
    pub fn fenced(&self) {
        self.fenced.increment(1);
    }

    /// A partition was taken over.
    pub fn taken_over(&self) {
        self.takeovers.increment(1);
    }

    /// A range is read back from ClickHouse.
    pub fn repaired(&self) {
        self.repairs.increment(1);
    }

    /// Records were found more than once in ClickHouse.
    pub fn doubled(&self, count: u64) {
        self.doubled.increment(count);
    }

    /// Rows that one database refused became dead letters.
    pub fn refused(&self, sink: SinkName, rows: usize) {
        let reason = match sink {
            SinkName::Postgres => "postgres_refused",
            SinkName::ClickHouse => "clickhouse_refused",
        };
        dead_letters(&self.route, reason).increment(rows as u64);
    }
}

impl SinkMeters {
    /// A group of batches has an answer.
    pub fn written(&self, written: &Written, elapsed: Duration) {
        for reason in &written.dead_letters {
            dead_letters(&self.route, reason).increment(1);
        }
        self.fenced.increment(written.fenced);
        self.batches.increment(written.batches);
        self.rows.increment(written.rows);
        self.write_seconds.record(elapsed.as_secs_f64());
        for delay in &written.delays {
            self.delay_seconds.record(delay.as_secs_f64());
        }
    }

    /// A write has failed, with an error of this class, and is tried again.
    pub fn failed(&self, class: &'static str) {
        self.retries.increment(1);
        errors(&self.route, self.sink, class).increment(1);
    }
}

/// The classes of failed writes.
const ERROR_CLASSES: [&str; 4] = ["retry", "uncertain", "unclear", "stop"];

fn errors(route: &Arc<str>, sink: &'static str, class: &'static str) -> Counter {
    counter!(catalogue::SINK_ERRORS.name, "route" => Arc::clone(route), "sink" => sink, "class" => class)
}

fn dead_letters(route: &Arc<str>, reason: &'static str) -> Counter {
    counter!(catalogue::DEAD_LETTERS.name, "route" => Arc::clone(route), "reason" => reason)
}

/// The present use of the budget.
pub fn budget(taken: usize, max: usize) {
    gauge!(catalogue::BUDGET_TAKEN.name).set(taken as f64);
    gauge!(catalogue::BUDGET_MAX.name).set(max as f64);
}

/// A component's state: one for the state that it is in, and zero for the others.
pub fn health(route: &str, component: Component, state: State) {
    for other in State::ALL {
        let labels = [
            ("route", route.to_owned()),
            ("component", component.as_str().to_owned()),
            ("state", other.as_str().to_owned()),
        ];
        gauge!(catalogue::HEALTH.name, &labels).set(f64::from(u8::from(other == state)));
    }
}

/// Whether a route's consumer is in its group.
pub fn joined(route: &str, is_joined: bool) {
    gauge!(catalogue::JOINED.name, "route" => route.to_owned()).set(f64::from(u8::from(is_joined)));
}

/// A partition's values of one metric: the sink, or an empty text, and the value.
type Values = fn(&PartitionView) -> Vec<(&'static str, i64)>;

/// The series of the partitions that the process owns now, in Prometheus' text format.
pub fn partition_series(routes: &[(&str, &[PartitionView])]) -> String {
    let mut text = String::new();
    let series: [(Metric, Values); 4] = [
        (catalogue::CLAIMS_PENDING, |view| vec![("", i64::try_from(view.claims_pending).unwrap_or(i64::MAX))]),
        (catalogue::FRONTIER, |view| {
            let sinks = [("postgres", view.postgres_next), ("clickhouse", view.clickhouse_next)];
            sinks.into_iter().filter_map(|(sink, next)| Some((sink, next?))).collect()
        }),
        (catalogue::LOG_END, |view| view.log_end.map(|end| ("", end)).into_iter().collect()),
        (catalogue::LAG, |view| view.lag().map(|lag| ("", lag)).into_iter().collect()),
    ];
    for (metric, values) in series {
        let _ = write!(text, "# HELP {} {}\n# TYPE {} gauge\n", metric.name, metric.is, metric.name);
        for (route, views) in routes {
            for view in *views {
                for (sink, value) in values(view) {
                    let sink = if sink.is_empty() { String::new() } else { format!(",sink=\"{sink}\"") };
                    // a route's name is a plain identifier
                    let _ = writeln!(
                        text,
                        "{}{{route=\"{route}\",partition=\"{}\"{sink}}} {value}",
                        metric.name, view.partition
                    );
                }
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_those_of_the_partitions_that_are_there() {
        let view = PartitionView {
            partition: 3,
            claims_pending: 2,
            postgres_next: Some(10),
            clickhouse_next: Some(8),
            log_end: Some(20),
        };
        let text = partition_series(&[("visits", &[view])]);
        for line in [
            "footprint_claims_pending{route=\"visits\",partition=\"3\"} 2",
            "footprint_frontier_offset{route=\"visits\",partition=\"3\",sink=\"postgres\"} 10",
            "footprint_frontier_offset{route=\"visits\",partition=\"3\",sink=\"clickhouse\"} 8",
            "footprint_log_end_offset{route=\"visits\",partition=\"3\"} 20",
            "footprint_lag_records{route=\"visits\",partition=\"3\"} 12",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
        assert!(!partition_series(&[("visits", &[])]).contains("partition="));
    }
}
