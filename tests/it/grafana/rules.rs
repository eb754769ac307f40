//! The rules of our own for the dashboards' files. They need no server. `tools/` reads the files with Grafana's own types.

use std::collections::BTreeSet;

use serde_json::Value;

use super::expand::prometheus::prometheus;
use super::expand::{self, Asked};
use super::files::{self, Database};

/// Grafana's grid.
const GRID_COLUMNS: u64 = 24;
/// Panels that Grafana itself has, without a plugin.
const PANEL_TYPES: [&str; 7] = ["barchart", "row", "stat", "state-timeline", "table", "text", "timeseries"];

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

/// Column, row, width and height of a panel.
fn place(panel: &Value) -> [u64; 4] {
    ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().expect("a place"))
}

#[test]
fn dashboards_have_uids_and_titles_of_their_own() {
    let dashboards = files::dashboards();
    assert_eq!(dashboards.len(), 5);
    for name in ["uid", "title"] {
        let names: BTreeSet<&str> = dashboards.iter().map(|(_, dashboard)| text(dashboard, name)).collect();
        assert!(names.len() == dashboards.len() && !names.contains(""), "{name}: {names:?}");
    }
    for (file, dashboard) in &dashboards {
        assert_eq!(text(dashboard, "uid"), file);
        assert_eq!(dashboard["schemaVersion"], 42, "{file}");
        assert!(!text(dashboard, "description").is_empty() && dashboard["id"].is_null(), "{file}");
    }
}

#[test]
fn each_panel_says_what_it_shows_and_asks_known_data_sources() {
    let sources = files::data_sources();
    assert_eq!(sources.len(), 3, "{sources:?}");
    for (file, dashboard) in files::dashboards() {
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            let name = format!("{file}: {title}");
            assert!(PANEL_TYPES.contains(&text(panel, "type")), "{name}");
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{name}: its id is another's");
            if text(panel, "type") == "row" {
                continue;
            }
            assert!(!title.is_empty() && text(panel, "description").len() > 40, "{name}");
            if text(panel, "type") == "text" {
                assert!(text(&panel["options"], "content").len() > 40, "{name}");
                continue;
            }
            let has_unit = !text(&panel["fieldConfig"]["defaults"], "unit").is_empty();
            assert!(has_unit || text(panel, "type") == "table", "{name} has no unit");
            let targets = panel["targets"].as_array().expect("targets");
            let source = text(&panel["datasource"], "uid");
            let are_together = source == "-- Mixed --" || source == files::PROMETHEUS;
            assert!(!targets.is_empty() && (targets.len() == 1 || are_together), "{name}");
            for target in targets {
                let uid = text(&target["datasource"], "uid");
                assert!(sources.contains(uid), "{name}: {uid} is not provisioned");
                assert!(source == "-- Mixed --" || uid == source, "{name}: {uid} and {source}");
            }
        }
    }
}

#[test]
fn no_panel_lies_on_another() {
    for (file, dashboard) in files::dashboards() {
        let places: Vec<[u64; 4]> = panels(&dashboard).iter().map(place).collect();
        for (index, &[x, y, w, h]) in places.iter().enumerate() {
            assert!(w > 0 && h > 0 && x + w <= GRID_COLUMNS, "{file}: panel {index} is not on the grid");
            for &[left, top, width, height] in &places[..index] {
                let apart = x + w <= left || left + width <= x || y + h <= top || top + height <= y;
                assert!(apart, "{file}: panel {index} is at {x}, {y} on the one at {left}, {top}");
            }
        }
    }
}

/// `$name` in a text: what comes behind each `$`, up to the first other character.
fn macros(sql: &str) -> impl Iterator<Item = &str> {
    sql.split('$').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn every_macro_and_variable_is_known() {
    for (file, dashboard) in files::dashboards() {
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let values: Vec<(&str, &str)> =
            variables.iter().map(|variable| (text(variable, "name"), text(&variable["current"], "value"))).collect();
        let asked = Asked { from_ms: 0, to_ms: 60_000, interval_ms: 60_000, variables: &values };
        let asking = panels(&dashboard).iter().filter(|panel| panel["type"] != "row");
        for target in asking.flat_map(|panel| panel["targets"].as_array().expect("targets")) {
            if text(&target["datasource"], "uid") == files::PROMETHEUS {
                let expanded = prometheus(text(target, "expr"), &asked, 15_000);
                assert!(expanded.is_ok(), "{file}: {expanded:?}: {target}");
                continue;
            }
            let sql = text(target, "rawSql");
            let database = Database::of_uid(text(&target["datasource"], "uid"));
            let expanded = match database {
                Database::PostgreSql => expand::postgresql(sql, &asked),
                Database::ClickHouse => expand::clickhouse(sql, &asked),
            };
            let expanded = expanded.unwrap_or_else(|error| panic!("{file}: {error}: {sql}"));
            assert!(!expanded.contains('$'), "{file}: unknown {:?} in {expanded}", macros(&expanded).next());
            // the two databases' times of the range differ in the last fraction of a second otherwise
            let whole_seconds = ["__timeFilter", "__fromTime", "__toTime", "__timeFrom", "__timeTo"];
            let cuts = macros(sql).any(|name| whole_seconds.contains(&name));
            assert!(database == Database::PostgreSql || !cuts, "{file}: use the macros of milliseconds: {sql}");
            // versions of the plugin up to 4.18 did not expand them
            let nests = sql.split("$__").skip(1).any(|rest| {
                let call = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').strip_prefix('(');
                call.and_then(|call| call.split(')').next()).is_some_and(|arguments| arguments.contains(['$', '(']))
            });
            assert!(database == Database::PostgreSql || !nests, "{file}: a call within a macro: {sql}");
        }
        for (name, _) in &values {
            let used = [format!("${{{name}:sqlstring}}"), format!("=~\\\"${name}\\\"")];
            let uses = |panel: &Value| used.iter().any(|used| panel["targets"].to_string().contains(used));
            assert!(panels(&dashboard).iter().any(uses), "{file}: no query uses the variable {name}");
        }
    }
}

#[test]
fn twins_ask_the_same_questions_in_the_same_places() {
    let dashboards = files::dashboards();
    let twin = |database: Database| {
        let uid = format!("footprint-behaviour-{}", database.key());
        let (_, dashboard) = dashboards.iter().find(|(file, _)| *file == uid).expect("the twin");
        let queries = files::queries().into_iter().filter(|query| query.panel.starts_with(&uid));
        let questions: Vec<String> = queries.map(|query| query.question).collect();
        let shown = panels(dashboard).iter().map(|panel| {
            let url = panel["fieldConfig"].to_string().replace(database.key(), "");
            (text(panel, "title"), text(panel, "description"), place(panel), panel["options"].clone(), url)
        });
        (questions, shown.collect::<Vec<_>>())
    };
    assert_eq!(twin(Database::PostgreSql), twin(Database::ClickHouse));
    let asked: BTreeSet<String> = files::queries().into_iter().map(|query| query.question).collect();
    assert_eq!(asked, files::question_names(), "each question of queries/ is asked by a panel");
}

/// The alerts of `packaging/prometheus/`, which are the titles of the runbook's panels.
#[test]
fn panels_link_to_the_section_of_the_runbook_that_helps() {
    let dashboards = files::dashboards();
    let (_, runbook) = dashboards.iter().find(|(file, _)| file == "footprint-runbook").expect("the runbook");
    let mut links = 0;
    for (file, dashboard) in &dashboards {
        for panel in panels(dashboard).iter().filter(|panel| !panel["links"].is_null()) {
            for link in panel["links"].as_array().expect("links") {
                let id = text(link, "url").strip_prefix("/d/footprint-runbook?viewPanel=");
                let id: Option<u64> = id.and_then(|id| id.parse().ok());
                let section = panels(runbook).iter().find(|section| section["id"].as_u64() == id).expect("a section");
                assert_eq!(text(link, "title"), format!("Runbook: {}", text(section, "title")), "{file}");
                links += 1;
            }
        }
    }
    assert!(links > 9, "only {links} links");
}
