//! A real PostgreSQL: its own superuser, password authentication over TCP, no Unix socket.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::blocking;
use crate::cache::{Cache, remove_tree};
use crate::download;
use crate::error::StackError;
use crate::name;
use crate::ports::Port;
use crate::progress::Progress;
use crate::run_dir::{self, RunDir};
use crate::secret;
use crate::server::{Launch, Server};
use crate::spawner;
use crate::tool;

const NAME: &str = "PostgreSQL";
const SUPERUSER: &str = "postgres";
const INITDB_LIMIT: Duration = Duration::from_secs(120);
const QUERY_LIMIT: Duration = Duration::from_secs(60);
const PROBE_LIMIT: Duration = Duration::from_secs(2);
const COPY_LIMIT: Duration = Duration::from_secs(300);

/// A running PostgreSQL. It derefs to its [`Server`], which can be killed, paused, restarted and so on.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    access: Access,
    directory: PathBuf,
    snapshots: AtomicU32,
    _port: Port,
}

/// The superuser's login.
#[derive(Clone, Debug)]
struct Access {
    port: u16,
    password: String,
}

/// A copy of PostgreSQL's data. It is removed on drop. It belongs to the server from which it was taken.
#[derive(Debug)]
pub struct PostgresSnapshot {
    path: PathBuf,
}

impl Drop for PostgresSnapshot {
    fn drop(&mut self) {
        // A directory that cannot be removed now is removed with the stack's directory.
        let _ = remove_tree(&self.path);
    }
}

impl Deref for Postgres {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Postgres {
    /// Downloads PostgreSQL if needed and starts it with its data in `run_dir`.
    pub(crate) fn start_in(
        cache: &Cache,
        run_dir: &RunDir,
        small_disk: bool,
        progress: &Progress,
    ) -> Result<Self, StackError> {
        let programs = download::postgres(cache, progress)?;
        let step = progress.step("Starting PostgreSQL");
        let directory = run_dir.server("postgresql")?;
        let port = Port::lease(cache)?;
        let password = secret::kept(&directory.join("superuser.password"))?;
        if !directory.join("data").exists() {
            initialize(&programs, &directory)?;
        }
        let access = Access { port: port.number(), password };
        let launch = Launch {
            small_disk: small_disk.then(|| run_dir::small_disk(&directory)).transpose()?,
            name: NAME,
            log: directory.join("postgresql.log"),
            stop_signal: libc::SIGINT,
            // Quick, but the shared memory is released, which SIGKILL would leave behind.
            drop_signal: libc::SIGQUIT,
            command: Box::new({
                let (directory, number) = (directory.clone(), port.number());
                move || server_command(&programs, &directory, number)
            }),
            ready: Box::new({
                let access = access.clone();
                move || query(&access, "postgres", "select 1", PROBE_LIMIT).is_ok()
            }),
        };
        let server = Server::start(launch)?;
        step.done();
        Ok(Self { server, access, directory, snapshots: AtomicU32::new(0), _port: port })
    }

    /// The address it listens on.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port it listens on; the same after every restart.
    pub fn port(&self) -> u16 {
        self.access.port
    }

    /// The name of the superuser.
    pub fn superuser(&self) -> &'static str {
        SUPERUSER
    }

    /// The superuser's password.
    pub fn superuser_password(&self) -> &str {
        &self.access.password
    }

    /// Runs one or more statements as superuser.
    pub fn execute(&self, database: &str, sql: &str) -> Result<(), StackError> {
        self.query(database, sql).map(drop)
    }

    /// Runs one or more statements as superuser. Returns all rows as text, `None` for null.
    pub fn query(&self, database: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, StackError> {
        query(&self.access, database, sql, QUERY_LIMIT)
    }

    /// Creates a database, unless it is there.
    pub fn create_database(&self, database: &str) -> Result<(), StackError> {
        let database = name::check(database)?;
        let found = self.query("postgres", &format!("select 1 from pg_database where datname = '{database}'"))?;
        if found.is_empty() {
            self.execute("postgres", &format!("create database {database}"))?;
        }
        Ok(())
    }

    /// Creates a login role without special rights, unless it exists, and sets its password.
    pub fn create_role(&self, role: &str, password: &str) -> Result<(), StackError> {
        let (role, password) = (name::check(role)?, password.replace('\'', "''"));
        let found = self.query("postgres", &format!("select 1 from pg_roles where rolname = '{role}'"))?;
        let verb = if found.is_empty() { "create" } else { "alter" };
        self.execute("postgres", &format!("{verb} role {role} login password '{password}'"))
    }

    /// Makes `role` the owner of `database`: it may do anything there, and nothing elsewhere.
    pub fn give_database(&self, database: &str, role: &str) -> Result<(), StackError> {
        let (database, role) = (name::check(database)?, name::check(role)?);
        self.execute("postgres", &format!("alter database {database} owner to {role}"))
    }

    /// Stops the server cleanly, copies its data, and starts it again.
    pub fn snapshot(&self) -> Result<PostgresSnapshot, StackError> {
        let number = self.snapshots.fetch_add(1, Ordering::Relaxed);
        let snapshot = PostgresSnapshot { path: self.directory.join(format!("snapshot-{number}")) };
        self.server.stop()?;
        let copied = copy_tree(&self.data(), &snapshot.path);
        self.server.restart()?;
        copied.map(|()| snapshot)
    }

    /// Kills the server, restores the older data, and starts it. Clients see the same as after a restore from a backup.
    pub fn restore(&self, snapshot: &PostgresSnapshot) -> Result<(), StackError> {
        self.server.kill()?;
        remove_tree(&self.data())?;
        copy_tree(&snapshot.path, &self.data())?;
        self.server.restart()
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}

fn initialize(programs: &Path, directory: &Path) -> Result<(), StackError> {
    // Renamed when complete, because the result of an interrupted initdb is no data directory.
    let unfinished = directory.join("data.unfinished");
    remove_tree(&unfinished)?;
    let password_file = directory.join("superuser.password");
    spawner::give_to_server_user(&password_file)
        .map_err(StackError::file("give to the server's user", &password_file))?;
    let mut initdb = Command::new(programs.join("bin/initdb"));
    initdb
        .args(["--username", SUPERUSER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"])
        .args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"])
        .arg(format!("--pwfile={}", password_file.display()))
        .arg("--pgdata")
        .arg(&unfinished)
        .current_dir(directory);
    spawner::as_server_user(&mut initdb);
    tool::run("initdb", initdb, &directory.join("initdb.log"), INITDB_LIMIT)?;
    fs::rename(&unfinished, directory.join("data")).map_err(StackError::file("rename", &unfinished))
}

fn server_command(programs: &Path, directory: &Path, port: u16) -> Command {
    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        // Tests of many writers at once; each costs little while idle.
        "max_connections=300".to_owned(),
        "shared_buffers=256MB".to_owned(),
        "max_wal_size=2GB".to_owned(),
        // after a kill: one call for the whole file system; file by file takes tens of seconds
        "recovery_init_sync_method=syncfs".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        "log_line_prefix=%m [%p] %q%u@%d/%a ".to_owned(),
    ];
    let mut command = Command::new(programs.join("bin/postgres"));
    command.arg("-D").arg(directory.join("data")).current_dir(directory);
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    command
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), StackError> {
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto", "--no-target-directory"]).arg(from).arg(to);
    tool::run("cp", copy, &to.with_extension("log"), COPY_LIMIT)
}

fn query(access: &Access, database: &str, sql: &str, limit: Duration) -> Result<Vec<Vec<Option<String>>>, StackError> {
    blocking::run("a query to PostgreSQL", limit, async {
        let client = connect(access, database, limit).await?;
        let messages = client.simple_query(sql).await.map_err(refused)?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
                }
                _ => None,
            })
            .collect())
    })
}

async fn connect(access: &Access, database: &str, limit: Duration) -> Result<Client, StackError> {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(access.port)
        .user(SUPERUSER)
        .password(&access.password)
        .dbname(database)
        .application_name("footprint-stack")
        .connect_timeout(limit);
    let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
    // It ends with its client, and at the latest with the runtime that `blocking::run` makes for this one query.
    tokio::spawn(connection);
    Ok(client)
}

fn refused(error: tokio_postgres::Error) -> StackError {
    // The outer text of a server's refusal is only "db error".
    let message = error.as_db_error().map_or_else(|| error.to_string(), |inner| inner.message().to_owned());
    StackError::Refused { server: NAME, message }
}
