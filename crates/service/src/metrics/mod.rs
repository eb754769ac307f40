//! What is counted, and how. A route's counters are looked up once, when its pipeline begins. They are counted once a batch, never once
//! an event. The series of a partition are not counted here: the pages write them from what the pipeline publishes, so they disappear
//! with the partition ([`series`]).

pub mod audit;
pub mod catalogue;
mod meters;
pub mod series;

use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use self::catalogue::{ALL, Kind, Metric};
pub use self::meters::{Blocked, Meters, Rebalance, SinkMeters, Written};
use crate::health::{Component, State};

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

/// The use of the budget by each holder, and its size, bytes.
pub fn budget(held: &[(&'static str, usize)], max: usize) {
    for &(holder, bytes) in held {
        gauge!(catalogue::BUDGET_HELD.name, "holder" => holder).set(bytes as f64);
    }
    gauge!(catalogue::BUDGET_TAKEN.name).set(held.iter().map(|&(_, bytes)| bytes).sum::<usize>() as f64);
    gauge!(catalogue::BUDGET_MAX.name).set(max as f64);
}

/// What is running.
pub fn build(version: &'static str, client: String) {
    gauge!(catalogue::BUILD.name, "version" => version, "client" => client).set(1.0);
}

/// The active parts of a route's table in ClickHouse.
pub fn clickhouse_parts(route: &str, active: u64) {
    gauge!(catalogue::CLICKHOUSE_PARTS.name, "route" => route.to_owned()).set(active as f64);
}

/// Bytes of the process as the allocator counts them: `kind` is allocated, resident or retained.
pub fn allocator(kind: &'static str, bytes: usize) {
    gauge!(catalogue::ALLOCATOR.name, "kind" => kind).set(bytes as f64);
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
