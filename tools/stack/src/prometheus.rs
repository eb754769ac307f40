//! A real Prometheus: it scrapes the given targets, and evaluates the given rules.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::Cache;
use crate::download;
use crate::error::StackError;
use crate::http;
use crate::ports::Port;
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::server::{Launch, Server};

const NAME: &str = "Prometheus";
const QUERY_LIMIT: Duration = Duration::from_secs(30);
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// What it scrapes, and the rules that it evaluates.
#[derive(Clone, Debug)]
pub struct PrometheusOptions<'a> {
    /// `host:port` of each target. Their job is "footprint", as in `packaging/prometheus.yml`.
    pub targets: &'a [String],
    /// The text of a file of rules. Empty: none.
    pub rules: &'a str,
    /// How often it scrapes and evaluates.
    pub interval: Duration,
}

/// A running Prometheus. It derefs to its [`Server`], which can be killed, paused, restarted and so on. Dropping it ends it and
/// removes its data.
#[derive(Debug)]
pub struct Prometheus {
    // Dropped in this order: the server before its data.
    server: Server,
    port: Port,
    _run_dir: RunDir,
}

impl Deref for Prometheus {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Prometheus {
    /// Starts it, after a download if it is neither installed nor in the cache.
    pub fn start(options: &PrometheusOptions<'_>, progress: &Progress) -> Result<Self, StackError> {
        let cache = Cache::open()?;
        let program = download::prometheus(&cache, progress)?;
        let run_dir = RunDir::temporary(&cache)?;
        let step = progress.step("Starting Prometheus");
        let directory = run_dir.server("prometheus")?;
        let port = Port::lease(&cache)?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(StackError::file("write", &path))
        };
        write("prometheus.yml", &config(options))?;
        write("rules.yml", options.rules)?;
        let number = port.number();
        let server = Server::start(Launch {
            small_disk: None,
            name: NAME,
            log: directory.join("prometheus.log"),
            stop_signal: libc::SIGTERM,
            drop_signal: libc::SIGKILL,
            command: Box::new(move || command(&program, &directory, number)),
            ready: Box::new(move || {
                http::get(number, "/-/ready", PROBE_LIMIT).is_ok_and(|answer| answer.status == 200)
            }),
        })?;
        step.done();
        Ok(Self { server, port, _run_dir: run_dir })
    }

    /// Asks its HTTP API: a path such as `/api/v1/alerts`, whose values are already percent-encoded. Returns the JSON.
    pub fn get(&self, path: &str) -> Result<String, StackError> {
        let answer = http::get(self.port.number(), path, QUERY_LIMIT)
            .map_err(|error| StackError::Answer { server: NAME, message: error.to_string() })?;
        match answer.status {
            200 => Ok(answer.body),
            _ => Err(StackError::Refused { server: NAME, message: answer.body.trim_end().to_owned() }),
        }
    }
}

fn config(options: &PrometheusOptions<'_>) -> String {
    let interval_ms = options.interval.as_millis();
    let targets: Vec<String> = options.targets.iter().map(|target| format!("{target:?}")).collect();
    format!(
        "global:\n  scrape_interval: {interval_ms}ms\n  scrape_timeout: {interval_ms}ms\n  \
         evaluation_interval: {interval_ms}ms\n{}scrape_configs:\n  - job_name: footprint\n    static_configs:\n      \
         - targets: [{}]\n",
        if options.rules.is_empty() { "" } else { "rule_files: [rules.yml]\n" },
        targets.join(", ")
    )
}

fn command(program: &Path, directory: &Path, port: u16) -> Command {
    let option = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
    let mut command = Command::new(program);
    command
        .arg(option("config.file", directory.join("prometheus.yml")))
        .arg(option("storage.tsdb.path", directory.join("data")))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .current_dir(directory);
    command
}
