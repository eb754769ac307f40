//! The shape of /readyz and /status in JSON. `footprint health` reads what `run` writes.

use serde::{Deserialize, Serialize};

use crate::status::PartitionView;

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
    pub routes: Vec<StatusRoute>,
}

/// A partition on /status.
#[derive(Serialize)]
pub(super) struct PartitionPage {
    pub partition: i32,
    pub postgres_next: Option<i64>,
    pub clickhouse_next: Option<i64>,
    pub claims_pending: usize,
    pub log_end: Option<i64>,
    pub lag_records: Option<i64>,
}

impl From<&PartitionView> for PartitionPage {
    fn from(view: &PartitionView) -> Self {
        let PartitionView { partition, claims_pending, postgres_next, clickhouse_next, log_end } = *view;
        Self { partition, postgres_next, clickhouse_next, claims_pending, log_end, lag_records: view.lag() }
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
    pub records: u64,
    /// Seconds since the loops last turned.
    pub reader_turned_seconds: f64,
    pub coordinator_turned_seconds: f64,
    pub seconds_since_stored: Option<f64>,
}
