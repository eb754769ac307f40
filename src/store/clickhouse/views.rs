//! The materialized views on a table, and whether their targets drop an insert that is sent again. Also the server's clock. For `check`.

use serde::Deserialize;

use super::migrate::{MigrateError, Migrator};
use super::rights::identifier;
use super::shape::FoundTable;

/// A materialized view on a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// `database.view`.
    pub name: String,
    /// The table that it writes to, as SQL writes its name.
    pub target: String,
    /// The setting of the target that decides.
    pub setting: &'static str,
    /// Whether the target drops an insert that is sent again.
    pub drops_repeats: bool,
}

#[derive(clickhouse::Row, Deserialize)]
struct Definition {
    database: String,
    name: String,
    create_table_query: String,
    id: String,
}

#[derive(clickhouse::Row, Deserialize)]
struct Target {
    engine: String,
    engine_full: String,
}

impl Migrator {
    /// The materialized views that an insert into a table writes to. Those that the user may not see are missing.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn views(&self, database: &str, table: &str) -> Result<Vec<View>, MigrateError> {
        let what = "looking for materialized views";
        let sql = "select database, name, create_table_query, toString(uuid) as id from system.tables \
                   where engine = 'MaterializedView' and (database, name) in (select d, n from system.tables \
                   array join dependencies_database as d, dependencies_table as n where database = ? and name = ?) \
                   order by database, name";
        let query = self.client(what).await?.query(sql).bind(database).bind(table);
        let definitions = self.question(what, query.fetch_all::<Definition>()).await?;
        let mut views = Vec::new();
        for definition in definitions {
            let (database, table) = target(&definition);
            let sql = "select engine, engine_full from system.tables where database = ? and name = ?";
            let query = self.client(what).await?.query(sql).bind(&database).bind(&table);
            let Some(found) = self.question(what, query.fetch_optional::<Target>()).await? else { continue };
            views.push(view(&definition, &database, &table, found));
        }
        Ok(views)
    }

    /// The server's clock, in seconds since 1970.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn clock(&self) -> Result<f64, MigrateError> {
        let what = "the clock";
        let query = self.client(what).await?.query("select toUnixTimestamp64Micro(now64(6)) / 1e6");
        self.question(what, query.fetch_one::<f64>()).await
    }
}

/// The database and the table that a view writes to: those behind `TO`, or a table of its own.
fn target(view: &Definition) -> (String, String) {
    let bare = |name: &str| name.replace('`', "");
    let mut words = view.create_table_query.split([' ', '\n']).skip_while(|word| *word != "VIEW").skip(2);
    if let (Some("TO"), Some(name)) = (words.next(), words.next()) {
        let (database, table) = name.split_once('.').unwrap_or((&view.database, name));
        return (bare(database), bare(table));
    }
    let is_null = view.id.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    let table = if is_null { format!(".inner.{}", view.name) } else { format!(".inner_id.{}", view.id) };
    (view.database.clone(), table)
}

fn view(definition: &Definition, database: &str, table: &str, found: Target) -> View {
    let is_replicated = ["Replicated", "Shared"].iter().any(|prefix| found.engine.starts_with(prefix));
    let found = FoundTable { engine_full: found.engine_full, ..FoundTable::default() };
    // the first is on by default, the second is off by default
    let (setting, default) =
        if is_replicated { ("replicated_deduplication_window", 1) } else { ("non_replicated_deduplication_window", 0) };
    View {
        name: format!("{}.{}", definition.database, definition.name),
        target: format!("{}.{}", identifier(database), identifier(table)),
        setting,
        drops_repeats: found.setting(setting).unwrap_or(default) > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(query: &str, id: &str) -> Definition {
        Definition { database: "prd".into(), name: "daily".into(), create_table_query: query.into(), id: id.into() }
    }

    #[test]
    fn a_view_writes_to_a_named_table_or_to_one_of_its_own() {
        let none = "00000000-0000-0000-0000-000000000000";
        for (query, id, table) in [
            ("CREATE MATERIALIZED VIEW prd.daily TO other.`days` (`n` UInt64) AS SELECT 1", "1-2", ("other", "days")),
            (
                "CREATE MATERIALIZED VIEW prd.daily (`TO` UInt64) ENGINE = MergeTree AS SELECT 1",
                "1-2",
                ("prd", ".inner_id.1-2"),
            ),
            ("CREATE MATERIALIZED VIEW prd.daily ENGINE = MergeTree AS SELECT 1", none, ("prd", ".inner.daily")),
        ] {
            let found = target(&definition(query, id));
            assert_eq!((found.0.as_str(), found.1.as_str()), table, "{query}");
        }
    }

    #[test]
    fn what_drops_a_repeated_insert_depends_on_the_engine() {
        let of = |engine: &str, settings: &str| {
            let target =
                Target { engine: engine.into(), engine_full: format!("{engine} ORDER BY n SETTINGS {settings}") };
            view(&definition("", "1"), "prd", ".inner_id.1", target)
        };
        assert!(!of("SummingMergeTree", "index_granularity = 8192").drops_repeats);
        assert!(of("MergeTree", "index_granularity = 8192, non_replicated_deduplication_window = 5").drops_repeats);
        assert!(of("ReplicatedMergeTree", "index_granularity = 8192").drops_repeats);
        assert!(!of("ReplicatedMergeTree", "replicated_deduplication_window = 0").drops_repeats);
        assert_eq!(of("MergeTree", "a = 1").target, "prd.`.inner_id.1`");
    }
}
