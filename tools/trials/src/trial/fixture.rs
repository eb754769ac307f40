//! The places that one trial uses: a topic, a consumer group, and a database in each server. The databases' user has the rights of the
//! first user's site. The fixture gives the settings that lead the program there, as names of its environment and as lines of a
//! configuration file.

use anyhow::{Result, ensure};
use footprint_stack::{APPLICATION_DATABASE, APPLICATION_USER, Stack, TEST_USER};

/// [`Fixture::drop_databases`] drops only databases whose names begin with this. `TEST_USER` may use these databases.
const TEST_PREFIX: &str = "test_";

/// The topic, the group and the databases of one trial.
#[derive(Clone, Debug)]
pub struct Fixture<'a> {
    /// The servers.
    pub stack: &'a Stack,
    /// Kafka's address.
    pub bootstrap: String,
    /// The topic that events are read from.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// The database's name in both servers.
    pub database: String,
    clickhouse_user: &'static str,
}

/// One setting of the program.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key in the configuration file, `section.key`. None if a file has no such key.
    pub key: Option<&'static str>,
    /// The name in the environment.
    pub variable: &'static str,
    /// The value as the environment has it.
    pub value: String,
    is_text: bool,
}

impl Setting {
    /// The value as TOML.
    pub fn toml(&self) -> String {
        if self.is_text { format!("{:?}", self.value) } else { self.value.clone() }
    }
}

impl<'a> Fixture<'a> {
    /// A fixture on the databases that the stack has made for the application.
    ///
    /// # Errors
    /// The stack lacks a server.
    pub fn of_application(stack: &'a Stack, topic: &str, group: &str) -> Result<Self> {
        Self::at(stack, APPLICATION_DATABASE, APPLICATION_USER, topic, group)
    }

    /// A fixture on fresh, empty databases. Their name begins with `test_`.
    ///
    /// # Errors
    /// A server refuses.
    pub fn with_databases(stack: &'a Stack, database: &str, topic: &str, group: &str) -> Result<Self> {
        create_databases(stack, database)?;
        Self::at(stack, database, TEST_USER, topic, group)
    }

    fn at(stack: &'a Stack, database: &str, clickhouse_user: &'static str, topic: &str, group: &str) -> Result<Self> {
        Ok(Self {
            stack,
            bootstrap: stack.kafka()?.bootstrap().to_owned(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            database: database.to_owned(),
            clickhouse_user,
        })
    }

    /// The settings that lead the program to the servers, the databases and the topic.
    ///
    /// # Errors
    /// The stack lacks a server.
    pub fn settings(&self) -> Result<Vec<Setting>> {
        let (postgres, clickhouse) = (self.stack.postgres()?, self.stack.clickhouse()?);
        let password = self.stack.user_password();
        let text = |key: &'static str, variable: &'static str, value: &str| Setting {
            key: Some(key),
            variable,
            value: value.to_owned(),
            is_text: true,
        };
        let port = |key: &'static str, variable: &'static str, port: u16| Setting {
            key: Some(key),
            variable,
            value: port.to_string(),
            is_text: false,
        };
        Ok(vec![
            text("kafka.bootstrap_servers", "BOOTSTRAP_SERVER", &self.bootstrap),
            text("kafka.group_id", "GROUP_ID", &self.group),
            // a file names the topic in its route
            Setting { key: None, variable: "TOPIC", value: self.topic.clone(), is_text: true },
            text("postgres.host", "DB_HOST", postgres.host()),
            port("postgres.port", "DB_PORT", postgres.port()),
            text("postgres.database", "DB_NAME", &self.database),
            text("postgres.user", "DB_USER", APPLICATION_USER),
            text("postgres.password", "DB_PASSWORD", password),
            text("clickhouse.host", "CH_HOST", clickhouse.host()),
            port("clickhouse.port", "CH_PORT", clickhouse.http_port()),
            text("clickhouse.database", "FOOTPRINT_CLICKHOUSE__DATABASE", &self.database),
            text("clickhouse.user", "CH_USER", self.clickhouse_user),
            text("clickhouse.password", "CH_PASSWORD", password),
            text("telemetry.listen", "FOOTPRINT_TELEMETRY__LISTEN", "127.0.0.1:0"),
            // people read the logs of trials
            text("telemetry.log_format", "FOOTPRINT_TELEMETRY__LOG_FORMAT", "text"),
        ])
    }

    /// Drops the databases, so that the disk does not fill.
    ///
    /// # Errors
    /// They are not a trial's own, or a server refuses.
    pub fn drop_databases(&self) -> Result<()> {
        ensure!(self.database.starts_with(TEST_PREFIX), "{} is not a trial's own database", self.database);
        self.stack.postgres()?.execute("postgres", &format!("drop database {} with (force)", self.database))?;
        self.stack.clickhouse()?.query(&format!("drop database {} sync", self.database))?;
        Ok(())
    }
}

/// Makes an empty database of this name in both servers. In PostgreSQL it belongs to the first user's role; in ClickHouse the users
/// of the tests have the first user's rights on every database whose name begins with `test_`.
///
/// # Errors
/// A server refuses.
pub fn create_databases(stack: &Stack, name: &str) -> Result<()> {
    ensure!(name.starts_with(TEST_PREFIX), "the name of a trial's own database begins with {TEST_PREFIX}: {name}");
    let postgres = stack.postgres()?;
    postgres.create_database(name)?;
    postgres.give_database(name, APPLICATION_USER)?;
    stack.clickhouse()?.create_database(name)?;
    Ok(())
}
