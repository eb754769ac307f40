//! The three servers together. Each is there if asked for, and all start at the same time.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;

use crate::cache::Cache;
use crate::clickhouse::ClickHouse;
use crate::clickhouse_users::{ADOPTION_RIGHTS, ClickHouseRights, ClickHouseUser};
use crate::download::{self, Wanted};
use crate::error::StackError;
use crate::kafka::Kafka;
use crate::postgres::Postgres;
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::secret;
use crate::server::Server;

/// The database that the footprint program writes to, in PostgreSQL and in ClickHouse.
pub const APPLICATION_DATABASE: &str = "prd";
/// The user of that program: owner of the database in PostgreSQL, with the first user's rights in ClickHouse.
pub const APPLICATION_USER: &str = "footprint";
/// A ClickHouse user with the same rights on every database of `TEST_DATABASES`: one database for each test, one user for all.
pub const TEST_USER: &str = "footprint_test";
/// A `TEST_USER` that may also adopt tables of the old system: with the one grant that `footprint migrate` prints.
pub const TEST_ADOPTER: &str = "footprint_adopter";
/// The databases that `TEST_USER` may use.
pub const TEST_DATABASES: &str = "test_*";

/// How often a start is tried again if another program took the port just before the server.
const PORT_TRIES_MAX: u32 = 3;

/// What to start, and where.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Start Kafka.
    pub kafka: bool,
    /// Give it listeners that ask for passwords and certificates, besides the plain one.
    pub kafka_secured: bool,
    /// Start PostgreSQL.
    pub postgres: bool,
    /// Start ClickHouse.
    pub clickhouse: bool,
    /// Give PostgreSQL and ClickHouse a small disk each, to fill it. Only root can.
    pub small_disks: bool,
    /// The directory of the data. `None`: a temporary one, removed at the end.
    pub data_dir: Option<PathBuf>,
    /// How to report slow steps.
    pub progress: Progress,
}

impl Default for StackOptions {
    /// All three, temporary, quiet.
    fn default() -> Self {
        Self {
            kafka: true,
            kafka_secured: false,
            postgres: true,
            clickhouse: true,
            small_disks: false,
            data_dir: None,
            progress: Progress::Quiet,
        }
    }
}

impl StackOptions {
    /// None of the three. Use it as `StackOptions { postgres: true, ..StackOptions::none() }`.
    pub fn none() -> Self {
        Self { kafka: false, postgres: false, clickhouse: false, ..Self::default() }
    }
}

/// Running servers. On drop, they end and their data is removed, unless a data directory was named.
#[derive(Debug)]
pub struct Stack {
    // Dropped in this order: the servers before their data.
    kafka: Option<Kafka>,
    postgres: Option<Postgres>,
    clickhouse: Option<ClickHouse>,
    user_password: String,
    run_dir: RunDir,
}

impl Stack {
    /// Downloads what is not in the cache, starts the requested servers at the same time, and waits until all are ready.
    pub fn start(options: StackOptions) -> Result<Self, StackError> {
        let cache = Cache::open()?;
        let wanted = Wanted { kafka: options.kafka, postgres: options.postgres, clickhouse: options.clickhouse };
        download::check_prerequisites(&cache, wanted)?;
        let run_dir = match &options.data_dir {
            Some(path) => RunDir::kept(path)?,
            None => RunDir::temporary(&cache)?,
        };
        let user_password = secret::kept(&run_dir.path("user.password"))?;
        let users = [
            (APPLICATION_USER, APPLICATION_DATABASE, ""),
            (TEST_USER, TEST_DATABASES, ""),
            (TEST_ADOPTER, TEST_DATABASES, ADOPTION_RIGHTS),
        ]
        .map(|(name, databases, also)| ClickHouseUser {
            name: name.to_owned(),
            password: user_password.clone(),
            rights: ClickHouseRights::Site { databases: databases.to_owned(), also },
        });
        let progress = &options.progress;
        let (kafka, postgres, clickhouse) = thread::scope(|scope| {
            let kafka = scope.spawn(|| {
                start_if(options.kafka, || Kafka::start_in(&cache, &run_dir, options.kafka_secured, progress))
            });
            let postgres = scope.spawn(|| {
                start_if(options.postgres, || Postgres::start_in(&cache, &run_dir, options.small_disks, progress))
            });
            let clickhouse = start_if(options.clickhouse, || {
                ClickHouse::start_in(&cache, &run_dir, &users, options.small_disks, progress)
            });
            (joined(kafka), joined(postgres), clickhouse)
        });
        let stack = Self { kafka: kafka?, postgres: postgres?, clickhouse: clickhouse?, user_password, run_dir };
        stack.prepare()?;
        Ok(stack)
    }

    /// The databases and users that the footprint program expects.
    fn prepare(&self) -> Result<(), StackError> {
        if let Some(postgres) = &self.postgres {
            postgres.create_role(APPLICATION_USER, &self.user_password)?;
            postgres.create_database(APPLICATION_DATABASE)?;
            postgres.give_database(APPLICATION_DATABASE, APPLICATION_USER)?;
        }
        if let Some(clickhouse) = &self.clickhouse {
            clickhouse.create_database(APPLICATION_DATABASE)?;
        }
        Ok(())
    }

    /// Kafka. It is an error if it was not asked for.
    pub fn kafka(&self) -> Result<&Kafka, StackError> {
        self.kafka.as_ref().ok_or(StackError::NotStarted { server: "Kafka" })
    }

    /// PostgreSQL. It is an error if it was not asked for.
    pub fn postgres(&self) -> Result<&Postgres, StackError> {
        self.postgres.as_ref().ok_or(StackError::NotStarted { server: "PostgreSQL" })
    }

    /// ClickHouse. It is an error if it was not asked for.
    pub fn clickhouse(&self) -> Result<&ClickHouse, StackError> {
        self.clickhouse.as_ref().ok_or(StackError::NotStarted { server: "ClickHouse" })
    }

    /// The password of `APPLICATION_USER` in both databases, of `TEST_USER` and of `TEST_ADOPTER`.
    pub fn user_password(&self) -> &str {
        &self.user_password
    }

    /// The directory of the servers' data and logs. A temporary one is removed with the stack.
    pub fn directory(&self) -> &Path {
        self.run_dir.directory()
    }

    /// The servers that run, or should run.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        let kafka = self.kafka.as_deref();
        kafka.into_iter().chain(self.postgres.as_deref()).chain(self.clickhouse.as_deref())
    }

    /// The first server that has ended without being asked to.
    pub fn ended(&self) -> Option<(&Server, ExitStatus)> {
        self.servers().find_map(|server| server.ended().map(|status| (server, status)))
    }
}

fn joined<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn start_if<T>(wanted: bool, start: impl Fn() -> Result<T, StackError>) -> Result<Option<T>, StackError> {
    if !wanted {
        return Ok(None);
    }
    for _ in 1..PORT_TRIES_MAX {
        match start() {
            Err(StackError::Died { tail, .. }) if tail.contains("in use") => {}
            other => return other.map(Some),
        }
    }
    start().map(Some)
}
