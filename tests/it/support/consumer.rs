//! A consumer: the real program as a process, its messages in a file.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use footprint_trials::trial::{Output, Process};

/// How long a killed process may take to be gone, and a drained one to end.
const END: Duration = Duration::from_secs(40);

/// A component on /readyz.
#[derive(Debug)]
pub struct Condition {
    pub state: String,
    pub why: String,
    pub what_to_do: String,
}

/// A running `footprint run`. It is killed on drop.
pub struct Consumer(Process);

/// The program with one configuration file and nothing of the caller's environment.
pub fn program(directory: &Path, config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_footprint"));
    command.env_clear().current_dir(directory).stdin(Stdio::null()).arg("--config").arg(config);
    command
}

impl Consumer {
    /// Starts it; `arguments` follow `run`.
    pub fn start(directory: &Path, config: &Path, name: &str, arguments: &[&str]) -> Self {
        let log = directory.join(format!("{name}.log"));
        let mut command = program(directory, config);
        command.arg("run").args(arguments);
        Self(Process::start(command, name, Output::File(&log), Output::File(&log)).unwrap())
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        self.0.stderr_text()
    }

    /// The last lines of it.
    pub fn tail(&self) -> String {
        self.0.tail()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        self.0.signal(signal);
    }

    /// Kills it with kill -9 and waits for its end.
    pub fn kill(&mut self) {
        self.0.signal(libc::SIGKILL);
        self.0.wait(END).unwrap();
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.ended().unwrap().map(|ended| ended.status)
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        self.0.wait(deadline).unwrap().status
    }

    /// Sends SIGTERM. It must drain and exit with 0.
    pub fn stop(&mut self) {
        self.0.drain(END).unwrap();
    }

    /// The value of the metric whose line begins with `name`. None: it is not there yet.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.page("/metrics")?;
        let line = page.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Where its HTTP server listens. None: it does not listen yet.
    pub fn address(&self) -> Option<String> {
        Some(self.log().split("metrics at http://").nth(1)?.split('/').next()?.to_owned())
    }

    /// A page of its HTTP server: the status and the body. None: it does not listen yet, or is gone.
    pub fn page(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address()?).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// /readyz: the status, and what it says of a component of the first route.
    pub fn condition(&self, component: &str) -> Option<(u16, Condition)> {
        let (status, page) = self.page("/readyz")?;
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        let components = page["routes"][0]["components"].as_array().unwrap();
        let found = components.iter().find(|found| found["component"] == component).unwrap();
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Some((status, Condition { state: text("state"), why: text("why"), what_to_do: text("what_to_do") }))
    }

    /// Its peak resident memory, KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
}
