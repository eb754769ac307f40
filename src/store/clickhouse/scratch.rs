//! A scratch table for `check --probe`: made like a route's table, with its engine and settings, written twice with one token, counted,
//! and dropped. Its name has the time at which it was made, so that what an interrupted probe left behind is found and dropped later.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use footprint_event::route::Route;
use footprint_service::clickhouse::settings::Pins;

use super::migrate::{MigrateError, Migrator, QUESTION_TIMEOUT};
use super::rights::{Right, identifier};

/// How the names begin.
const PREFIX: &str = "footprint_probe_";
/// An older table is a leftover: no probe takes so long.
const LEFTOVER_AFTER: Duration = Duration::from_secs(3600);

/// The names of the tables of one probe.
#[derive(Clone, Debug)]
pub struct Scratch {
    table: String,
    made_at: Duration,
}

impl Scratch {
    /// A name that nobody else has.
    pub fn named() -> Self {
        let made_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { table: format!("{PREFIX}{}_{:08x}", made_at.as_secs(), rand::random::<u32>()), made_at }
    }

    fn in_database(&self, database: &str) -> String {
        format!("{}.{}", identifier(database), identifier(&self.table))
    }

    /// Whether a table of this name was left behind by an earlier probe.
    fn is_leftover(&self, table: &str) -> bool {
        let made = table.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()?.parse().ok());
        made.is_some_and(|made| self.made_at > Duration::from_secs(made) + LEFTOVER_AFTER)
    }
}

impl Migrator {
    /// The rights that a probe needs and the user lacks.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn missing_to_probe(&self, route: &Route) -> Result<Vec<Right>, MigrateError> {
        let (database, _) = self.names(route);
        self.lacking(&Right::to_probe(database)).await
    }

    /// Drops what earlier probes left behind. Makes a table like the route's, inserts one block twice with one token, and counts the
    /// rows. [`Self::drop_scratch`] comes next, whatever this returns.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn probe(&self, route: &Route, scratch: &Scratch) -> Result<u64, MigrateError> {
        let (database, table) = self.names(route);
        let what = "the probe";
        let sql = "select name from system.tables where database = ? and startsWith(name, ?)";
        let query = self.client(what).await?.query(sql).bind(database).bind(PREFIX);
        for leftover in self.question(what, query.fetch_all::<String>()).await? {
            if scratch.is_leftover(&leftover) {
                let name = format!("{}.{}", identifier(database), identifier(&leftover));
                self.execute(what, &format!("drop table if exists {name} sync")).await?;
            }
        }
        let name = scratch.in_database(database);
        let like = format!("{}.{}", identifier(database), identifier(table));
        self.execute(what, &format!("create table {name} as {like}")).await?;
        let pins = Pins::inserts(self.plain(), QUESTION_TIMEOUT, 1);
        let client = self.question(what, pins.client()).await?;
        let client = client.clone().with_setting("insert_deduplication_token", scratch.table.as_str());
        let now = scratch.made_at.as_micros();
        let insert =
            format!("insert into {name} (kafka_offset, received_at) select 0, fromUnixTimestamp64Micro({now})");
        for _ in 0..2 {
            self.question(what, client.query(&insert).execute()).await?;
        }
        let count = format!("select count() from {name}");
        self.question(what, self.client(what).await?.query(&count).fetch_one::<u64>()).await
    }

    /// Drops the scratch table, if it is there.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer.
    pub async fn drop_scratch(&self, route: &Route, scratch: &Scratch) -> Result<(), MigrateError> {
        let (database, _) = self.names(route);
        let name = scratch.in_database(database);
        self.execute("dropping the probe's table", &format!("drop table if exists {name} sync")).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_of_probes_that_are_over_are_left_behind() {
        let scratch = Scratch { table: String::new(), made_at: Duration::from_secs(10_000) };
        for (table, is_leftover) in [
            ("footprint_probe_6399_0a0b0c0d", true),
            ("footprint_probe_6400_0a0b0c0d", false),
            ("footprint_probe_9999_0a0b0c0d", false),
            ("footprint_probe_of_mine", false),
            ("user_footprint", false),
        ] {
            assert_eq!(scratch.is_leftover(table), is_leftover, "{table}");
        }
    }
}
