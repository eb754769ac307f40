//! One answer of a consumer: /status and /metrics, read as one. What an older or newer consumer does not say is absent. Pure.

use serde::Deserialize;

use super::samples::Samples;

/// Both pages.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub status: StatusPage,
    pub samples: Samples,
}

/// /status, as far as it is shown.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct StatusPage {
    pub version: String,
    pub pid: Option<u32>,
    pub started: Option<String>,
    pub uptime_seconds: Option<u64>,
    pub ready: bool,
    pub routes: Vec<StatusRoute>,
}

/// A route on /status.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct StatusRoute {
    pub route: String,
    pub ready: bool,
    #[serde(default)]
    pub joined: bool,
    #[serde(default)]
    pub draining: bool,
    #[serde(default)]
    pub ended: bool,
    #[serde(default)]
    pub components: Vec<StatusComponent>,
    #[serde(default)]
    pub owned: Vec<StatusPartition>,
    #[serde(default)]
    pub seconds_since_stored: Option<f64>,
}

/// A component on /status.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct StatusComponent {
    pub component: String,
    pub state: String,
    #[serde(default)]
    pub since: Option<String>,
    #[serde(default)]
    pub why: String,
    #[serde(default)]
    pub what_to_do: String,
}

/// A partition on /status.
#[derive(Deserialize, Clone, Debug)]
pub(super) struct StatusPartition {
    pub partition: i32,
    #[serde(default)]
    pub postgres_next: Option<i64>,
    #[serde(default)]
    pub clickhouse_next: Option<i64>,
    #[serde(default)]
    pub claims_pending: Option<u64>,
    #[serde(default)]
    pub log_end: Option<i64>,
    #[serde(default)]
    pub lag_records: Option<i64>,
}

impl StatusPartition {
    /// The offset below which every sink has stored everything.
    pub(super) fn lowest(&self) -> Option<i64> {
        self.postgres_next.into_iter().chain(self.clickhouse_next).min()
    }
}

impl Snapshot {
    /// # Errors
    /// The first page is not a consumer's /status.
    pub(super) fn parse(status: &str, metrics: &str) -> Result<Self, serde_json::Error> {
        Ok(Self { status: serde_json::from_str(status)?, samples: Samples::parse(metrics) })
    }

    /// A partition of a route.
    pub(super) fn partition(&self, route: &str, partition: i32) -> Option<&StatusPartition> {
        let route = self.status.routes.iter().find(|found| found.route == route)?;
        route.owned.iter().find(|found| found.partition == partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_consumer_does_not_say_is_absent_and_what_it_says_besides_is_passed_over() {
        let status = r#"{"version": "9", "ready": true, "new": [1], "routes": [
            {"route": "a", "ready": true, "more": {}, "owned": [{"partition": 3, "postgres_next": 7, "x": null}]}]}"#;
        let snapshot = Snapshot::parse(status, "").unwrap();
        let partition = snapshot.partition("a", 3).unwrap();
        assert_eq!((partition.lowest(), partition.log_end, partition.claims_pending), (Some(7), None, None));
        assert!(snapshot.partition("a", 4).is_none() && snapshot.partition("b", 3).is_none());
        assert_eq!((snapshot.status.pid, snapshot.status.started), (None, None));
    }

    #[test]
    fn the_status_of_something_else_is_refused() {
        for text in ["", "{}", "<html>", r#"{"version": "1", "status": "up"}"#, r#"{"ready": true, "routes": []}"#] {
            assert!(Snapshot::parse(text, "").is_err(), "{text}");
        }
    }
}
