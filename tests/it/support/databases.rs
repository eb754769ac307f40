//! A database of one name in both servers, for tests that call the library instead of starting the program.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use footprint::store::clickhouse::refused::Refusals;
use footprint_service::config::Config;
use footprint_stack::{TEST_ADOPTER, TEST_USER};
use footprint_trials::trial::create_databases;
use tokio_postgres::Client;

use super::stack;

/// A command of the program, configured only by the old environment names.
pub fn told_by_environment(config: &Config, command: &str) -> Command {
    let (postgres, clickhouse) = (&config.postgres, &config.clickhouse);
    let mut program = Command::new(env!("CARGO_BIN_EXE_footprint"));
    program
        .arg(command)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env_clear()
        .env("BOOTSTRAP_SERVER", &config.kafka.bootstrap_servers)
        .env("TOPIC", &config.routes[0].topic)
        .env("DB_HOST", &postgres.host)
        .env("DB_PORT", postgres.port.to_string())
        .env("DB_NAME", &postgres.database)
        .env("DB_USER", &postgres.user)
        .env("DB_PASSWORD", postgres.password.reveal())
        .env("CH_HOST", &clickhouse.host)
        .env("CH_PORT", clickhouse.port.to_string())
        .env("CH_USER", &clickhouse.user)
        .env("CH_PASSWORD", clickhouse.password.reveal())
        .env("FOOTPRINT_CLICKHOUSE__DATABASE", &clickhouse.database);
    program
}

/// A name that nothing else in this process has: `test_<what>_<number>`.
pub fn fresh_name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test_{what}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A database of one name in PostgreSQL and in ClickHouse, empty, and a configuration that points at both.
pub struct Databases {
    /// The name.
    pub name: String,
    /// The shipped configuration with the servers' addresses; its topics have new names and do not exist yet.
    pub config: Config,
}

/// An empty pair of databases, for a user with the rights of the first user's site.
pub fn fresh_database(what: &str) -> Databases {
    let stack = stack();
    let name = fresh_name(what);
    let (kafka, postgres, clickhouse) =
        (stack.kafka().unwrap(), stack.postgres().unwrap(), stack.clickhouse().unwrap());
    create_databases(stack, &name).unwrap();
    let mut config = Config::load(None, &[]).unwrap();
    config.kafka.bootstrap_servers = kafka.bootstrap().to_owned();
    config.kafka.group_id.clone_from(&name);
    config.postgres.host = postgres.host().to_owned();
    config.postgres.port = postgres.port();
    config.postgres.database.clone_from(&name);
    config.postgres.user = footprint_stack::APPLICATION_USER.to_owned();
    config.postgres.password = stack.user_password().to_owned().into();
    config.clickhouse.host = clickhouse.host().to_owned();
    config.clickhouse.port = clickhouse.http_port();
    config.clickhouse.database.clone_from(&name);
    config.clickhouse.user = TEST_USER.to_owned();
    config.clickhouse.password = stack.user_password().to_owned().into();
    config.telemetry.listen = "127.0.0.1:0".to_owned();
    for route in &mut config.routes {
        route.topic = fresh_name("topic");
    }
    Databases { name, config }
}

impl Databases {
    /// With the one additional grant in ClickHouse that is needed to adopt old tables.
    pub fn for_adopter(mut self) -> Self {
        TEST_ADOPTER.clone_into(&mut self.config.clickhouse.user);
        self
    }

    /// Creates the first route's topic and returns its name.
    #[allow(dead_code, reason = "for the scenarios that follow")]
    pub fn create_topic(&self, partitions: u16) -> &str {
        let topic = &self.config.routes[0].topic;
        stack().kafka().unwrap().create_topic(topic, partitions, &[]).unwrap();
        topic
    }

    /// A connection to the PostgreSQL database, as footprint makes them.
    pub async fn postgres(&self) -> Client {
        let purpose = footprint_service::postgres::session::Purpose::Check;
        footprint_service::postgres::connect(&self.config.postgres, "footprint-test", purpose).await.unwrap()
    }

    /// A client of the ClickHouse database, as footprint makes them.
    pub fn clickhouse(&self) -> clickhouse::Client {
        footprint_service::clickhouse::client(&self.config.clickhouse)
    }

    /// Runs a statement in PostgreSQL as superuser; all rows as text, `∅` for null, columns joined by `|`.
    pub fn postgres_query(&self, sql: &str) -> Vec<String> {
        let rows = stack().postgres().unwrap().query(&self.name, sql).unwrap();
        rows.into_iter()
            .map(|row| row.into_iter().map(|value| value.unwrap_or_else(|| "∅".into())).collect::<Vec<_>>().join("|"))
            .collect()
    }

    /// Runs a statement in ClickHouse as administrator; its tab-separated answer by lines. `{db}` is the database.
    pub fn clickhouse_query(&self, sql: &str) -> Vec<String> {
        let answer = stack().clickhouse().unwrap().query(&sql.replace("{db}", &self.name)).unwrap();
        answer.lines().map(str::to_owned).collect()
    }

    /// How a sink handles rows that ClickHouse refuses. It refuses none of a test's own rows.
    pub fn refusals(&self) -> Refusals {
        let (postgres, kafka) = (self.config.postgres.clone(), self.config.kafka.clone());
        Refusals {
            postgres,
            kafka,
            share_max: 0.0,
            application_name: "footprint-test".into(),
            meters: footprint_service::metrics::Meters::new("visits"),
        }
    }

    /// Creates every table, and returns what was done.
    pub async fn migrate(&self) -> Vec<String> {
        let mut lines = Vec::new();
        footprint::upkeep::migrate::migrate(&self.config, |line| lines.push(line.to_owned())).await.unwrap();
        lines
    }
}

/// A runtime for a test that is not async itself.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// How long anything in a test may take.
pub const DEADLINE: Duration = Duration::from_secs(60);
