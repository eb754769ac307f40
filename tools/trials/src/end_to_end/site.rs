//! A pair of databases for one measurement, and `footprint` configured for them by its environment, as a user does it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use footprint_service::config::Config;
use footprint_service::postgres::connect;
use footprint_service::postgres::session::Purpose;
use footprint_stack::{APPLICATION_USER, Stack, TEST_USER};
use tokio_postgres::SimpleQueryMessage;

use super::Bench;
use crate::trial::{Ended, Fixture, Output, Process, Program};

/// How long any one process or load may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(900);

/// The number of the next site. Each site has its own name for its databases and its consumer group.
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Empty, migrated databases on one stack, for one topic.
pub(super) struct Site<'a> {
    /// The servers.
    pub(super) stack: &'a Stack,
    /// The databases' and the group's name.
    pub(super) name: String,
    /// The topic that events are read from.
    pub(super) topic: String,
    /// The servers, the databases and the topic, as the trials use them.
    pub(super) fixture: Fixture<'a>,
    program: Program,
}

impl<'a> Site<'a> {
    /// Makes the databases and migrates them.
    pub(super) fn new(bench: &'a Bench, topic: &str) -> Result<Self> {
        Self::of_program(bench, topic, &bench.program)
    }

    /// As [`Site::new`], for another build of the program.
    pub(super) fn of_program(bench: &'a Bench, topic: &str, program: &Path) -> Result<Self> {
        let stack = &bench.stack;
        let name = format!("test_bench_{}", NEXT_NUMBER.fetch_add(1, Ordering::Relaxed));
        let fixture = Fixture::with_databases(stack, &name, topic, &name)?;
        let mut program = Program::new(program.to_owned(), &fixture)?;
        for (name, value) in &bench.settings {
            program.set(name, value);
        }
        program.migrate()?;
        Ok(Self { stack, name, topic: topic.to_owned(), fixture, program })
    }

    /// Sets one of the program's environment names.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.program.set(name, value);
    }

    /// Starts `footprint` with `arguments`. Its outputs go to files of its own.
    pub(super) fn start(&self, arguments: &[&str]) -> Result<Process> {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| self.stack.directory().join(format!("{}-{number}.{kind}", self.name));
        self.program.start(arguments, Output::File(&file("out")), Output::File(&file("log")))
    }

    /// Runs `footprint` with `arguments` to its end. Returns what that cost, and what it printed.
    pub(super) fn footprint(&self, arguments: &[&str]) -> Result<(Ended, String)> {
        let mut process = self.start(arguments)?;
        let ended = process.succeed(DEADLINE)?;
        Ok((ended, process.stdout_text()))
    }

    /// Sends `count` events, all good, to the topic, as fast as Kafka takes them.
    pub(super) fn fill(&self, count: u64) -> Result<()> {
        self.footprint(&["generate", "--count", &count.to_string(), "--bad-share", "0"]).map(drop)
    }

    /// The settings as the service crate takes them, to reach the same databases with the same clients.
    pub(super) fn config(&self) -> Result<Config> {
        let (postgres, clickhouse) = (self.stack.postgres()?, self.stack.clickhouse()?);
        let mut config = Config::load(None, &[])?;
        config.postgres.host = postgres.host().to_owned();
        config.postgres.port = postgres.port();
        config.postgres.database.clone_from(&self.name);
        config.postgres.user = APPLICATION_USER.to_owned();
        config.postgres.password = self.stack.user_password().to_owned().into();
        config.clickhouse.host = clickhouse.host().to_owned();
        config.clickhouse.port = clickhouse.http_port();
        config.clickhouse.database.clone_from(&self.name);
        config.clickhouse.user = TEST_USER.to_owned();
        config.clickhouse.password = self.stack.user_password().to_owned().into();
        Ok(config)
    }

    /// Executes statements in PostgreSQL and returns the rows of the last one, as text. A null is an empty text.
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
        self.fixture.drop_databases()
    }
}
