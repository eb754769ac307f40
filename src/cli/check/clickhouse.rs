//! ClickHouse's part of `check`: each route's table, the settings that make an insert exactly once, rights.

mod host;
mod probe;
mod views;

use footprint_event::route::Route;
use footprint_service::address::authority;
use footprint_service::config::Config;

use super::clocks::Clock;
use super::finding::{Findings, Line, Subject};
use crate::store::clickhouse::migrate::{MigrateError, Migrator};
use crate::store::clickhouse::rights::grant;
use crate::store::clickhouse::scratch::Scratch;
use crate::store::clickhouse::shape::{FoundTable, SETTINGS, plan, sorted_by};

/// What to do if the error does not say it.
const UNREACHED: &str = "is it up, are CH_HOST and CH_PORT right?";

/// With `scratch`, also probes.
pub(super) async fn check(config: &Config, scratch: Option<&Scratch>, findings: &mut Findings) {
    let server = Subject::shared("clickhouse");
    if !config.clickhouse.enabled {
        return findings.ok(Line::ClickHouseAnswers, &server, "switched off (clickhouse.enabled)");
    }
    let migrator = Migrator::new(&config.clickhouse);
    let clickhouse = &config.clickhouse;
    let address = authority(&clickhouse.host, clickhouse.port);
    // side by side, because a silent server takes the whole time for each
    let (version, login) = tokio::join!(migrator.version(), migrator.check_login());
    match version {
        Ok(version) => {
            findings.ok(Line::ClickHouseAnswers, &server, format!("{address} answers, version {version}"));
            let text = "the user may set every setting that footprint depends on";
            findings.ok(Line::ClickHouseSettings, &Subject::shared("clickhouse settings"), text);
        }
        // every request would be refused in the same way
        Err(error) => {
            let (line, label) = match login {
                Ok(()) => (Line::ClickHouseSettings, "clickhouse settings"),
                Err(_) => (Line::ClickHouseAnswers, "clickhouse"),
            };
            return failed(line, &Subject::shared(format!("{label}: {address}")), &error, findings);
        }
    }
    host::check(&clickhouse.host, findings);
    let parts = async {
        let clock = Clock::before();
        clock.compare(Line::ClickHouseClock, "clickhouse", migrator.clock().await?, findings);
        for route in &config.routes {
            route_table(&migrator, config, route, scratch, findings).await?;
        }
        Ok(())
    };
    if let Err(error) = parts.await {
        failed(Line::ClickHouseAnswers, &server, &error, findings);
    }
}

/// Drops the scratch tables of a probe that was interrupted.
pub(super) async fn clean(config: &Config, scratch: &Scratch) -> Result<(), MigrateError> {
    let migrator = Migrator::new(&config.clickhouse);
    for route in &config.routes {
        migrator.drop_scratch(route, scratch).await?;
    }
    Ok(())
}

fn failed(line: Line, subject: &Subject, error: &MigrateError, findings: &mut Findings) {
    let (why, remedy) = error.parts();
    findings.wrong(line, subject, why, if remedy.is_empty() { UNREACHED.to_owned() } else { remedy });
}

/// # Errors
/// ClickHouse refuses a question or does not answer: then it will not answer the others either.
async fn route_table(
    migrator: &Migrator,
    config: &Config,
    route: &Route,
    scratch: Option<&Scratch>,
    findings: &mut Findings,
) -> Result<(), MigrateError> {
    let (database, table) = route.clickhouse_names(&config.clickhouse.database);
    let subject = Subject::of(route, format!("clickhouse table {database}.{table}"));
    rights(migrator, config, route, &subject, findings).await?;
    let Some(found) = migrator.find(route).await? else {
        let text = "is not there, or the user may not see it";
        findings.wrong(Line::ClickHouseTable, &subject, text, "run `footprint migrate`");
        return Ok(());
    };
    shape(config, route, &found, &subject, findings);
    let names = migrator.constraints(database, table).await?;
    if !names.is_empty() {
        let text = format!("a row that {} refuses becomes a dead letter for clickhouse", names.join(", "));
        let statements = names.iter().map(|name| format!("alter table {database}.{table} drop constraint {name}"));
        let remedy = format!("to store such rows, too, run: {}", statements.collect::<Vec<_>>().join("; "));
        findings.wrong(Line::ClickHouseConstraints, &subject, text, remedy);
    }
    views::check(migrator, config, route, &subject, findings).await?;
    match scratch {
        Some(scratch) => probe::check(migrator, config, route, scratch, findings).await,
        None => Ok(()),
    }
}

/// Whether the table has the settings and the columns that it needs.
fn shape(config: &Config, route: &Route, found: &FoundTable, subject: &Subject, findings: &mut Findings) {
    let lacking: Vec<&str> =
        SETTINGS.iter().filter(|(name, least)| !found.has_setting(name, *least)).map(|(name, _)| *name).collect();
    if lacking.is_empty() {
        let text = SETTINGS.map(|(name, _)| name).join(", ") + " are set";
        findings.ok(Line::ClickHouseTableSettings, subject, text);
    } else {
        let text = format!("{} not set: a retried insert may be doubled, or lost in a crash", lacking.join(", "));
        findings.wrong(Line::ClickHouseTableSettings, subject, text, "run `footprint migrate`");
    }
    match plan(route, &config.clickhouse.database, Some(found)) {
        Err(error) => findings.wrong(Line::ClickHouseTable, subject, error.why, ""),
        Ok(changes) => {
            let changes: Vec<String> =
                changes.into_iter().map(|change| change.what).filter(|change| !change.starts_with("set ")).collect();
            if changes.is_empty() {
                findings.ok(Line::ClickHouseTable, subject, remarks(route, found));
            } else {
                let remedy = format!("run `footprint migrate`; it will report: {}", changes.join("; "));
                findings.wrong(Line::ClickHouseTable, subject, "lacks something", remedy);
            }
        }
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
async fn rights(
    migrator: &Migrator,
    config: &Config,
    route: &Route,
    subject: &Subject,
    findings: &mut Findings,
) -> Result<(), MigrateError> {
    match migrator.missing_rights(route).await {
        Ok(missing) => match grant(&missing, &config.clickhouse.user) {
            None => findings.ok(Line::ClickHouseRights, subject, "the user has the rights that it needs"),
            Some(statement) => {
                let remedy = format!("as an administrator, run: {statement}");
                findings.wrong(Line::ClickHouseRights, subject, "the user lacks rights", remedy);
            }
        },
        // reported with the table itself
        Err(MigrateError::Shape(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
