//! One test's world: a topic, a group and a database in each server, made by the program's own `migrate`.

use std::path::PathBuf;
use std::time::Duration;

use footprint_service::config::Config;
use footprint_service::kafka::{AskError, Inquirer, source_id};
use footprint_trials::trial::{Fixture, Output, Process};

use super::consumer::{Consumer, program};
use super::kafka::{Feed, committed};
use super::oracle::Oracle;
use super::postgres::{Eye, LedgerRow};
use super::stack;
use super::wait::until_or;

/// How long it may take until everything sent so far is stored, unless a test says otherwise.
pub const STORED: Duration = Duration::from_secs(60);

/// One test's topic and databases.
pub struct World {
    fixture: Fixture<'static>,
    pub topic: String,
    pub database: String,
    pub partitions: u16,
    pub feed: Feed,
    pub oracle: Oracle,
    pub eye: Eye,
    directory: PathBuf,
    consumers: usize,
    bad_share: f64,
    /// Lives of the topic so far.
    lives: u64,
    /// `section.key` and the TOML value, for every consumer from now on.
    pub settings: Vec<(&'static str, String)>,
    /// Further routes, for every consumer from now on. Each has a topic and a pair of tables with its name.
    pub further_routes: Vec<String>,
    /// The route's zone and columns, TOML, for every consumer from now on.
    pub definition: Definition,
}

/// The parts of the route that decide a record's row.
pub struct Definition {
    pub timezone: &'static str,
    pub columns: [&'static str; 3],
}

impl World {
    /// With all tables.
    pub fn new(name: &str, partitions: u16, bad_share: f64) -> Self {
        let world = Self::without_tables(name, partitions, bad_share);
        world.command(&["migrate"]);
        world
    }

    /// With empty databases.
    pub fn without_tables(name: &str, partitions: u16, bad_share: f64) -> Self {
        let world = Self::at(stack().kafka().unwrap().bootstrap(), name, partitions, bad_share);
        world.create_topic();
        world
    }

    /// With empty databases, at other brokers. The test creates the topic.
    pub fn at(bootstrap: &str, name: &str, partitions: u16, bad_share: f64) -> Self {
        let unique = &uuid::Uuid::new_v4().simple().to_string()[..12];
        let topic = format!("{name}-{unique}");
        let database = format!("test_{name}_{unique}");
        let mut fixture = Fixture::with_databases(stack(), &database, &topic, &topic).unwrap();
        bootstrap.clone_into(&mut fixture.bootstrap);
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&topic);
        std::fs::create_dir_all(&directory).unwrap();
        let feed = Feed::new(bootstrap, &topic, usize::from(partitions), 1, bad_share);
        let eye = Eye::new(&database);
        let (oracle, settings) = (Oracle::default(), Vec::new());
        let columns = [
            r#"{ name = "request", field = "method", kind = "text", low_cardinality = true }"#,
            r#"{ name = "link", kind = "text" }"#,
            r#"{ name = "footprint_time", kind = "timestamp" }"#,
        ];
        Self {
            fixture,
            topic,
            database,
            partitions,
            feed,
            oracle,
            eye,
            directory,
            consumers: 0,
            bad_share,
            lives: 1,
            settings,
            further_routes: Vec::new(),
            definition: Definition { timezone: "UTC", columns },
        }
    }

    fn create_topic(&self) {
        let config = [("retention.ms", "-1"), ("max.message.bytes", "100000000")];
        stack().kafka().unwrap().create_topic(&self.topic, self.partitions, &config).unwrap();
    }

    /// Deletes the topic and creates another of the same name. Other records go to it.
    pub fn recreate_topic(&mut self) {
        stack().kafka().unwrap().delete_topic(&self.topic).unwrap();
        self.create_topic();
        self.lives += 1;
        self.feed =
            Feed::new(&self.fixture.bootstrap, &self.topic, usize::from(self.partitions), self.lives, self.bad_share);
    }

    /// The topic's present life.
    pub fn source(&self) -> i64 {
        self.source_known_to(None)
    }

    /// The topic's life, as one broker knows it.
    pub fn source_known_to(&self, broker: Option<i32>) -> i64 {
        self.ask_source(broker, &self.topic).unwrap()
    }

    /// The same, if the broker answers.
    pub fn source_said_by(&self, broker: i32) -> Option<i64> {
        self.ask_source(Some(broker), &self.topic).ok()
    }

    /// The present life of another topic.
    pub fn source_of(&self, topic: &str) -> i64 {
        self.ask_source(None, topic).unwrap()
    }

    fn ask_source(&self, broker: Option<i32>, topic: &str) -> Result<i64, AskError> {
        let mut config = Config::load(None, &[]).unwrap();
        config.kafka.bootstrap_servers.clone_from(&self.fixture.bootstrap);
        let inquirer = Inquirer::new(&config.kafka).unwrap();
        let wait = Duration::from_secs(10);
        let cluster = inquirer.cluster_id(wait)?;
        Ok(source_id(&cluster, &inquirer.describe_topic_at(broker, topic, wait)?.topic_id).0)
    }

    /// Sends `count` generated records and notes them. Returns the life of the topic that they went to.
    pub fn send(&mut self, count: usize) -> i64 {
        let source = self.source();
        self.send_to(source, count);
        source
    }

    /// Sends `count` generated records to a life of the topic that the test knows.
    pub fn send_to(&mut self, source: i64, count: usize) {
        let sent = self.feed.send(count);
        self.oracle.note(source, sent);
    }

    /// Sends these payloads to one partition and notes them. Returns the life of the topic that they went to.
    pub fn send_these(&mut self, partition: i32, payloads: &[String]) -> i64 {
        let source = self.source();
        let sent = self.feed.send_these(partition, payloads);
        self.oracle.note(source, sent);
        source
    }

    /// The configuration as a file.
    fn config_file(&self, name: &str) -> PathBuf {
        let settings = self.fixture.settings().unwrap();
        let mut values: Vec<(&str, String)> =
            settings.iter().filter_map(|setting| Some((setting.key?, setting.toml()))).collect();
        values.push(("kafka.session_timeout_ms", "1500".to_owned()));
        values.push(("telemetry.log", "\"footprint=debug,info\"".to_owned()));
        for (key, value) in &self.settings {
            values.retain(|(known, _)| known != key);
            values.push((key, value.clone()));
        }
        let mut lines: Vec<String> = values.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let columns = self.definition.columns.join(", ");
        let further = self.further_routes.iter().map(|name| (name.as_str(), name.as_str()));
        for (name, topic) in [("user_footprint", self.topic.as_str())].into_iter().chain(further) {
            lines.push(format!(
                "[[routes]]\nname = {name:?}\ntopic = {topic:?}\npostgres_table = {name:?}\n\
                 clickhouse_table = {name:?}\ntimezone = {:?}\ncolumns = [{columns}]",
                self.definition.timezone
            ));
        }
        let path = self.directory.join(format!("{name}.toml"));
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    /// Runs a command of the program to its end. It must succeed.
    pub fn command(&self, arguments: &[&str]) -> String {
        let (status, out, err) = self.outcome(arguments);
        assert_eq!(status, 0, "{arguments:?}:\n{out}\n{err}");
        out
    }

    /// Runs a command of the program to its end. Returns its exit status, its standard output, and its standard error.
    pub fn outcome(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = program(&self.directory, &self.config_file("command")).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().expect("it ended by itself"), text(&output.stdout), text(&output.stderr))
    }

    /// A command of the program, to be run as the test wants it.
    pub fn program(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = program(&self.directory, &self.config_file("command"));
        command.args(arguments);
        command
    }

    /// Runs a command of the program to any end. Returns its exit status, and both outputs.
    pub fn attempt(&self, arguments: &[&str], deadline: Duration) -> (Option<i32>, String) {
        let said = self.directory.join(format!("{}.said", arguments[0]));
        let mut command = program(&self.directory, &self.config_file("attempt"));
        command.args(arguments);
        let what = arguments.join(" ");
        let mut process = Process::start(command, &what, Output::File(&said), Output::File(&said)).unwrap();
        (process.wait(deadline).unwrap().status.code(), process.stderr_text())
    }

    /// `check` must report a fault that contains `word`, and `run` must end with it.
    pub fn is_named(&self, word: &str) {
        let (status, out, err) = self.outcome(&["check"]);
        let named = out.lines().any(|line| line.starts_with("FAULT") && line.contains(word));
        assert!(status == 3 && named, "{word}: {out}{err}");
        let (status, out, err) = self.outcome(&["run", "--until-caught-up"]);
        assert!(status == 1 && err.contains(word), "{word}: {status}: {out}{err}");
    }

    /// A file of this test's own.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Makes `setting` the text `value` for every consumer from now on.
    pub fn set_text(&mut self, setting: &'static str, value: impl std::fmt::Display) {
        self.set(setting, &format!("{:?}", value.to_string()));
    }

    /// Gives the topic more partitions. From now on records go to all of them.
    pub fn grow(&mut self, partitions: u16) {
        self.partitions = partitions;
        self.lives += 1;
        self.feed =
            Feed::new(&self.fixture.bootstrap, &self.topic, usize::from(partitions), self.lives, self.bad_share);
    }

    /// Starts a consumer.
    pub fn consumer(&mut self) -> Consumer {
        self.consumer_with(&[])
    }

    /// Starts a consumer with arguments after `run`.
    pub fn consumer_with(&mut self, arguments: &[&str]) -> Consumer {
        self.consumers += 1;
        let name = format!("consumer-{}", self.consumers);
        Consumer::start(&self.directory, &self.config_file(&name), &name, arguments)
    }

    /// The group's commits.
    pub fn committed(&self) -> std::collections::BTreeMap<i32, (i64, String)> {
        committed(&self.fixture.bootstrap, &self.topic, &self.topic, usize::from(self.partitions))
    }

    /// The ledger's rows of one life of the topic.
    pub fn ledger(&mut self, source: i64) -> Vec<LedgerRow> {
        self.eye.ledger().into_iter().filter(|row| row.source == source).collect()
    }

    /// The number of records sent to a life.
    pub fn sent(&self, source: i64) -> i64 {
        (0..i32::from(self.partitions)).map(|partition| self.oracle.end(source, partition)).sum()
    }

    /// The number of a life's records that every sink has stored, as far as the ledger knows.
    pub fn stored(&mut self, source: i64) -> i64 {
        self.ledger(source).iter().map(LedgerRow::lowest).sum()
    }

    /// Waits until all records of a life are stored.
    pub fn wait_stored(&mut self, source: i64, deadline: Duration, consumers: &mut [&mut Consumer]) {
        let ends: Vec<(i32, i64)> = (0..i32::from(self.partitions))
            .map(|p| (p, self.oracle.end(source, p)))
            .filter(|&(_, end)| end > 0)
            .collect();
        let eye = &mut self.eye;
        let mut done = || {
            let rows: Vec<LedgerRow> = eye.ledger().into_iter().filter(|row| row.source == source).collect();
            for consumer in consumers.iter_mut() {
                let ended = consumer.ended();
                assert!(ended.is_none(), "the consumer ended, {ended:?}: {}", consumer.tail());
            }
            let stored = |&(partition, end): &(i32, i64)| {
                rows.iter().any(|row| row.partition == partition && row.lowest() >= end)
            };
            ends.iter().all(stored).then_some(())
        };
        let end = std::time::Instant::now() + deadline;
        while done().is_none() {
            if std::time::Instant::now() > end {
                let tails: Vec<String> = consumers.iter().map(|consumer| consumer.tail()).collect();
                let rows = self.eye.ledger();
                panic!("not stored in {deadline:?}: ends {ends:?}, ledger {rows:#?}\n{}", tails.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until at least `count` records of a life are stored.
    pub fn wait_some(&mut self, source: i64, count: i64, consumer: &Consumer) {
        let eye = &mut self.eye;
        let enough = || {
            let rows = eye.ledger().into_iter().filter(|row| row.source == source);
            (rows.map(|row| row.lowest()).sum::<i64>() >= count).then_some(())
        };
        until_or("some records are stored", STORED, enough, || consumer.tail());
    }

    /// How often each partition of a life was taken over.
    pub fn epochs(&mut self, source: i64) -> std::collections::BTreeMap<i32, i64> {
        self.ledger(source).iter().map(|row| (row.partition, row.epoch)).collect()
    }

    /// The processes that own partitions of a life. The upper half of an owner is the process's.
    pub fn owners(&mut self, source: i64) -> std::collections::BTreeSet<u64> {
        self.ledger(source).iter().map(|row| row.owner.as_u64_pair().0).collect()
    }

    /// Waits until a claim is pending, because a batch is under way. Returns the number of pending claims.
    pub fn wait_claimed(&mut self, source: i64, consumer: &Consumer) -> usize {
        let eye = &mut self.eye;
        let pending = || {
            let rows = eye.ledger().into_iter().filter(|row| row.source == source);
            Some(rows.map(|row| row.pending()).sum::<usize>()).filter(|&pending| pending > 0)
        };
        until_or("a claim is pending", STORED, pending, || consumer.tail())
    }

    /// Makes `setting` the TOML `value` for every consumer from now on.
    pub fn set(&mut self, setting: &'static str, value: &str) {
        self.settings.retain(|(known, _)| *known != setting);
        self.settings.push((setting, value.to_owned()));
    }
}

impl Drop for World {
    /// Removes the logs of a test that passed, because nobody needs them.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
