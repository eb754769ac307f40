//! The files of `grafana/` and `queries/`, as Grafana reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file or folder of the repository.
pub fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The files of a folder whose names end like this, in order: the name without the ending, and the text.
fn texts(folder: &str, ending: &str) -> Vec<(String, String)> {
    let paths = fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    let named = paths.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned();
        Some((name, fs::read_to_string(&path).unwrap()))
    });
    named.collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// Every dashboard: the file's name and its JSON.
pub fn dashboards() -> Vec<(String, Value)> {
    let read = |(name, text): (String, String)| (name, serde_json::from_str(&text).unwrap());
    texts("grafana/dashboards", ".json").into_iter().map(read).collect()
}

/// A database that panels ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Database {
    PostgreSql,
    ClickHouse,
}

impl Database {
    /// The data source's uid ends with this. So begins the database's SQL in a file of `queries/`.
    pub fn key(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::ClickHouse => "clickhouse",
        }
    }

    pub fn of_uid(uid: &str) -> Self {
        let found =
            [Self::PostgreSql, Self::ClickHouse].into_iter().find(|one| uid == format!("footprint-{}", one.key()));
        found.unwrap_or_else(|| panic!("{uid} is the data source of no database"))
    }
}

/// One query of one panel.
#[derive(Clone, Debug)]
pub struct Query {
    /// The dashboard's file and the panel's title.
    pub panel: String,
    pub database: Database,
    pub sql: String,
    /// Whether the panel reads the answer as time series, and not as a table.
    pub is_time_series: bool,
    /// The file of `queries/` that has this SQL.
    pub question: String,
}

/// The uid of the Prometheus data source.
pub const PROMETHEUS: &str = "footprint-prometheus";

/// One query to Prometheus of one panel.
#[derive(Clone, Debug)]
pub struct MetricQuery {
    /// The dashboard's file and the panel's title.
    pub panel: String,
    pub expr: String,
    /// The names of the answer's series.
    pub legend: String,
    /// Whether the panel needs the whole time range, and not only its end.
    pub is_range: bool,
}

/// The queries of all panels: the dashboard's file and the panel's title, and the query.
fn targets() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap();
            let targets = panel["targets"].as_array().unwrap();
            found.extend(targets.iter().map(|target| (format!("{file}: {title}"), target.clone())));
        }
    }
    found
}

/// Every query to Prometheus of every panel.
pub fn metric_queries() -> Vec<MetricQuery> {
    let asked = targets().into_iter().filter(|(_, target)| target["datasource"]["uid"] == PROMETHEUS);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    asked
        .map(|(panel, target)| MetricQuery {
            panel,
            expr: text(&target["expr"]),
            legend: text(&target["legendFormat"]),
            is_range: target["range"] == true,
        })
        .collect()
}

/// Every query in SQL of every panel.
pub fn queries() -> Vec<Query> {
    let questions = questions();
    let mut found = Vec::new();
    for (panel, target) in targets().into_iter().filter(|(_, target)| target["datasource"]["uid"] != PROMETHEUS) {
        let sql = target["rawSql"].as_str().unwrap().to_owned();
        let database = Database::of_uid(target["datasource"]["uid"].as_str().unwrap());
        let is_time_series = match database {
            Database::PostgreSql => target["format"] == "time_series",
            Database::ClickHouse => target["format"] == 0,
        };
        let question = questions.get(&(database, sql.clone()));
        let question = question.unwrap_or_else(|| panic!("{panel}: its SQL is in no file of queries/")).clone();
        found.push(Query { panel, database, sql, is_time_series, question });
    }
    found
}

/// The question of each SQL text in `queries/`.
fn questions() -> BTreeMap<(Database, String), String> {
    let mut found = BTreeMap::new();
    for (name, text) in texts("queries", ".sql") {
        for database in [Database::PostgreSql, Database::ClickHouse] {
            let head = format!("\n-- {}\n", database.key());
            let (_, after) = text.split_once(&head).unwrap_or_else(|| panic!("queries/{name}.sql lacks{head}"));
            let sql: Vec<&str> = after.lines().take_while(|line| !line.starts_with("-- ")).collect();
            let other = found.insert((database, sql.join("\n").trim().to_owned()), name.clone());
            assert!(other.is_none(), "queries/{name}.sql asks what {other:?} asks");
        }
    }
    found
}

/// The names of the files in `queries/`.
pub fn question_names() -> BTreeSet<String> {
    questions().into_values().collect()
}

/// The uids of the data sources that `grafana/provisioning` makes.
pub fn data_sources() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in texts("grafana/provisioning/datasources", ".yaml") {
        found.extend(text.lines().filter_map(|line| line.trim().strip_prefix("uid: ")).map(str::to_owned));
    }
    found
}

/// The SQL of `grafana/README.md` that makes the reader, for one database.
pub fn grants(database: Database) -> Vec<String> {
    let text = fs::read_to_string(repository("grafana/README.md")).unwrap();
    let title = match database {
        Database::PostgreSql => "### PostgreSQL\n",
        Database::ClickHouse => "### ClickHouse\n",
    };
    let (_, section) = text.split_once(title).expect("a section of the database");
    let block = section.split("```sql\n").nth(1).and_then(|block| block.split("```").next()).expect("a block of SQL");
    block.split(';').map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}
