//! `check --probe`: one block, inserted twice with one token into a scratch table, must be stored once. This proves that deduplication
//! works on this server, which the settings alone do not.

use footprint_event::route::Route;
use footprint_service::config::Config;

use super::super::finding::{Findings, Line, Subject};
use crate::store::clickhouse::migrate::{MigrateError, Migrator};
use crate::store::clickhouse::rights::grant;
use crate::store::clickhouse::scratch::Scratch;

/// Probes with a table like the route's, which exists. The scratch table is dropped before this returns.
pub(super) async fn check(
    migrator: &Migrator,
    config: &Config,
    route: &Route,
    scratch: &Scratch,
    findings: &mut Findings,
) -> Result<(), MigrateError> {
    let subject = Subject::of(route, format!("clickhouse probe for {}", route.clickhouse_table));
    let missing = migrator.missing_to_probe(route).await?;
    if let Some(statement) = grant(&missing, &config.clickhouse.user) {
        let remedy = format!("as an administrator, run: {statement}");
        findings.wrong(Line::ClickHouseProbe, &subject, "the user may not make a scratch table", remedy);
        return Ok(());
    }
    let probed = migrator.probe(route, scratch).await;
    migrator.drop_scratch(route, scratch).await?;
    match probed? {
        1 => findings.ok(Line::ClickHouseProbe, &subject, "a block that was inserted twice was stored once"),
        count => {
            let text = format!("a block that was inserted twice was stored {count} times: a retried insert is doubled");
            findings.wrong(
                Line::ClickHouseProbe,
                &subject,
                text,
                "run `footprint migrate`, then `footprint check --probe`",
            );
        }
    }
    Ok(())
}
