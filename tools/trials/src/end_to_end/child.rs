//! One `footprint` process: started so that it dies with us, waited for with a deadline, and what it cost.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How often the memory of a running process is looked at. Seldom: each look costs 50 microseconds of the cores that it works
/// with, and what is read is its greatest so far.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A running process; dropped, it dies.
pub(super) struct Child {
    process: Process,
    /// Readable once it has ended (pidfd_open(2)).
    ending: OwnedFd,
    what: String,
    log: PathBuf,
    started: Instant,
    peak_bytes: u64,
    reaped: bool,
}

/// How a process ended and what it cost.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// Its exit status.
    pub(super) status: ExitStatus,
    /// From its start to its end.
    pub(super) elapsed: Duration,
    /// CPU time of all its threads.
    pub(super) cpu: Duration,
    /// Peak resident memory. Not rusage's: `ru_maxrss` begins at what *we* held when we forked, which is more.
    pub(super) peak_bytes: u64,
    /// What it wrote to standard output.
    pub(super) said: String,
}

impl Child {
    /// Starts `command`, which `what` names in messages; its standard error goes to the file `log`.
    #[allow(unsafe_code)]
    pub(super) fn start(mut command: Command, what: String, log: PathBuf) -> Result<Self> {
        let errors = File::options().create(true).append(true).open(&log).context("cannot write a log")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let started = Instant::now();
        let process = footprint_stack::spawn(command).with_context(|| format!("cannot start {what}"))?;
        // SAFETY: the call only takes numbers, and what it returns is a new descriptor, nobody else's.
        let ending = unsafe {
            let descriptor = libc::syscall(libc::SYS_pidfd_open, process.id() as libc::pid_t, 0);
            ensure!(descriptor >= 0, "cannot watch {what}: {}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(descriptor as RawFd)
        };
        Ok(Self { process, ending, what, log, started, peak_bytes: 0, reaped: false })
    }

    /// What it has logged so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it ends; one that lives past `limit` is a failure.
    pub(super) fn wait(mut self, limit: Duration) -> Result<Ended> {
        loop {
            if let Some(ended) = self.ended()? {
                return Ok(ended);
            }
            if self.started.elapsed() > limit {
                bail!("{} has not ended after {limit:?}; its log:\n{}", self.what, self.log());
            }
            self.await_end(LOOK_INTERVAL)?;
        }
    }

    /// As [`Child::wait`]; ending with a failure is one.
    pub(super) fn succeed(self, limit: Duration) -> Result<Ended> {
        let (what, log) = (self.what.clone(), self.log.clone());
        let ended = self.wait(limit)?;
        let text = || std::fs::read_to_string(&log).unwrap_or_default();
        ensure!(ended.status.success(), "{what} ended with {}; its log:\n{}", ended.status, text());
        Ok(ended)
    }

    /// Fails when it has ended though nobody asked it to.
    pub(super) fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            Some(ended) => bail!("{} ended with {}; its log:\n{}", self.what, ended.status, self.log()),
            None => Ok(()),
        }
    }

    /// Asks it to drain and end (SIGTERM). Once: the second time it would end at once.
    pub(super) fn ask_to_end(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Asks it to drain and end, and waits for that.
    pub(super) fn drain(self, limit: Duration) -> Result<Ended> {
        self.ask_to_end();
        let limit = self.started.elapsed() + limit;
        self.succeed(limit)
    }

    /// Ends it as a power cut would (SIGKILL), and waits until it is gone.
    pub(super) fn kill(self) -> Result<()> {
        let what = self.what.clone();
        self.signal(libc::SIGKILL);
        let ended = self.wait(Duration::MAX)?;
        ensure!(ended.status.signal() == Some(libc::SIGKILL), "{what} had ended by itself ({})", ended.status);
        Ok(())
    }

    #[allow(unsafe_code)]
    fn signal(&self, signal: libc::c_int) {
        if !self.reaped {
            // SAFETY: kill only takes numbers, and the process has not been waited for: the number is still its own.
            unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
        }
    }

    /// Returns when it ends, or after `timeout`.
    #[allow(unsafe_code)]
    fn await_end(&self, timeout: Duration) -> Result<()> {
        let milliseconds = timeout.as_millis() as libc::c_int;
        let mut poll = libc::pollfd { fd: self.ending.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live structure, as many as the call is told.
        let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        let error = std::io::Error::last_os_error();
        ensure!(ready >= 0 || error.kind() == ErrorKind::Interrupted, "cannot wait for {}: {error}", self.what);
        Ok(())
    }

    /// How it ended, when it has.
    #[allow(unsafe_code)]
    fn ended(&mut self) -> Result<Option<Ended>> {
        let now = peak_bytes(self.process.id()).unwrap_or(0);
        self.peak_bytes = self.peak_bytes.max(now);
        let mut status = 0;
        // SAFETY: rusage is plain numbers, for which zeros are a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live variables of the right types, and the child is ours and not waited for.
        let pid =
            unsafe { libc::wait4(self.process.id() as libc::pid_t, &raw mut status, libc::WNOHANG, &raw mut usage) };
        if pid == 0 {
            return Ok(None);
        }
        let elapsed = self.started.elapsed();
        self.reaped = true;
        ensure!(pid > 0, "cannot wait for {}: {}", self.what, std::io::Error::last_os_error());
        let mut said = String::new();
        if let Some(mut output) = self.process.stdout.take() {
            output.read_to_string(&mut said).context("cannot read what footprint says")?;
        }
        Ok(Some(Ended {
            status: ExitStatus::from_raw(status),
            elapsed,
            cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
            peak_bytes: self.peak_bytes,
            said,
        }))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_micros(time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs())
}

/// Linux's high-water mark of a process's resident memory since it became this program.
fn peak_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

/// CPU time that this process has used, all threads.
#[allow(unsafe_code)]
pub(super) fn own_cpu() -> Duration {
    // SAFETY: rusage is plain numbers, for which zeros are a value; the pointer is to a live variable.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}
