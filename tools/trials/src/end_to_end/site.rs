//! A pair of databases for one measurement, and `footprint` set up to find them, as any user would: by its environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use footprint_service::config::Config;
use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use footprint_stack::{APPLICATION_USER, Stack, TEST_USER};
use tokio_postgres::SimpleQueryMessage;

use super::Bench;
use super::child::{Child, Ended};

/// How long any one process or load may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(900);

/// Every site has a name of its own, and so have its databases and its consumer group.
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Empty, migrated databases on one stack, for one topic.
pub(super) struct Site<'a> {
    /// The servers.
    pub(super) stack: &'a Stack,
    /// The databases' and the group's name.
    pub(super) name: String,
    /// What events are read from.
    pub(super) topic: String,
    program: &'a Path,
    environment: BTreeMap<String, String>,
}

impl<'a> Site<'a> {
    /// Makes the databases and migrates them.
    pub(super) fn new(bench: &'a Bench, topic: &str) -> Result<Self> {
        let stack = &bench.stack;
        let (postgres, clickhouse) = (stack.postgres()?, stack.clickhouse()?);
        let name = format!("test_bench_{}", NEXT_NUMBER.fetch_add(1, Ordering::Relaxed));
        postgres.create_database(&name)?;
        postgres.give_database(&name, APPLICATION_USER)?;
        clickhouse.create_database(&name)?;
        let settings = [
            ("BOOTSTRAP_SERVER", stack.kafka()?.bootstrap()),
            ("GROUP_ID", &name),
            ("TOPIC", topic),
            ("DB_HOST", postgres.host()),
            ("DB_PORT", &postgres.port().to_string()),
            ("DB_NAME", &name),
            ("DB_USER", APPLICATION_USER),
            ("DB_PASSWORD", stack.user_password()),
            ("CH_HOST", clickhouse.host()),
            ("CH_PORT", &clickhouse.http_port().to_string()),
            ("CH_USER", TEST_USER),
            ("CH_PASSWORD", stack.user_password()),
            ("FOOTPRINT_CLICKHOUSE__DATABASE", &name),
            ("FOOTPRINT_TELEMETRY__LISTEN", "127.0.0.1:0"),
        ];
        let mut environment: BTreeMap<String, String> =
            settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        environment.extend(bench.settings.iter().cloned());
        let site = Self { stack, name: name.clone(), topic: topic.to_owned(), program: &bench.program, environment };
        site.footprint(&["migrate"])?;
        Ok(site)
    }

    /// Sets one of the program's environment names.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Starts `footprint` with `arguments`.
    pub(super) fn start(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(self.program);
        // Settings that were meant for another footprint must not reach this one, nor a .env file.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("FOOTPRINT_") || ["LOG_DIR", "OFFSET_RESET_CONFIG"].contains(&text.as_ref()) {
                command.env_remove(&name);
            }
        }
        command.args(arguments).envs(&self.environment).current_dir(self.stack.directory());
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = self.stack.directory().join(format!("{}-{number}.log", self.name));
        Child::start(command, format!("footprint {}", arguments.join(" ")), log)
    }

    /// Runs `footprint` with `arguments` to its end.
    pub(super) fn footprint(&self, arguments: &[&str]) -> Result<Ended> {
        self.start(arguments)?.succeed(DEADLINE)
    }

    /// Sends `count` events, all good, to the topic, as fast as Kafka takes them.
    pub(super) fn fill(&self, count: u64) -> Result<()> {
        self.footprint(&["generate", "--count", &count.to_string(), "--bad-share", "0"]).map(drop)
    }

    /// The settings as the library takes them, to speak to the same databases by the same clients.
    pub(super) fn config(&self) -> Result<Config> {
        let mut config = Config::load(None, &[])?;
        let of = |name: &str| self.environment.get(name).cloned().context("a site knows its servers");
        config.postgres.host = of("DB_HOST")?;
        config.postgres.port = of("DB_PORT")?.parse()?;
        config.postgres.database.clone_from(&self.name);
        config.postgres.user = APPLICATION_USER.to_owned();
        config.postgres.password = self.stack.user_password().to_owned().into();
        config.clickhouse.host = of("CH_HOST")?;
        config.clickhouse.port = of("CH_PORT")?.parse()?;
        config.clickhouse.database.clone_from(&self.name);
        config.clickhouse.user = TEST_USER.to_owned();
        config.clickhouse.password = self.stack.user_password().to_owned().into();
        Ok(config)
    }

    /// Rows of the last of some statements in PostgreSQL, as text; null is empty.
    pub(super) fn postgres(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let config = self.config()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let messages = runtime.block_on(async {
            let client = connect(&config.postgres, "bench", Purpose::Check).await?;
            let asked = tokio::time::timeout(DEADLINE, client.simple_query(sql)).await;
            asked.context("PostgreSQL is silent")?.with_context(|| format!("PostgreSQL refuses {sql}"))
        })?;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        };
        Ok(messages.iter().filter_map(row).collect())
    }

    /// Rows of a query in ClickHouse, as text; `{table}` is the site's table.
    pub(super) fn clickhouse(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let sql = sql.replace("{table}", &format!("{}.user_footprint", self.name)).replace("{name}", &self.name);
        let answer = self.stack.clickhouse()?.query(&sql)?;
        Ok(answer.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// Drops the databases, so that the disk does not fill.
    pub(super) fn drop_databases(self) -> Result<()> {
        ensure!(self.name.starts_with("test_bench_"), "not a site's database");
        self.stack.postgres()?.execute("postgres", &format!("drop database {} with (force)", self.name))?;
        self.stack.clickhouse()?.query(&format!("drop database {} sync", self.name))?;
        Ok(())
    }
}
