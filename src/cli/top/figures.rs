//! Every number that `top` shows, computed from one snapshot and an earlier one. `--json` prints it as it is, and the view draws it.
//! None means that the consumer does not say it. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use footprint_service::metrics::catalogue;
use serde::Serialize;

use super::rates::Rates;
use super::samples::{Samples, Where};
use super::snapshot::{Snapshot, StatusComponent, StatusPage, StatusPartition, StatusRoute};

/// The whole consumer.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Figures {
    /// The time of the answer by the consumer's clock, RFC 3339.
    pub at: Option<String>,
    pub version: String,
    pub pid: Option<u32>,
    pub uptime_seconds: Option<u64>,
    pub ready: bool,
    pub budget: Budget,
    pub process: Process,
    pub routes: Vec<Route>,
}

/// The byte budget, which all routes share.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Budget {
    pub taken_bytes: Option<u64>,
    pub max_bytes: Option<u64>,
    pub by_holder: BTreeMap<String, u64>,
}

/// The process.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Process {
    pub resident_bytes: Option<u64>,
    /// Cores in use.
    pub cpu_cores: Option<f64>,
    pub open_files: Option<u64>,
}

/// One route.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Route {
    pub route: String,
    pub ready: bool,
    pub state: &'static str,
    pub components: Vec<Component>,
    pub read: Read,
    pub lag: Lag,
    pub brokers: Brokers,
    pub sinks: Vec<Sink>,
    pub dead_letters: BTreeMap<String, u64>,
    pub ledger: Ledger,
    pub audit: Option<Audit>,
    pub partitions_owned: u64,
    pub partitions_assigned: Option<u64>,
    pub partitions: Vec<Partition>,
}

/// A component of a route.
#[derive(Serialize, Clone, Debug, PartialEq)]
pub(super) struct Component {
    pub component: String,
    pub state: String,
    /// RFC 3339.
    pub since: Option<String>,
    pub why: String,
    pub what_to_do: String,
}

/// What is read from Kafka.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Read {
    pub records: Option<u64>,
    pub records_per_second: Option<f64>,
    pub bytes: Option<u64>,
    pub bytes_per_second: Option<f64>,
    /// Whether reading waits because the budget is spent.
    pub waits: Option<bool>,
    pub seconds_since_stored: Option<f64>,
}

/// The brokers that the route talks to.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Brokers {
    /// The longest of their round trips.
    pub round_trip_seconds: Option<f64>,
    pub throttle_seconds: Option<f64>,
    pub errors: Option<u64>,
    pub commits_refused: Option<u64>,
    pub rebalances: BTreeMap<String, u64>,
}

/// What is not stored yet.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Lag {
    pub records: Option<i64>,
    /// The age of the oldest record that is not stored in every sink.
    pub seconds: Option<f64>,
    /// The mean time from Kafka's timestamp until the last batches were stored in every sink.
    pub delay_seconds: Option<f64>,
    pub progress_age_seconds: Option<f64>,
    pub open_transaction_records: Option<u64>,
    pub retention_left_seconds: Option<f64>,
}

/// One sink.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Sink {
    pub sink: String,
    pub rows: Option<u64>,
    pub rows_per_second: Option<f64>,
    pub bytes_per_second: Option<f64>,
    pub batches_per_second: Option<f64>,
    /// The mean of the last writes.
    pub write_seconds: Option<f64>,
    /// The mean time from Kafka's timestamp until the last batches were stored.
    pub delay_seconds: Option<f64>,
    pub retries: Option<u64>,
    pub errors: BTreeMap<String, u64>,
}

/// Counts that are about ownership and repairs, all since the consumer's start.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Ledger {
    pub takeovers: Option<u64>,
    pub fenced: Option<u64>,
    pub read_backs: BTreeMap<String, u64>,
    pub doubled: Option<u64>,
    pub gap_offsets: BTreeMap<String, u64>,
    pub clickhouse_parts: Option<u64>,
}

/// What the audit has proven.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Audit {
    pub records: u64,
    /// Ranges that are faulty now.
    pub faulty_ranges: Option<u64>,
    /// Faults found since the start, by kind.
    pub faults: BTreeMap<String, u64>,
    /// The oldest of the partitions' last proofs.
    pub proof_age_seconds: Option<f64>,
}

/// One partition.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Partition {
    pub partition: i32,
    pub postgres_next: Option<i64>,
    pub clickhouse_next: Option<i64>,
    pub log_end: Option<i64>,
    pub lag_records: Option<i64>,
    pub lag_seconds: Option<f64>,
    /// How fast the lower frontier moves.
    pub stored_per_second: Option<f64>,
    pub claims_pending: Option<u64>,
    pub claim_age_seconds: Option<f64>,
    pub proof_age_seconds: Option<f64>,
}

/// A counter's or a gauge's value as a whole number.
fn whole(value: f64) -> u64 {
    value as u64
}

fn all_whole(sums: BTreeMap<String, f64>) -> BTreeMap<String, u64> {
    sums.into_iter().map(|(label, value)| (label, whole(value))).collect()
}

/// The time at the consumer.
fn time_of(status: &StatusPage) -> Option<String> {
    let started = DateTime::parse_from_rfc3339(status.started.as_deref()?).ok()?.to_utc();
    let uptime = TimeDelta::try_seconds(i64::try_from(status.uptime_seconds?).ok()?)?;
    let at: DateTime<Utc> = started.checked_add_signed(uptime)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

impl Figures {
    /// The figures of a snapshot, with rates since an earlier one that many seconds ago.
    pub(super) fn new(now: &Snapshot, before: Option<(&Snapshot, f64)>) -> Self {
        let samples = &now.samples;
        let rates = Rates::new(samples, before.map(|(before, seconds)| (&before.samples, seconds)));
        let gauge = |name: &str| samples.sum(name, &[]).map(whole);
        Self {
            at: time_of(&now.status),
            version: now.status.version.clone(),
            pid: now.status.pid,
            uptime_seconds: now.status.uptime_seconds,
            ready: now.status.ready,
            budget: Budget {
                taken_bytes: gauge(catalogue::BUDGET_TAKEN.name),
                max_bytes: gauge(catalogue::BUDGET_MAX.name),
                by_holder: all_whole(samples.by(catalogue::BUDGET_HELD.name, &[], "holder")),
            },
            process: Process {
                resident_bytes: gauge(catalogue::PROCESS_RESIDENT.name),
                cpu_cores: rates.per_second(catalogue::PROCESS_CPU.name, &[]),
                open_files: gauge(catalogue::PROCESS_FDS.name),
            },
            routes: now.status.routes.iter().map(|route| Route::new(route, samples, rates, before)).collect(),
        }
    }
}

impl Route {
    fn new(route: &StatusRoute, samples: &Samples, rates: Rates<'_>, before: Option<(&Snapshot, f64)>) -> Self {
        let name = route.route.as_str();
        let here: &[Where<'_>] = &[("route", name)];
        let partitions = partitions(route, samples, before);
        Self {
            route: name.to_owned(),
            ready: route.ready,
            state: state_of(route),
            components: route.components.iter().map(Component::new).collect(),
            read: Read {
                records: samples.sum(catalogue::RECORDS_READ.name, here).map(whole),
                records_per_second: rates.per_second(catalogue::RECORDS_READ.name, here),
                bytes: samples.sum(catalogue::BYTES_READ.name, here).map(whole),
                bytes_per_second: rates.per_second(catalogue::BYTES_READ.name, here),
                waits: samples.max(catalogue::READER_PAUSED.name, here).map(|paused| paused > 0.0),
                seconds_since_stored: route.seconds_since_stored,
            },
            lag: Lag {
                records: partitions.iter().filter_map(|partition| partition.lag_records).reduce(i64::saturating_add),
                seconds: samples.max(catalogue::LAG_SECONDS.name, here),
                delay_seconds: rates.mean(catalogue::WAY_TO_BOTH_SECONDS.name, here),
                progress_age_seconds: samples.max(catalogue::PROGRESS_AGE.name, here),
                open_transaction_records: samples.sum(catalogue::OPEN_TRANSACTION.name, here).map(whole),
                retention_left_seconds: samples.min(catalogue::RETENTION_LEFT.name, here),
            },
            brokers: Brokers::new(samples, here),
            sinks: sinks(route, samples).iter().map(|sink| Sink::new(name, sink, samples, rates)).collect(),
            dead_letters: all_whole(samples.by(catalogue::DEAD_LETTERS.name, here, "reason")),
            ledger: Ledger::new(samples, here),
            audit: Audit::new(samples, here),
            partitions_owned: route.owned.len() as u64,
            partitions_assigned: samples.sum(catalogue::ASSIGNED.name, here).map(whole),
            partitions,
        }
    }
}

fn state_of(route: &StatusRoute) -> &'static str {
    match route {
        StatusRoute { ready: true, .. } => "ready",
        StatusRoute { ended: true, .. } => "ended",
        StatusRoute { draining: true, .. } => "draining",
        StatusRoute { joined: false, .. } => "has not joined its consumer group",
        _ => "not ready",
    }
}

/// The sinks of a route, in the order of its components.
fn sinks(route: &StatusRoute, samples: &Samples) -> Vec<String> {
    let counted = samples.by(catalogue::ROWS_WRITTEN.name, &[("route", &route.route)], "sink");
    let names = route.components.iter().map(|component| component.component.clone());
    let mut sinks: Vec<String> =
        names.filter(|name| name == "postgres" || name == "clickhouse" || counted.contains_key(name)).collect();
    let others: Vec<String> = counted.into_keys().filter(|sink| !sinks.contains(sink)).collect();
    sinks.extend(others);
    sinks
}

impl Component {
    fn new(component: &StatusComponent) -> Self {
        let StatusComponent { component, state, since, why, what_to_do } = component.clone();
        Self { component, state, since, why, what_to_do }
    }
}

impl Sink {
    fn new(route: &str, sink: &str, samples: &Samples, rates: Rates<'_>) -> Self {
        let here: &[Where<'_>] = &[("route", route), ("sink", sink)];
        Self {
            sink: sink.to_owned(),
            rows: samples.sum(catalogue::ROWS_WRITTEN.name, here).map(whole),
            rows_per_second: rates.per_second(catalogue::ROWS_WRITTEN.name, here),
            bytes_per_second: rates.per_second(catalogue::BYTES_WRITTEN.name, here),
            batches_per_second: rates.per_second(catalogue::BATCHES_WRITTEN.name, here),
            write_seconds: rates.mean(catalogue::WRITE_SECONDS.name, here),
            delay_seconds: rates.mean(catalogue::WAY_SECONDS.name, here),
            retries: samples.sum(catalogue::RETRIES.name, here).map(whole),
            errors: all_whole(samples.by(catalogue::SINK_ERRORS.name, here, "class")),
        }
    }
}

impl Brokers {
    fn new(samples: &Samples, here: &[Where<'_>]) -> Self {
        Self {
            round_trip_seconds: samples.max(catalogue::ROUND_TRIP.name, here),
            throttle_seconds: samples.max(catalogue::THROTTLE.name, here),
            errors: samples.sum(catalogue::TRANSPORT_ERRORS.name, here).map(whole),
            commits_refused: samples.sum(catalogue::COMMIT_FAILURES.name, here).map(whole),
            rebalances: all_whole(samples.by(catalogue::REBALANCES.name, here, "kind")),
        }
    }
}

impl Ledger {
    fn new(samples: &Samples, here: &[Where<'_>]) -> Self {
        let count = |name: &str| samples.sum(name, here).map(whole);
        Self {
            takeovers: count(catalogue::TAKEOVERS.name),
            fenced: count(catalogue::FENCED.name),
            read_backs: all_whole(samples.by(catalogue::READ_BACKS.name, here, "result")),
            doubled: count(catalogue::DOUBLED.name),
            gap_offsets: all_whole(samples.by(catalogue::GAP_OFFSETS.name, here, "reason")),
            clickhouse_parts: count(catalogue::CLICKHOUSE_PARTS.name),
        }
    }
}

impl Audit {
    fn new(samples: &Samples, here: &[Where<'_>]) -> Option<Self> {
        Some(Self {
            records: whole(samples.sum(catalogue::AUDIT_RECORDS.name, here)?),
            faulty_ranges: samples.sum(catalogue::AUDIT_FAULTY.name, here).map(whole),
            faults: all_whole(samples.by(catalogue::AUDIT_FAULTS.name, here, "kind")),
            proof_age_seconds: samples.max(catalogue::AUDIT_PROOF_AGE.name, here),
        })
    }
}

fn partitions(route: &StatusRoute, samples: &Samples, before: Option<(&Snapshot, f64)>) -> Vec<Partition> {
    let here: &[Where<'_>] = &[("route", &route.route)];
    // one pass over the samples for each metric, however many partitions there are
    let [lag, claim_age, proof_age] =
        [catalogue::LAG_SECONDS.name, catalogue::CLAIM_AGE.name, catalogue::AUDIT_PROOF_AGE.name]
            .map(|name| samples.by(name, here, "partition"));
    let mut partitions: Vec<Partition> = route
        .owned
        .iter()
        .map(|found| {
            let label = found.partition.to_string();
            let earlier =
                before.and_then(|(before, seconds)| Some((before.partition(&route.route, found.partition)?, seconds)));
            Partition {
                partition: found.partition,
                postgres_next: found.postgres_next,
                clickhouse_next: found.clickhouse_next,
                log_end: found.log_end,
                lag_records: found.lag_records,
                lag_seconds: lag.get(&label).copied(),
                stored_per_second: earlier.and_then(|(earlier, seconds)| speed(earlier, found, seconds)),
                claims_pending: found.claims_pending,
                claim_age_seconds: claim_age.get(&label).copied(),
                proof_age_seconds: proof_age.get(&label).copied(),
            }
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    partitions
}

/// Offsets a second. A frontier that has moved back (another source, or an operator) has no speed.
fn speed(earlier: &StatusPartition, now: &StatusPartition, seconds: f64) -> Option<f64> {
    let moved = now.lowest()?.checked_sub(earlier.lowest()?)?;
    (moved >= 0 && seconds > 0.0).then(|| moved as f64 / seconds)
}

#[cfg(test)]
mod tests;
