//! The probe of PostgreSQL: can footprint log in and write, are its tables there, and has it its rights on them?

use std::time::Instant;

use footprint_event::route::Route;
use footprint_service::config::{Config, Postgres};
use footprint_service::health::Reporter;
use footprint_service::postgres::asked::{self, TABLES, Unfit};
use footprint_service::postgres::session::Purpose;
use footprint_service::postgres::{connect, is_passing_connect};
use tokio_postgres::Client;

use super::severity;

/// The rights on a route's table that `run` needs.
const ROWS_RIGHTS: [&str; 2] = ["select", "insert"];

/// Questions about the ledger and one route's table.
pub(super) struct PostgresProbe {
    settings: Postgres,
    route: Route,
    is_on: bool,
}

impl PostgresProbe {
    pub(super) fn new(config: &Config, route: &Route) -> Self {
        Self { settings: config.postgres.clone(), route: route.clone(), is_on: config.postgres.enabled }
    }

    /// Asks once, on a new connection: a login that is refused now ends no connection that is open.
    pub(super) async fn look(&self, ledger: &Reporter, rows: &Reporter, began: Instant) {
        let client = match connect(&self.settings, "footprint health", Purpose::Check).await {
            Ok(client) => client,
            Err(error) => {
                let severity = severity(is_passing_connect(&error));
                ledger.bad(severity, &error, began);
                return rows.bad(severity, &error, began);
            }
        };
        let tables: Vec<(&str, &[&str])> = TABLES.iter().map(|table| (table.name, table.rights)).collect();
        answered(may_store(&client, &tables, None).await, ledger, began);
        if self.is_on {
            let table = [(self.route.postgres_table.as_str(), &ROWS_RIGHTS[..])];
            answered(may_store(&client, &table, Some(&self.route)).await, rows, began);
        }
    }
}

async fn may_store(client: &Client, tables: &[(&str, &[&str])], route: Option<&Route>) -> Result<(), Unfit> {
    let names: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
    asked::may_write(client, if route.is_none() { &names } else { &[] }, route).await?;
    asked::may_use(client, tables).await
}

fn answered(answer: Result<(), Unfit>, reporter: &Reporter, began: Instant) {
    match answer {
        Ok(()) => reporter.good(),
        Err(error) => {
            let severity = severity(matches!(error, Unfit::Postgres(_) | Unfit::Standby(_)));
            reporter.bad(severity, &error, began);
        }
    }
}
