//! One process of the program. It dies with the trial. Each wait for it has a deadline, its output is kept, and its cost is measured.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The time between two looks at the memory of a running process. Looks are rare: each takes 50 microseconds from the cores that the
/// process uses. They may be rare, because each reads the greatest value so far.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The number of lines that [`Process::tail`] returns.
const TAIL_LINES: usize = 40;

/// Where one of the two outputs of a process goes.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// It goes where this process's own output goes.
    Ours,
    /// It goes to the end of this file. Both outputs may go to one file.
    File(&'a Path),
}

/// A process that runs or has ended. Dropping this kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Readable when the process has ended (pidfd_open(2)).
    ending: OwnedFd,
    what: String,
    stdout: Option<OutputFile>,
    stderr: Option<OutputFile>,
    started: Instant,
    peak_bytes: u64,
    ended: Option<Ended>,
}

/// A file, and where in it the output of one process begins.
#[derive(Debug)]
struct OutputFile {
    file: PathBuf,
    from: u64,
}

/// How a process ended and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// From its start to its end.
    pub elapsed: Duration,
    /// CPU time of all its threads.
    pub cpu: Duration,
    /// Peak resident memory. Not rusage's: `ru_maxrss` begins at what *we* held when we forked, which is more.
    pub peak_bytes: u64,
}

impl Process {
    /// Starts `command`. Messages call it `what`.
    ///
    /// # Errors
    /// It does not start, or a file cannot be written.
    #[allow(unsafe_code)]
    pub fn start(mut command: Command, what: &str, stdout: Output<'_>, stderr: Output<'_>) -> Result<Self> {
        let (stdout, stdout_file) = opened(stdout)?;
        let (stderr, stderr_file) = opened(stderr)?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let started = Instant::now();
        let mut child = footprint_stack::spawn(command).with_context(|| format!("cannot start {what}"))?;
        // SAFETY: the call only takes numbers.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0) };
        if descriptor < 0 {
            let error = std::io::Error::last_os_error();
            child.kill().and_then(|()| child.wait()).with_context(|| format!("cannot end {what}"))?;
            bail!("cannot watch {what}: {error}; pidfd_open needs Linux 5.3");
        }
        // SAFETY: the descriptor is new, and nobody else owns it.
        let ending = unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) };
        Ok(Self {
            child,
            ending,
            what: what.to_owned(),
            stdout: stdout_file,
            stderr: stderr_file,
            started,
            peak_bytes: 0,
            ended: None,
        })
    }

    /// The process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process's standard output so far. Empty if it goes where ours goes.
    pub fn stdout_text(&self) -> String {
        self.stdout.as_ref().map(OutputFile::text).unwrap_or_default()
    }

    /// The process's standard error so far. Empty if it goes where ours goes.
    pub fn stderr_text(&self) -> String {
        self.stderr.as_ref().map(OutputFile::text).unwrap_or_default()
    }

    /// The last lines of the log, and where the log is.
    pub fn tail(&self) -> String {
        let log = self.stderr_text();
        let lines: Vec<&str> = log.lines().collect();
        let file = self.stderr.as_ref().map_or_else(String::new, |log| log.file.display().to_string());
        format!("{file}:\n{}", lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
    }

    /// Sends a signal to the process, unless it has ended.
    #[allow(unsafe_code)]
    pub fn signal(&self, signal: libc::c_int) {
        if self.ended.is_none() {
            // SAFETY: kill only takes numbers, and the process has not been waited for: the number is still its own.
            unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        }
    }

    /// How the process ended. None while it runs.
    ///
    /// # Errors
    /// The kernel does not say.
    #[allow(unsafe_code)]
    pub fn ended(&mut self) -> Result<Option<Ended>> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        self.peak_bytes = self.peak_bytes.max(peak_bytes(self.child.id()).unwrap_or(0));
        let mut status = 0;
        // SAFETY: rusage is plain numbers, for which zeros are a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live variables of the right types, and the child is ours and not waited for.
        let pid =
            unsafe { libc::wait4(self.child.id() as libc::pid_t, &raw mut status, libc::WNOHANG, &raw mut usage) };
        ensure!(pid >= 0, "cannot wait for {}: {}", self.what, std::io::Error::last_os_error());
        if pid > 0 {
            self.ended = Some(Ended {
                status: ExitStatus::from_raw(status),
                elapsed: self.started.elapsed(),
                cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
                peak_bytes: self.peak_bytes,
            });
        }
        Ok(self.ended)
    }

    /// Waits until the process ends, at most for `limit` from now.
    ///
    /// # Errors
    /// The process still runs then.
    pub fn wait(&mut self, limit: Duration) -> Result<Ended> {
        let began = Instant::now();
        loop {
            if let Some(ended) = self.ended()? {
                return Ok(ended);
            }
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                bail!("{} has not ended after {limit:?}; its log, {}", self.what, self.tail());
            }
            self.await_end(left.min(LOOK_INTERVAL))?;
        }
    }

    /// Waits until the process ends well, at most for `limit` from now.
    ///
    /// # Errors
    /// The process still runs then, or fails.
    pub fn succeed(&mut self, limit: Duration) -> Result<Ended> {
        let ended = self.wait(limit)?;
        ensure!(ended.status.success(), "{} ended with {}; its log, {}", self.what, ended.status, self.tail());
        Ok(ended)
    }

    /// Fails if the process has ended although nobody asked it to.
    ///
    /// # Errors
    /// The process has ended.
    pub fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            Some(ended) => bail!("{} ended by itself with {}; its log, {}", self.what, ended.status, self.tail()),
            None => Ok(()),
        }
    }

    /// Asks the process to drain and end (SIGTERM). Call this only once: a second signal would end the process at once.
    pub fn ask_to_end(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Asks the process to drain and end, and waits until it has ended well.
    ///
    /// # Errors
    /// The process does not end in `limit`, or does not end well.
    pub fn drain(&mut self, limit: Duration) -> Result<Ended> {
        self.ask_to_end();
        self.succeed(limit)
    }

    /// Ends the process as a power cut would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// The process had ended by itself.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(libc::SIGKILL);
        let ended = self.wait(Duration::MAX)?;
        ensure!(ended.status.signal() == Some(libc::SIGKILL), "{} had ended by itself ({})", self.what, ended.status);
        Ok(())
    }

    /// Returns when the process ends, or after `timeout`.
    #[allow(unsafe_code)]
    fn await_end(&self, timeout: Duration) -> Result<()> {
        let milliseconds = (timeout.as_millis() as libc::c_int).max(1);
        let mut poll = libc::pollfd { fd: self.ending.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one live structure, and the call receives the number one.
        let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        let error = std::io::Error::last_os_error();
        ensure!(ready >= 0 || error.kind() == ErrorKind::Interrupted, "cannot wait for {}: {error}", self.what);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn opened(output: Output<'_>) -> Result<(Stdio, Option<OutputFile>)> {
    match output {
        Output::Ours => Ok((Stdio::inherit(), None)),
        Output::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.with_context(|| format!("cannot write {}", path.display()))?;
            let from = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
            Ok((Stdio::from(file), Some(OutputFile { file: path.to_owned(), from })))
        }
    }
}

impl OutputFile {
    /// The text written so far. Empty if the file cannot be read.
    fn text(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.file)
            && file.seek(SeekFrom::Start(self.from)).is_ok()
        {
            // as much as can be read
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
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

/// CPU time that all threads of this process have used.
#[allow(unsafe_code)]
pub fn own_cpu() -> Duration {
    // SAFETY: rusage is plain numbers, for which zeros are a value; the pointer is to a live variable.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str, log: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, script, Output::File(log), Output::File(log)).unwrap()
    }

    fn log(name: &str) -> PathBuf {
        let file = std::env::temp_dir().join(format!("footprint-process-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        file
    }

    #[test]
    fn what_each_process_says_is_kept_apart_in_one_file() {
        let log = log("kept");
        let mut one = shell("echo one; echo trouble >&2", &log);
        one.succeed(LIMIT).unwrap();
        let mut other = shell("echo other; exit 3", &log);
        let error = format!("{:#}", other.succeed(LIMIT).unwrap_err());
        assert!(error.contains("exit status: 3") && error.contains("other") && !error.contains("trouble"), "{error}");
        assert_eq!(other.stdout_text(), "other\n");
        assert!(one.stdout_text().starts_with("one\ntrouble\n"));
        let _ = std::fs::remove_file(log);
    }

    #[test]
    fn a_process_that_does_not_end_is_a_failure_in_the_limit_and_dies_when_dropped() {
        let log = log("drop");
        let mut sleeper = shell("exec sleep 60", &log);
        let began = Instant::now();
        assert!(sleeper.wait(Duration::from_millis(100)).is_err());
        assert!(began.elapsed() < Duration::from_secs(30));
        let proc = format!("/proc/{}", sleeper.pid());
        assert!(Path::new(&proc).exists());
        drop(sleeper);
        assert!(!Path::new(&proc).exists());
        let _ = std::fs::remove_file(log);
    }

    #[test]
    fn a_process_that_had_ended_by_itself_was_not_killed() {
        let log = log("killed");
        let mut ended = shell("exit 0", &log);
        ended.wait(LIMIT).unwrap();
        assert!(ended.must_run().is_err());
        assert!(ended.kill().is_err());
        let mut running = shell("exec sleep 60", &log);
        running.must_run().unwrap();
        running.kill().unwrap();
        let _ = std::fs::remove_file(log);
    }
}
