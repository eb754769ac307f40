//! A real ClickHouse server: the one inside libchdb.so, run by a host program, with its own HTTP and TCP handlers.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cache::Cache;
use crate::clickhouse_users::{ClickHouseUser, users_xml};
use crate::download;
use crate::error::StackError;
use crate::http;
use crate::name;
use crate::ports::Port;
use crate::progress::Progress;
use crate::run_dir::{self, RunDir};
use crate::secret;
use crate::server::{Launch, Server};
use crate::spawner;
use crate::tool;

const NAME: &str = "ClickHouse";
const ADMIN: &str = "admin";
const QUERY_LIMIT: Duration = Duration::from_secs(120);
const PROBE_LIMIT: Duration = Duration::from_secs(2);
const TOOL_LIMIT: Duration = Duration::from_secs(10);

/// A running ClickHouse. It derefs to its [`Server`], which can be killed, paused, restarted and so on.
#[derive(Debug)]
pub struct ClickHouse {
    server: Server,
    access: Access,
    tcp_port: u16,
    directory: PathBuf,
    users: Mutex<Vec<ClickHouseUser>>,
    _ports: [Port; 2],
}

/// The administrator's login.
#[derive(Clone, Debug)]
struct Access {
    http_port: u16,
    password: String,
}

impl Deref for ClickHouse {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl ClickHouse {
    /// Downloads ClickHouse if needed and starts it with its data in `run_dir`, and with `users` besides the administrator.
    pub(crate) fn start_in(
        cache: &Cache,
        run_dir: &RunDir,
        users: &[ClickHouseUser],
        small_disk: bool,
        progress: &Progress,
    ) -> Result<Self, StackError> {
        let programs = Programs {
            library: download::clickhouse(cache, progress)?.join("libchdb.so"),
            host: download::clickhouse_host(cache)?,
        };
        let step = progress.step("Starting ClickHouse");
        let directory = run_dir.server("clickhouse")?;
        let ports = [Port::lease(cache)?, Port::lease(cache)?];
        let [http_port, tcp_port] = [ports[0].number(), ports[1].number()];
        let access = Access { http_port, password: secret::kept(&directory.join("admin.password"))? };
        write_for_server(&directory.join("config.xml"), &config_xml(&directory))?;
        write_for_server(&directory.join("users.xml"), &users_xml(ADMIN, &access.password, users)?)?;
        make_fifo(&directory)?;
        let launch = Launch {
            small_disk: small_disk.then(|| run_dir::small_disk(&directory)).transpose()?,
            name: NAME,
            log: directory.join("clickhouse.log"),
            stop_signal: libc::SIGTERM,
            drop_signal: libc::SIGKILL,
            command: Box::new({
                let directory = directory.clone();
                move || server_command(&programs, &directory, http_port, tcp_port)
            }),
            ready: Box::new({
                let access = access.clone();
                move || query(access.http_port, ADMIN, &access.password, "select 1", PROBE_LIMIT).is_ok()
            }),
        };
        let server = Server::start(launch)?;
        step.done();
        Ok(Self { server, access, tcp_port, directory, users: Mutex::new(users.to_vec()), _ports: ports })
    }

    /// The address it listens on.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port of its HTTP interface; the same after every restart.
    pub fn http_port(&self) -> u16 {
        self.access.http_port
    }

    /// The port of its native protocol, which answers HTTP with an explanation.
    pub fn tcp_port(&self) -> u16 {
        self.tcp_port
    }

    /// The user who may do everything.
    pub fn admin_user(&self) -> &'static str {
        ADMIN
    }

    /// That user's password.
    pub fn admin_password(&self) -> &str {
        &self.access.password
    }

    /// Runs one statement as administrator. Returns ClickHouse's answer (tab-separated unless FORMAT says otherwise).
    pub fn query(&self, sql: &str) -> Result<String, StackError> {
        self.query_as(ADMIN, &self.access.password, sql)
    }

    /// Runs one statement as that user.
    pub fn query_as(&self, user: &str, password: &str, sql: &str) -> Result<String, StackError> {
        query(self.access.http_port, user, password, sql, QUERY_LIMIT)
    }

    /// Creates a database, unless it is there.
    pub fn create_database(&self, database: &str) -> Result<(), StackError> {
        self.query(&format!("create database if not exists {}", name::check(database)?)).map(drop)
    }

    /// Adds a user, or replaces the one with that name, and restarts the server, because it reads the users only at its start. If
    /// several tests share a server, name the users at its start instead.
    pub fn set_user(&self, user: ClickHouseUser) -> Result<(), StackError> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed: Vec<_> = users.iter().filter(|found| found.name != user.name).cloned().collect();
        changed.push(user);
        let text = users_xml(ADMIN, &self.access.password, &changed)?;
        write_for_server(&self.directory.join("users.xml"), &text)?;
        *users = changed;
        self.server.restart()
    }
}

struct Programs {
    library: PathBuf,
    host: PathBuf,
}

fn server_command(programs: &Programs, directory: &Path, http_port: u16, tcp_port: u16) -> Command {
    let fifo = directory.join("keep-open.fifo");
    let queries = format!(
        "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
         SELECT count() FROM file('{}', LineAsString, 'line String')",
        fifo.display()
    );
    let mut command = Command::new(&programs.host);
    command
        .arg(&programs.library)
        .arg(&fifo)
        .arg("clickhouse")
        .arg(format!("--config-file={}", directory.join("config.xml").display()))
        .arg(format!("--path={}", directory.join("data").display()))
        .args(["--listen_host=127.0.0.1".to_owned(), format!("--http_port={http_port}")])
        .args([format!("--tcp_port={tcp_port}"), "--multiquery".to_owned(), "--query".to_owned(), queries])
        .current_dir(directory);
    command
}

/// Small caches and pools: two cores and a few GiB must be enough for three servers and the program under test. The meaning of
/// rights (access_control_improvements) is as in the configuration of ClickHouse's packages.
fn config_xml(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "<clickhouse>\n\
         <logger><level>information</level><log>{directory}/server.log</log>\
         <errorlog>{directory}/server.error.log</errorlog><size>100M</size><count>2</count></logger>\n\
         <user_directories><users_xml><path>{directory}/users.xml</path></users_xml></user_directories>\n\
         <timezone>UTC</timezone>\n\
         <access_control_improvements>\
         <users_without_row_policies_can_read_rows>true</users_without_row_policies_can_read_rows>\
         <on_cluster_queries_require_cluster_grant>true</on_cluster_queries_require_cluster_grant>\
         <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>\
         <select_from_information_schema_requires_grant>true</select_from_information_schema_requires_grant>\
         <settings_constraints_replace_previous>true</settings_constraints_replace_previous>\
         <table_engines_require_grant>false</table_engines_require_grant>\
         </access_control_improvements>\n\
         <custom_local_disks_base_directory>{directory}/small/</custom_local_disks_base_directory>\n\
         <max_server_memory_usage>6442450944</max_server_memory_usage>\n\
         <mark_cache_size>67108864</mark_cache_size>\n\
         <index_mark_cache_size>16777216</index_mark_cache_size>\n\
         <uncompressed_cache_size>0</uncompressed_cache_size>\n\
         <mmap_cache_size>0</mmap_cache_size>\n\
         <max_concurrent_queries>200</max_concurrent_queries>\n\
         <background_pool_size>4</background_pool_size>\n\
         <background_schedule_pool_size>8</background_schedule_pool_size>\n\
         </clickhouse>\n"
    )
}

/// Writes a file with passwords that only the server's account can read.
fn write_for_server(path: &Path, text: &str) -> Result<(), StackError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| spawner::give_to_server_user(path))
        .map_err(StackError::file("write", path))
}

fn make_fifo(directory: &Path) -> Result<(), StackError> {
    let path = directory.join("keep-open.fifo");
    if path.exists() {
        fs::remove_file(&path).map_err(StackError::file("remove", &path))?;
    }
    let mut command = Command::new("mkfifo");
    command.args(["--mode", "600"]).arg(&path);
    spawner::as_server_user(&mut command);
    tool::run("mkfifo", command, &directory.join("mkfifo.log"), TOOL_LIMIT)
}

fn query(http_port: u16, user: &str, password: &str, sql: &str, limit: Duration) -> Result<String, StackError> {
    let headers = [format!("X-ClickHouse-User: {user}"), format!("X-ClickHouse-Key: {password}")];
    // wait_end_of_query: an error after the first rows would otherwise come with status 200.
    let answer = http::post(http_port, "/?wait_end_of_query=1", &headers, sql, limit)
        .map_err(|error| StackError::Answer { server: NAME, message: error.to_string() })?;
    match answer.status {
        200 => Ok(answer.body),
        _ => Err(StackError::Refused { server: NAME, message: answer.body.trim_end().to_owned() }),
    }
}
