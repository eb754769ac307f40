//! The shape of /readyz and /status in JSON. `footprint health` reads what `run` writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::series::Now;
use crate::status::{BrokerView, LaneView, PartitionView};

/// A component of a route.
#[derive(Serialize, Deserialize, Debug)]
pub struct ConditionPage {
    /// Its name.
    pub component: String,
    /// `ok`, `paused`, `degraded` or `failed`.
    pub state: String,
    /// Since when it does not work, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// Why it does not work.
    #[serde(skip_serializing_if = "str::is_empty", default)]
    pub why: String,
    /// What a person can do.
    #[serde(skip_serializing_if = "str::is_empty", default)]
    pub what_to_do: String,
}

/// A route on /readyz.
#[derive(Serialize, Deserialize, Debug)]
pub struct ReadyRoute {
    /// Its name.
    pub route: String,
    /// Whether its records can be stored.
    pub ready: bool,
    /// Whether its consumer has joined the group.
    pub joined: bool,
    /// Whether it was asked to stop, or has ended.
    pub draining: bool,
    /// Whether its pipeline has ended.
    pub ended: bool,
    /// Partitions that this process owns.
    pub partitions: usize,
    /// What it depends on.
    pub components: Vec<ConditionPage>,
}

/// /readyz.
#[derive(Serialize, Deserialize, Debug)]
pub struct ReadyPage {
    /// Whether every route is ready.
    pub ready: bool,
    /// The routes, in the configuration's order.
    pub routes: Vec<ReadyRoute>,
}

/// /status.
#[derive(Serialize)]
pub(super) struct StatusPage {
    pub version: &'static str,
    pub pid: u32,
    pub started: String,
    pub uptime_seconds: u64,
    pub ready: bool,
    pub budget: BudgetPage,
    pub routes: Vec<StatusRoute>,
    pub configuration: serde_json::Value,
}

/// The byte budget on /status.
#[derive(Serialize)]
pub(super) struct BudgetPage {
    pub bytes_max: usize,
    pub held: BTreeMap<&'static str, usize>,
}

/// A partition on /status.
#[derive(Serialize)]
pub(super) struct PartitionPage {
    pub partition: i32,
    pub postgres_next: Option<i64>,
    pub clickhouse_next: Option<i64>,
    pub claims_pending: usize,
    pub claim_age_seconds: f64,
    pub log_end: Option<i64>,
    pub lag_records: Option<i64>,
    pub lag_seconds: Option<f64>,
    pub progress_age_seconds: f64,
    pub retention_left_seconds: Option<f64>,
    pub behind_open_transaction: Option<i64>,
}

impl PartitionPage {
    pub(super) fn of(view: &PartitionView, now: Now) -> Self {
        Self {
            partition: view.partition,
            postgres_next: view.postgres_next,
            clickhouse_next: view.clickhouse_next,
            claims_pending: view.claims_pending,
            claim_age_seconds: view.claim_age(now.instant).as_secs_f64(),
            log_end: view.log_end,
            lag_records: view.lag(),
            lag_seconds: view.lag_age(now.time).map(|age| age.as_secs_f64()),
            progress_age_seconds: view.progress_age(now.instant).as_secs_f64(),
            retention_left_seconds: view.retention_left(now.instant).map(|left| left.as_secs_f64()),
            behind_open_transaction: view.behind_open_transaction,
        }
    }
}

/// A lane on /status.
#[derive(Serialize)]
pub(super) struct LanePage {
    pub partitions: usize,
    pub batches_waiting: usize,
}

impl From<&LaneView> for LanePage {
    fn from(view: &LaneView) -> Self {
        Self { partitions: view.partitions, batches_waiting: view.batches_waiting }
    }
}

/// A broker on /status.
#[derive(Serialize)]
pub(super) struct BrokerPage {
    pub broker: String,
    pub round_trip_seconds: Option<f64>,
    pub throttle_seconds: f64,
    pub errors: u64,
}

impl From<&BrokerView> for BrokerPage {
    fn from(view: &BrokerView) -> Self {
        Self {
            broker: view.name.clone(),
            round_trip_seconds: view.round_trip.map(|time| time.as_secs_f64()),
            throttle_seconds: view.throttle.as_secs_f64(),
            errors: view.errors,
        }
    }
}

/// A route on /status.
#[derive(Serialize)]
pub(super) struct StatusRoute {
    #[serde(flatten)]
    pub ready: ReadyRoute,
    pub source: Option<i64>,
    /// Those that this process owns.
    #[serde(rename = "owned")]
    pub partitions: Vec<PartitionPage>,
    pub lanes: Vec<LanePage>,
    pub brokers: Vec<BrokerPage>,
    pub records: u64,
    /// Seconds since the loops last turned.
    pub reader_turned_seconds: f64,
    pub coordinator_turned_seconds: f64,
    pub seconds_since_stored: Option<f64>,
}
