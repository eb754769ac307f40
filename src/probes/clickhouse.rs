//! The probe of ClickHouse: can footprint log in, is the route's table there, and has it its rights on it?

use std::time::{Duration, Instant};

use footprint_event::route::Route;
use footprint_service::config::Config;
use footprint_service::health::{Reporter, Severity};
use footprint_service::metrics;
use footprint_service::report::Chain;
use parking_lot::Mutex;
use tracing::debug;

use super::severity;
use crate::store::clickhouse::migrate::Migrator;
use crate::store::clickhouse::rights::{Right, grant};

/// How often the table's parts are counted.
const PARTS_INTERVAL: Duration = Duration::from_secs(15);
/// What to do if ClickHouse does not say it.
const OTHERWISE: &str = "is it up, are CH_HOST and CH_PORT right?";

/// Questions about one route's table.
pub(super) struct ClickHouseProbe {
    migrator: Migrator,
    route: Route,
    database: String,
    table: String,
    user: String,
    parts_asked_at: Mutex<Option<Instant>>,
}

impl ClickHouseProbe {
    pub(super) fn new(config: &Config, route: &Route) -> Self {
        Self {
            migrator: Migrator::new(&config.clickhouse),
            route: route.clone(),
            database: config.clickhouse.database.clone(),
            table: route.clickhouse_full_name(&config.clickhouse.database),
            user: config.clickhouse.user.clone(),
            parts_asked_at: Mutex::new(None),
        }
    }

    /// Counts the table's parts for /metrics, from time to time.
    async fn count_parts(&self, now: Instant) {
        let is_due = |asked_at: Option<Instant>| asked_at.is_none_or(|at| now >= at + PARTS_INTERVAL);
        if !is_due(*self.parts_asked_at.lock()) {
            return;
        }
        *self.parts_asked_at.lock() = Some(now);
        match self.migrator.active_parts(&self.route).await {
            Ok(Some(active)) => metrics::clickhouse_parts(&self.route.name, active),
            Ok(None) => {}
            Err(error) => debug!("{}", Chain(&error)),
        }
    }

    /// Asks once.
    pub(super) async fn look(&self, reporter: &Reporter, began: Instant) {
        let rights = Right::of_route(&self.route, &self.database, &[]);
        match self.migrator.lacking(&rights).await {
            Err(error) => return reporter.bad_or(severity(error.is_passing()), &error, OTHERWISE, began),
            Ok(missing) => {
                if let Some(statement) = grant(&missing, &self.user) {
                    let why = format!("the user {} lacks rights on {}", self.user, self.table);
                    let what_to_do = format!("as an administrator, run: {statement}");
                    return reporter.says(Severity::Lasting, why, what_to_do, began);
                }
            }
        }
        match self.migrator.find(&self.route).await {
            Ok(Some(_)) => {
                reporter.good();
                self.count_parts(began).await;
            }
            Ok(None) => {
                let why = format!("table {} is not there, or the user may not see it", self.table);
                reporter.says(Severity::Lasting, why, "run `footprint migrate`", began);
            }
            Err(error) => reporter.bad_or(severity(error.is_passing()), &error, OTHERWISE, began),
        }
    }
}
