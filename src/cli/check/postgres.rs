//! PostgreSQL's part of `check`: the settings that make an acknowledged commit last, the ledger, each route's table, rights.

use std::cmp::Ordering;

use footprint_event::route::Route;
use footprint_service::address::authority;
use footprint_service::config::Config;
use footprint_service::postgres::PostgresError;
use footprint_service::postgres::asked::{self, TABLES, Unfit};
use footprint_service::postgres::pool::Sessions;
use footprint_service::postgres::session::Purpose;
use footprint_service::report::Chain;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::QUESTION_MAX;
use super::clocks::Clock;
use super::finding::{Findings, Line, Subject};
use crate::ledger::statements::routes::registered;
use crate::store::postgres::migrate::{MigrateError, find, missing_rights, newest_version};
use crate::store::postgres::rights::VERSION_TABLE;
use crate::store::postgres::shape::plan;

/// What to do if a table or the ledger is missing.
const MIGRATE: &str = "run `footprint migrate`";

/// The settings that make an acknowledged commit last, and an answer true. No session can set them. Each with the value that it needs,
/// and the harm of another.
const SETTINGS: [(Line, &str, &str, &str); 4] = [
    (Line::PostgresFsync, "fsync", "on", "a crash of the machine loses acknowledged rows"),
    (Line::PostgresFullPageWrites, "full_page_writes", "on", "a crash of the machine can leave torn pages"),
    (Line::PostgresZeroDamagedPages, "zero_damaged_pages", "off", "a damaged page would look like a page without rows"),
    (
        Line::PostgresIgnoreChecksumFailure,
        "ignore_checksum_failure",
        "off",
        "a damaged page would be read as if it were whole",
    ),
];

pub(super) async fn check(config: &Config, findings: &mut Findings) {
    let server = Subject::shared("postgresql");
    let client = match Sessions::new(&config.postgres, "footprint-check", Purpose::Check).get().await {
        Ok(client) => client,
        Err(error) => return findings.failed(Line::PostgresAnswers, &server, &error),
    };
    let parts = async {
        answers(&client, config, findings).await?;
        settings(&client, findings).await?;
        rights_to_migrate(&client, config, findings).await?;
        if !ledger(&client, findings).await? {
            return Ok(());
        }
        for route in &config.routes {
            route_table(&client, config, route, findings).await?;
        }
        Ok::<(), String>(())
    };
    if let Err(why) = parts.await {
        findings.wrong(Line::PostgresAnswers, &server, why, "see its log");
    }
}

/// The answer, or why there is none.
async fn ask<T>(asking: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, String> {
    match timeout(QUESTION_MAX, asking).await {
        Ok(answer) => answer.map_err(|error| Chain(&PostgresError::from(error)).to_string()),
        Err(_) => Err(format!("no answer in {QUESTION_MAX:?}")),
    }
}

async fn answers(client: &Client, config: &Config, findings: &mut Findings) -> Result<(), String> {
    let sql = "select current_setting('server_version'), current_setting('search_path'), \
               (select source from pg_settings where name = 'session_replication_role' and setting <> 'origin')";
    let row = ask(client.query_one(sql, &[])).await?;
    let (version, path): (String, String) = (row.get(0), row.get(1));
    let postgres = &config.postgres;
    let server = Subject::shared("postgresql");
    let address = format!("{}/{}", authority(&postgres.host, postgres.port), postgres.database);
    let text = format!("{address} answers, version {version}; tables are looked for in {path}");
    findings.ok(Line::PostgresAnswers, &server, text);
    let clock = Clock::before();
    let row_of_clock = ask(client.query_one("select extract(epoch from clock_timestamp())::float8", &[])).await?;
    clock.compare(Line::PostgresClock, "postgresql", row_of_clock.get(0), findings);
    match timeout(QUESTION_MAX, asked::takes_writes(client)).await {
        Ok(Ok(_)) => findings.ok(Line::PostgresWrites, &server, "takes writes"),
        Ok(Err(Unfit::Postgres(error))) => return Err(Chain(&PostgresError::from(error)).to_string()),
        Ok(Err(error)) => findings.failed(Line::PostgresWrites, &server, &error),
        Err(_) => return Err(format!("no answer in {QUESTION_MAX:?}")),
    }
    if let Some(source) = row.get::<_, Option<String>>(2) {
        let text = "session_replication_role is not origin: foreign keys and most triggers do not run";
        let remedy = set_again(client, "session_replication_role", "origin", &source).await?;
        findings.wrong(Line::PostgresReplicationRole, &server, text, remedy);
    }
    Ok(())
}

async fn settings(client: &Client, findings: &mut Findings) -> Result<(), String> {
    for (line, name, wanted, harm) in SETTINGS {
        let sql = "select current_setting($1), coalesce((select source from pg_settings where name = $1), '')";
        let row = ask(client.query_one(sql, &[&name])).await?;
        let (value, source): (String, String) = (row.get(0), row.get(1));
        let subject = Subject::shared(format!("postgresql {name}"));
        if value == wanted {
            findings.ok(line, &subject, wanted);
        } else {
            let remedy = set_again(client, name, wanted, &source).await?;
            findings.wrong(line, &subject, format!("{value}: {harm}"), remedy);
        }
    }
    Ok(())
}

/// The statement that sets a setting right, where it was set.
async fn set_again(client: &Client, name: &str, wanted: &str, source: &str) -> Result<String, String> {
    let sql = "select quote_ident(current_user), quote_ident(current_database())";
    let row = ask(client.query_one(sql, &[])).await?;
    let (user, database): (String, String) = (row.get(0), row.get(1));
    Ok(asked::statement_to_set(name, wanted, source, &user, &database))
}

/// Whether the user has the rights for what `migrate` still has to do.
async fn rights_to_migrate(client: &Client, config: &Config, findings: &mut Findings) -> Result<(), String> {
    let database = &config.clickhouse.database;
    let routes: Vec<_> = config.routes.iter().map(|route| (route, route.clickhouse_full_name(database))).collect();
    let subject = Subject::shared("postgresql rights");
    match missing_rights(client, &routes, config.postgres.enabled).await {
        Ok(missing) if missing.is_empty() => {
            findings.ok(Line::PostgresRights, &subject, "the user has the rights that it needs");
        }
        Ok(missing) => {
            let remedy = format!("as an administrator, run: {}", missing.join("; "));
            findings.wrong(Line::PostgresRights, &subject, "the user lacks rights", remedy);
        }
        // reported with the route and the table themselves
        Err(MigrateError::Shape(_) | MigrateError::TablesInUse(_)) => {}
        Err(error) => return Err(Chain(&error).to_string()),
    }
    Ok(())
}

/// Whether there is a ledger at all, and the answers about its tables.
async fn ledger(client: &Client, findings: &mut Findings) -> Result<bool, String> {
    let subject = Subject::shared("ledger");
    let there = ask(client.query_one("select to_regclass($1::text) is not null", &[&VERSION_TABLE])).await?;
    if !there.get::<_, bool>(0) {
        findings.wrong(Line::LedgerVersion, &subject, "is not there", MIGRATE);
        return Ok(false);
    }
    let sql = format!("select coalesce(max(version), 0) from {VERSION_TABLE}");
    let have: i32 = ask(client.query_one(&sql, &[])).await?.get(0);
    let need = newest_version();
    match have.cmp(&need) {
        Ordering::Equal => findings.ok(Line::LedgerVersion, &subject, format!("version {have}")),
        Ordering::Less => {
            let text = format!("version {have}, this program needs {need}");
            findings.wrong(Line::LedgerVersion, &subject, text, MIGRATE);
        }
        Ordering::Greater => {
            let text = format!("version {have}, this program knows {need}");
            findings.wrong(Line::LedgerVersion, &subject, text, "use the newer program");
        }
    }
    let tables = TABLES.map(|table| (table.name, table.rights));
    let unusable = ask(asked::unusable(client, &tables)).await?;
    unusable.iter().for_each(|unfit| findings.failed(Line::LedgerTables, &subject, unfit));
    if unusable.is_empty() {
        let text = format!("{} are there, with the rights on them", TABLES.map(|table| table.name).join(", "));
        findings.ok(Line::LedgerTables, &subject, text);
    }
    keeps_rows(client, None, &TABLES.map(|table| table.name), findings).await?;
    Ok(true)
}

async fn route_table(client: &Client, config: &Config, route: &Route, findings: &mut Findings) -> Result<(), String> {
    let clickhouse_table = route.clickhouse_full_name(&config.clickhouse.database);
    let table = &route.postgres_table;
    let owners = ask(registered(client, route, &clickhouse_table)).await?;
    let subject = Subject::of(route, format!("route {}", route.name));
    match owners.iter().find(|owner| !owner.is_ours) {
        Some(other) => {
            let text = format!(
                "{} and {} belong to route {} for good",
                other.postgres_table, other.clickhouse_table, other.route
            );
            findings.wrong(Line::RouteTables, &subject, text, "give other tables another route name");
        }
        None if owners.is_empty() => findings.wrong(Line::RouteTables, &subject, "is not registered", MIGRATE),
        None => {
            findings.ok(Line::RouteTables, &subject, format!("has {table} and {clickhouse_table} to itself"));
        }
    }
    let subject = Subject::of(route, format!("postgresql table {table}"));
    if !config.postgres.enabled {
        findings.ok(Line::PostgresTable, &subject, "switched off (postgres.enabled)");
        return Ok(());
    }
    let found = ask(find(client, table)).await?;
    match plan(route, found.as_ref()) {
        Err(error) => findings.wrong(Line::PostgresTable, &subject, error.why, ""),
        Ok(_) if found.is_none() => findings.wrong(Line::PostgresTable, &subject, "is not there", MIGRATE),
        Ok(changes) if changes.is_empty() => {
            findings.ok(Line::PostgresTable, &subject, "columns, types and indexes are right");
        }
        Ok(changes) => {
            let changes: Vec<String> = changes.into_iter().map(|change| change.what).collect();
            let remedy = format!("{MIGRATE}; it will report: {}", changes.join("; "));
            findings.wrong(Line::PostgresTable, &subject, "lacks something", remedy);
        }
    }
    if found.is_none() {
        return Ok(());
    }
    let unusable = ask(asked::unusable(client, &[(table, &["select", "insert"])])).await?;
    unusable.iter().for_each(|unfit| findings.failed(Line::PostgresTableRights, &subject, unfit));
    if unusable.is_empty() {
        findings.ok(Line::PostgresTableRights, &subject, "may select, insert");
    }
    keeps_rows(client, Some(route), &[table], findings).await
}

/// Whether tables keep and show every row, and what may change or refuse a row on its way. `route` is the tables' route, if they belong
/// to one.
async fn keeps_rows(
    client: &Client,
    route: Option<&Route>,
    tables: &[&str],
    findings: &mut Findings,
) -> Result<(), String> {
    let user: String = ask(client.query_one("select quote_ident(current_user)", &[])).await?.get(0);
    for facts in ask(asked::facts(client, tables)).await? {
        let label = format!("postgresql table {}", facts.name);
        let subject = route.map_or_else(|| Subject::shared(&label), |route| Subject::of(route, &label));
        match facts.unfit(&user) {
            Some(unfit @ Unfit::RowSecurity { .. }) => findings.failed(Line::PostgresRowSecurity, &subject, &unfit),
            Some(unfit) => findings.failed(Line::PostgresUnlogged, &subject, &unfit),
            None => {}
        }
        if !facts.before_triggers.is_empty() {
            let triggers = facts.before_triggers.join(", ");
            let text =
                format!("trigger {triggers} runs before each row; footprint stops if it drops a row without an error");
            let remedy = format!("if it is not needed, run: alter table {} disable trigger {triggers}", facts.name);
            findings.wrong(Line::PostgresTriggers, &subject, text, remedy);
        }
        // the constraints of the tables that every installation has are ours
        if !facts.conditions.is_empty() && route.is_some() {
            let text = format!("{} may refuse an event, which then becomes a dead letter", facts.conditions.join(", "));
            let statements: Vec<String> = facts
                .conditions
                .iter()
                .map(|condition| {
                    let what = condition.strip_prefix("computed ").unwrap_or(condition);
                    format!("drop {what}")
                })
                .collect();
            let remedy =
                format!("to store such events, too, run: alter table {} {}", facts.name, statements.join(", "));
            findings.wrong(Line::PostgresConstraints, &subject, text, remedy);
        }
    }
    Ok(())
}
