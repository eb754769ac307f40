//! What the audit counts, and the series of the partitions that it has proven.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footprint_protocol::ledger::SinkName;
use metrics::{Counter, counter, gauge};

use super::catalogue::{self, Metric};
use crate::status::Audited;

/// The counters of the audit of one route.
#[derive(Clone, Debug)]
pub struct AuditMeters {
    route: Arc<str>,
    records: [Counter; 2],
    seconds: Counter,
}

impl AuditMeters {
    /// The counters of a route.
    pub fn new(route: &str) -> Self {
        let route: Arc<str> = route.into();
        let records = [SinkName::Postgres, SinkName::ClickHouse].map(
            |sink| counter!(catalogue::AUDIT_RECORDS.name, "route" => Arc::clone(&route), "sink" => sink.as_str()),
        );
        let seconds = counter!(catalogue::AUDIT_SECONDS.name, "route" => Arc::clone(&route));
        let meters = Self { route, records, seconds };
        // a rate needs a zero to begin with
        for sink in [SinkName::Postgres, SinkName::ClickHouse] {
            ["lost", "doubled", "changed"].into_iter().for_each(|kind| meters.faults(sink.as_str(), kind, 0));
        }
        meters
    }

    /// A range was compared: the rows of PostgreSQL and of ClickHouse.
    pub fn proven(&self, rows: [u64; 2]) {
        for (counter, rows) in self.records.iter().zip(rows) {
            counter.increment(rows);
        }
    }

    /// The audit has worked for this time since the start.
    pub fn worked(&self, total: Duration) {
        self.seconds.absolute(total.as_secs());
    }

    /// Faults that were not known before.
    pub fn faults(&self, sink: &'static str, kind: &'static str, count: u64) {
        let route = Arc::clone(&self.route);
        counter!(catalogue::AUDIT_FAULTS.name, "route" => route, "sink" => sink, "kind" => kind).increment(count);
    }

    /// The estimated time of a pass over all that is stored.
    pub fn pass(&self, time: Duration) {
        gauge!(catalogue::AUDIT_PASS_SECONDS.name, "route" => Arc::clone(&self.route)).set(time.as_secs_f64());
    }
}

/// A partition's value of one metric. None: there is none.
type Value = fn(&Audited, Instant) -> Option<f64>;

/// The series of the audit, in Prometheus' text format.
pub fn audit_series(routes: &[(&str, &[Audited])], now: Instant) -> String {
    let mut text = String::new();
    let series: [(Metric, Value); 3] = [
        (catalogue::AUDIT_FAULTY, |audited, _| Some(audited.faulty_ranges as f64)),
        (catalogue::AUDIT_PROOF_AGE, |audited, now| {
            audited.proven_at.map(|at| now.saturating_duration_since(at).as_secs_f64())
        }),
        (catalogue::AUDIT_PROVEN, |audited, _| Some(audited.proven_below as f64)),
    ];
    for (metric, value) in series {
        let _ = write!(text, "# HELP {} {}\n# TYPE {} gauge\n", metric.name, metric.is, metric.name);
        for (route, partitions) in routes {
            for audited in *partitions {
                if let Some(value) = value(audited, now) {
                    let _ = writeln!(
                        text,
                        "{}{{route=\"{route}\",partition=\"{}\"}} {value}",
                        metric.name, audited.partition
                    );
                }
            }
        }
        text.push('\n');
    }
    text
}
