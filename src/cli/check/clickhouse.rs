//! ClickHouse's part of `check`: each route's table, the settings that make an insert exactly once, rights.

use footprint_event::route::Route;
use footprint_service::address::authority;
use footprint_service::config::Config;

use super::Report;
use crate::store::clickhouse::migrate::{MigrateError, Migrator};
use crate::store::clickhouse::rights::grant;
use crate::store::clickhouse::shape::{FoundTable, SETTINGS, plan, sorted_by};

pub(super) async fn check(config: &Config, report: &mut Report<'_>) {
    if !config.clickhouse.enabled {
        return report.ok("clickhouse", "switched off (clickhouse.enabled)");
    }
    let migrator = Migrator::new(&config.clickhouse);
    let clickhouse = &config.clickhouse;
    let address = authority(&clickhouse.host, clickhouse.port);
    match migrator.version().await {
        Ok(version) => {
            report.ok("clickhouse", format!("{address} answers, version {version}"));
            report.ok("clickhouse settings", "the user may set every setting that footprint depends on");
        }
        // every request would be refused in the same way
        Err(error) if migrator.check_login().await.is_ok() => {
            return report.fault("clickhouse settings", format!("{address}: {}", error.why()));
        }
        Err(error) => return report.fault("clickhouse", format!("{address}: {}", error.why())),
    }
    for route in &config.routes {
        route_table(&migrator, config, route, report).await;
    }
}

async fn route_table(migrator: &Migrator, config: &Config, route: &Route, report: &mut Report<'_>) {
    let (database, table) = route.clickhouse_names(&config.clickhouse.database);
    let what = format!("clickhouse table {database}.{table}");
    rights(migrator, config, route, &what, report).await;
    let found = match migrator.find(route).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            return report.fault(&what, "is not there, or the user may not see it; run `footprint migrate`");
        }
        Err(error) => return report.fault(&what, error.why()),
    };
    let lacking: Vec<&str> =
        SETTINGS.iter().filter(|(name, least)| !found.has_setting(name, *least)).map(|(name, _)| *name).collect();
    if lacking.is_empty() {
        report.ok(&what, SETTINGS.map(|(name, _)| name).join(", ") + " are set");
    } else {
        report.fault(
            &what,
            format!(
                "{} not set: a retried insert may be doubled, or lost in a crash; run `footprint migrate`",
                lacking.join(", ")
            ),
        );
    }
    match plan(route, &config.clickhouse.database, Some(&found)) {
        Err(error) => report.fault(&what, error.why),
        Ok(changes) => {
            let changes: Vec<String> =
                changes.into_iter().map(|change| change.what).filter(|change| !change.starts_with("set ")).collect();
            if changes.is_empty() {
                report.ok(&what, remarks(route, &found));
            } else {
                report.fault(&what, format!("run `footprint migrate`; it will report: {}", changes.join("; ")));
            }
        }
    }
    match migrator.constraints(database, table).await {
        Ok(names) if names.is_empty() => {}
        Ok(names) => {
            let names = names.join(", ");
            report.note(&what, format!("a row that {names} refuses becomes a dead letter for clickhouse"));
        }
        Err(error) => report.fault(&what, error.why()),
    }
}

/// What is in order, and what differs from a table of footprint's own without being a fault.
fn remarks(route: &Route, found: &FoundTable) -> String {
    let mut text = "columns and types are right".to_owned();
    if found.engine != "MergeTree" {
        text.push_str(&format!("; {}: not proven here; plain MergeTree is", found.engine));
    }
    if found.sorting_key.replace('`', "") != sorted_by(route) {
        text.push_str(&format!("; adopted, keeps its order by {}", found.sorting_key));
    }
    if found.partition_key.replace('`', "") != "toYYYYMM(received_at)" {
        match found.partition_key.as_str() {
            "" => text.push_str("; adopted, stays without partitions"),
            key => text.push_str(&format!("; adopted, keeps its partition by {key}")),
        }
    }
    text
}

/// Whether the user has the rights that `run` needs, and what `migrate` still has to do.
async fn rights(migrator: &Migrator, config: &Config, route: &Route, what: &str, report: &mut Report<'_>) {
    match migrator.missing_rights(route).await {
        Ok(missing) => match grant(&missing, &config.clickhouse.user) {
            None => report.ok(what, "the user has the rights that it needs"),
            Some(statement) => report.fault(what, format!("as an administrator, run: {statement}")),
        },
        // reported with the table itself
        Err(MigrateError::Shape(_)) => {}
        Err(error) => report.fault(what, error.why()),
    }
}
