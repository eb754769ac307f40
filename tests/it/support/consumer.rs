//! A consumer: the real program as a process, its messages in a file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::wait::until_or;

/// A running `footprint run`. It is killed on drop.
pub struct Consumer {
    child: Child,
    log: PathBuf,
}

/// The program with one configuration file and nothing of the caller's environment.
pub fn program(directory: &Path, config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_footprint"));
    command.env_clear().current_dir(directory).stdin(Stdio::null()).arg("--config").arg(config);
    command
}

impl Consumer {
    /// Starts it; `arguments` follow `run`.
    #[allow(unsafe_code)]
    pub fn start(directory: &Path, config: &Path, name: &str, arguments: &[&str]) -> Self {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let mut command = program(directory, config);
        command.arg("run").args(arguments);
        command.stdout(output.try_clone().unwrap()).stderr(output);
        // SAFETY: prctl is async-signal-safe; a consumer must not outlive the test
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        Self { child: command.spawn().unwrap(), log }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of it.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("{}:\n{}", self.log.display(), lines[lines.len().saturating_sub(40)..].join("\n"))
    }

    /// Sends a signal.
    #[allow(unsafe_code)]
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child was not waited for, so the number is still its own
        assert_eq!(unsafe { libc::kill(self.child.id().cast_signed(), signal) }, 0, "signal {signal}");
    }

    /// Kills it with kill -9 and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let child = &mut self.child;
        let log = &self.log;
        until_or(
            "the consumer ends",
            deadline,
            || child.try_wait().unwrap(),
            || std::fs::read_to_string(log).unwrap_or_default(),
        )
    }

    /// Sends SIGTERM. It must drain and exit with 0.
    pub fn stop(&mut self) {
        self.signal(libc::SIGTERM);
        let status = self.wait(Duration::from_secs(40));
        assert_eq!(status.code(), Some(0), "a drained consumer exits 0: {}", self.tail());
    }

    /// The value of the metric whose line begins with `name`. None: it is not there yet.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let log = self.log();
        let address = log.split("metrics at http://").nth(1)?.split('/').next()?.to_owned();
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        let line = page.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Its peak resident memory, KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
