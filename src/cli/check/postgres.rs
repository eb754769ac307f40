//! PostgreSQL's part of `check`: the settings that make an acknowledged commit last, the ledger, each route's table, rights.

use std::time::Duration;

use footprint_event::route::{Route, quoted};
use footprint_service::address::authority;
use footprint_service::config::Config;
use footprint_service::postgres::PostgresError;
use footprint_service::postgres::asked::{self, TABLES, Unfit};
use footprint_service::postgres::pool::Sessions;
use footprint_service::postgres::session::Purpose;
use footprint_service::report::Chain;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::Report;
use crate::ledger::statements::routes::registered;
use crate::store::postgres::migrate::{MigrateError, find, missing_rights, newest_version};
use crate::store::postgres::rights::VERSION_TABLE;
use crate::store::postgres::shape::plan;

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn check(config: &Config, report: &mut Report<'_>) {
    let client = match Sessions::new(&config.postgres, "footprint-check", Purpose::Check).get().await {
        Ok(client) => client,
        Err(error) => {
            return report.fault("postgresql", Chain(&error).to_string().trim_start_matches("postgresql at "));
        }
    };
    let parts = async {
        settings(&client, config, report).await?;
        rights_to_migrate(&client, config, report).await?;
        if !ledger(&client, report).await? {
            return Ok(());
        }
        for table in TABLES {
            rights_on(&client, config, table.name, table.rights, report).await?;
        }
        keeps_rows(&client, &TABLES.map(|table| table.name), report).await?;
        for route in &config.routes {
            route_table(&client, config, route, report).await?;
        }
        Ok::<(), String>(())
    };
    if let Err(why) = parts.await {
        report.fault("postgresql", why);
    }
}

/// The answer, or why there is none.
async fn ask<T>(asking: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, String> {
    match timeout(TIMEOUT, asking).await {
        Ok(answer) => answer.map_err(|error| Chain(&PostgresError::from(error)).to_string()),
        Err(_) => Err(format!("no answer in {TIMEOUT:?}; what else is it doing?")),
    }
}

async fn settings(client: &Client, config: &Config, report: &mut Report<'_>) -> Result<(), String> {
    let sql = "select current_setting('server_version'), pg_is_in_recovery(), current_setting('transaction_read_only'), \
               current_user::text, current_setting('search_path'), current_setting('session_replication_role')";
    let row = ask(client.query_one(sql, &[])).await?;
    let (version, user, path): (String, String, String) = (row.get(0), row.get(3), row.get(4));
    let postgres = &config.postgres;
    report.ok(
        "postgresql",
        format!("{}/{} answers, version {version}", authority(&postgres.host, postgres.port), postgres.database),
    );
    if row.get(1) {
        report.fault("postgresql", Unfit::Standby);
    } else if row.get::<_, String>(2) == "on" {
        report.fault("postgresql", Unfit::ReadOnly { user });
    }
    if row.get::<_, String>(5) != "origin" {
        report.note("postgresql", "session_replication_role is not origin: foreign keys and most triggers do not run");
    }
    // these make an acknowledged commit last, and an answer true; no session can set them
    for (name, wanted, harm) in [
        ("fsync", "on", "a crash of the machine loses acknowledged rows"),
        ("full_page_writes", "on", "a crash of the machine can leave torn pages"),
        ("zero_damaged_pages", "off", "a damaged page would look like a page without rows"),
        ("ignore_checksum_failure", "off", "a damaged page would be read as if it were whole"),
    ] {
        let value: String = ask(client.query_one("select current_setting($1)", &[&name])).await?.get(0);
        if value == wanted {
            report.ok(&format!("postgresql {name}"), wanted);
        } else {
            report.fault(&format!("postgresql {name}"), format!("{value}: {harm}; set {name} = {wanted}"));
        }
    }
    let what = "footprint sets everything that it depends on, whatever the role's settings are";
    report.ok("postgresql session", format!("{what}; tables are looked for in {path}"));
    Ok(())
}

/// Whether the user has the rights for what `migrate` still has to do.
async fn rights_to_migrate(client: &Client, config: &Config, report: &mut Report<'_>) -> Result<(), String> {
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|route| {
            let (database, table) = route.clickhouse_names(&config.clickhouse.database);
            (route, format!("{database}.{table}"))
        })
        .collect();
    match missing_rights(client, &routes, config.postgres.enabled).await {
        Ok(missing) if missing.is_empty() => report.ok("postgresql rights", "the user has the rights that it needs"),
        Ok(missing) => {
            report.fault("postgresql rights", format!("as an administrator, run: {}", missing.join("; ")));
        }
        // reported with the route and the table themselves
        Err(MigrateError::Shape(_) | MigrateError::TablesInUse(_)) => {}
        Err(error) => return Err(Chain(&error).to_string()),
    }
    Ok(())
}

/// Whether there is a ledger at all.
async fn ledger(client: &Client, report: &mut Report<'_>) -> Result<bool, String> {
    let there = ask(client.query_one("select to_regclass($1::text) is not null", &[&VERSION_TABLE])).await?;
    if !there.get::<_, bool>(0) {
        report.fault("ledger", "is not there; run `footprint migrate`");
        return Ok(false);
    }
    let sql = format!("select coalesce(max(version), 0) from {VERSION_TABLE}");
    let have: i32 = ask(client.query_one(&sql, &[])).await?.get(0);
    let need = newest_version();
    match have.cmp(&need) {
        std::cmp::Ordering::Equal => report.ok("ledger", format!("version {have}")),
        std::cmp::Ordering::Less => {
            report.fault("ledger", format!("version {have}, this program needs {need}; run `footprint migrate`"));
        }
        std::cmp::Ordering::Greater => {
            report.fault("ledger", format!("version {have}, this program knows {need}; use the newer program"));
        }
    }
    Ok(true)
}

async fn rights_on(
    client: &Client,
    config: &Config,
    table: &str,
    rights: &[&str],
    report: &mut Report<'_>,
) -> Result<(), String> {
    let what = format!("postgresql table {table}");
    let sql = "select has_table_privilege(to_regclass($1::text), $2::text)";
    let mut missing = Vec::new();
    for right in rights {
        match ask(client.query_one(sql, &[&quoted(table), right])).await?.get::<_, Option<bool>>(0) {
            Some(true) => {}
            Some(false) => missing.push(*right),
            None => {
                report.fault(&what, "is not there; run `footprint migrate`");
                return Ok(());
            }
        }
    }
    if missing.is_empty() {
        report.ok(&what, format!("may {}", rights.join(", ")));
    } else {
        report
            .fault(&what, format!("as its owner, grant {} on {table} to {}", missing.join(", "), config.postgres.user));
    }
    Ok(())
}

async fn route_table(client: &Client, config: &Config, route: &Route, report: &mut Report<'_>) -> Result<(), String> {
    let (database, table) = route.clickhouse_names(&config.clickhouse.database);
    let owners = ask(registered(client, route, &format!("{database}.{table}"))).await?;
    let what = format!("route {}", route.name);
    match owners.iter().find(|owner| !owner.is_ours) {
        Some(other) => report.fault(
            &what,
            format!(
                "{} and {} belong to route {} for good; give other tables another route name",
                other.postgres_table, other.clickhouse_table, other.route
            ),
        ),
        None if owners.is_empty() => report.fault(&what, "is not registered; run `footprint migrate`"),
        None => report.ok(&what, format!("has {} and {database}.{table} to itself", route.postgres_table)),
    }
    let what = format!("postgresql table {}", route.postgres_table);
    if !config.postgres.enabled {
        report.ok(&what, "switched off (postgres.enabled)");
        return Ok(());
    }
    let found = ask(find(client, &route.postgres_table)).await?;
    match plan(route, found.as_ref()) {
        Err(error) => report.fault(&what, error.why),
        Ok(_) if found.is_none() => report.fault(&what, "is not there; run `footprint migrate`"),
        Ok(changes) if changes.is_empty() => report.ok(&what, "columns, types and indexes are right"),
        Ok(changes) => {
            let changes: Vec<String> = changes.into_iter().map(|change| change.what).collect();
            report.fault(&what, format!("run `footprint migrate`; it will report: {}", changes.join("; ")));
        }
    }
    if found.is_some() {
        rights_on(client, config, &route.postgres_table, &["select", "insert"], report).await?;
        keeps_rows(client, &[&route.postgres_table], report).await?;
    }
    Ok(())
}

/// Whether tables keep and show every row, and what may change or refuse a row on its way.
async fn keeps_rows(client: &Client, tables: &[&str], report: &mut Report<'_>) -> Result<(), String> {
    let user: String = ask(client.query_one("select current_user::text", &[])).await?.get(0);
    for facts in ask(asked::facts(client, tables)).await? {
        let what = format!("postgresql table {}", facts.name);
        if let Some(unfit) = facts.unfit(&user) {
            report.fault(&what, unfit);
        }
        if !facts.before_triggers.is_empty() {
            let triggers = facts.before_triggers.join(", ");
            report.note(
                &what,
                format!("trigger {triggers} runs before each row; footprint stops if it drops a row without an error"),
            );
        }
        // the constraints of the tables that every installation has are ours
        if !facts.conditions.is_empty() && !TABLES.iter().any(|table| table.name == facts.name) {
            report.note(&what, format!("may refuse an event: {}", facts.conditions.join(", ")));
        }
    }
    Ok(())
}
