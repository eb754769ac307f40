//! The probe of ClickHouse: can footprint log in, is the route's table there, and has it its rights on it?

use std::time::Instant;

use footprint_event::route::Route;
use footprint_service::config::Config;
use footprint_service::health::{Reporter, Severity};

use super::{report, severity};
use crate::store::clickhouse::migrate::Migrator;
use crate::store::clickhouse::rights::{Right, grant};

/// What to do if ClickHouse does not say it.
const OTHERWISE: &str = "is it up, are CH_HOST and CH_PORT right?";

/// Questions about one route's table.
pub(super) struct ClickHouseProbe {
    migrator: Migrator,
    route: Route,
    database: String,
    table: String,
    user: String,
}

impl ClickHouseProbe {
    pub(super) fn new(config: &Config, route: &Route) -> Self {
        Self {
            migrator: Migrator::new(&config.clickhouse),
            route: route.clone(),
            database: config.clickhouse.database.clone(),
            table: route.clickhouse_full_name(&config.clickhouse.database),
            user: config.clickhouse.user.clone(),
        }
    }

    /// Asks once.
    pub(super) async fn look(&self, reporter: &Reporter, began: Instant) {
        let rights = Right::of_route(&self.route, &self.database, &[]);
        match self.migrator.lacking(&rights).await {
            Err(error) => return report(reporter, severity(error.is_passing()), &error, OTHERWISE, began),
            Ok(missing) => {
                if let Some(statement) = grant(&missing, &self.user) {
                    let why = format!("the user {} lacks rights on {}", self.user, self.table);
                    let what_to_do = format!("as an administrator, run: {statement}");
                    return reporter.says(Severity::Lasting, why, what_to_do, began);
                }
            }
        }
        match self.migrator.find(&self.route).await {
            Ok(Some(_)) => reporter.good(),
            Ok(None) => {
                let why = format!("table {} is not there, or the user may not see it", self.table);
                reporter.says(Severity::Lasting, why, "run `footprint migrate`", began);
            }
            Err(error) => report(reporter, severity(error.is_passing()), &error, OTHERWISE, began),
        }
    }
}
