//! Grafana's dashboards, made from one description: what a panel shows is in `operations.rs`, `behaviour.rs` and `both.rs`, its SQL for
//! each database is in `queries/`, and `runbook.rs` takes docs/runbook.md. So the twins cannot drift apart. The files are checked in; a test compares them with this.

mod behaviour;
mod both;
mod dashboard;
mod database;
mod layout;
mod look;
mod metrics;
mod operations;
mod panel;
mod question;
mod runbook;

use std::path::PathBuf;

use anyhow::Result;

use database::Database;

/// One file of `grafana/dashboards`.
#[derive(Debug)]
pub struct DashboardFile {
    /// Where it is.
    pub path: PathBuf,
    /// The JSON text, with a line end.
    pub text: String,
}

/// Every dashboard, as it must be checked in.
///
/// # Errors
/// A file of `queries/` is missing, or lacks the SQL for a database.
pub fn files() -> Result<Vec<DashboardFile>> {
    let folder = root().join("grafana/dashboards");
    let dashboards = [
        behaviour::dashboard(Database::PostgreSql)?,
        behaviour::dashboard(Database::ClickHouse)?,
        both::dashboard()?,
        operations::dashboard(),
        runbook::dashboard()?,
    ];
    let mut files = Vec::new();
    for dashboard in dashboards {
        let text = serde_json::to_string_pretty(&dashboard.json()?)? + "\n";
        files.push(DashboardFile { path: folder.join(format!("{}.json", dashboard.file)), text });
    }
    Ok(files)
}

/// The repository.
fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
