//! The materialized views on a route's table. An insert that is sent again is dropped by the table, and by the target of a view only
//! if that has a deduplication window, too.

use footprint_event::route::Route;
use footprint_service::config::Config;

use super::super::finding::{Findings, Line, Subject};
use crate::store::clickhouse::migrate::{MigrateError, Migrator};

/// The window that a target gets: as long as that of a table of footprint's own.
const WINDOW: u64 = 10_000;

pub(super) async fn check(
    migrator: &Migrator,
    config: &Config,
    route: &Route,
    subject: &Subject,
    findings: &mut Findings,
) -> Result<(), MigrateError> {
    let (database, table) = route.clickhouse_names(&config.clickhouse.database);
    let views = migrator.views(database, table).await?;
    for view in &views {
        if view.drops_repeats {
            continue;
        }
        let (name, target) = (&view.name, &view.target);
        let text = format!("view {name} stores a repeated insert twice, because {target} has no deduplication window");
        let remedy = format!("run: alter table {target} modify setting {} = {WINDOW}", view.setting);
        findings.wrong(Line::ClickHouseViews, subject, text, remedy);
    }
    if !views.is_empty() && views.iter().all(|view| view.drops_repeats) {
        let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
        findings.ok(Line::ClickHouseViews, subject, format!("views {} drop a repeated insert, too", names.join(", ")));
    }
    Ok(())
}
