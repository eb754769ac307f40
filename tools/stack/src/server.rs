//! The life of one server, the same for all three: it starts, is ready, can be paused and killed, and starts again on its data.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::StackError;
use crate::process::Process;
use crate::spawner;
use crate::tool;

/// From spawn to ready. A busy machine needs many times the usual three seconds.
const START_LIMIT: Duration = Duration::from_secs(90);
/// From the polite signal to the end. After that, SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// The length of the log's end in an error.
const LOG_TAIL_BYTES: usize = 3_000;

/// How to run a server, with the differences between the three.
pub(crate) struct Launch {
    pub(crate) name: &'static str,
    pub(crate) log: PathBuf,
    /// The signal for a clean end.
    pub(crate) stop_signal: libc::c_int,
    /// The signal for the quickest end that leaves nothing behind in the kernel.
    pub(crate) drop_signal: libc::c_int,
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    /// Where the server gets a small disk of its own. It is empty after each start.
    pub(crate) small_disk: Option<PathBuf>,
    /// True if the server answers a real request, false while it does not answer yet.
    pub(crate) ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A server that can be killed, paused and started again. Calls from several threads run one after the other.
pub struct Server {
    launch: Launch,
    process: Mutex<Option<Process>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("name", &self.launch.name).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(launch: Launch) -> Result<Self, StackError> {
        let server = Self { launch, process: Mutex::new(None) };
        server.launch_into(&mut server.lock())?;
        Ok(server)
    }

    /// The server's name in messages.
    pub fn name(&self) -> &'static str {
        self.launch.name
    }

    /// The file of its own messages.
    pub fn log_path(&self) -> &Path {
        &self.launch.log
    }

    /// The last lines of its messages.
    pub fn log_tail(&self) -> String {
        tool::tail(&self.launch.log, LOG_TAIL_BYTES)
    }

    /// The number of its process. It is an error if the server was killed or stopped.
    pub fn pid(&self) -> Result<u32, StackError> {
        self.lock().as_ref().map(Process::pid).ok_or_else(|| self.not_running())
    }

    /// The exit status of a server that ended without being asked to.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.lock().as_mut()?.exited().ok().flatten()
    }

    /// Ends it like a power cut (SIGKILL, with every process that it started) and waits until all are gone. Does nothing if it is
    /// not running.
    pub fn kill(&self) -> Result<(), StackError> {
        match self.lock().take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Freezes it (SIGSTOP, with every process that it started): connections stay open and nobody answers.
    pub fn pause(&self) -> Result<(), StackError> {
        self.lock().as_ref().ok_or_else(|| self.not_running())?.pause()
    }

    /// Lets a paused server continue.
    pub fn resume(&self) -> Result<(), StackError> {
        self.lock().as_ref().ok_or_else(|| self.not_running())?.resume();
        Ok(())
    }

    /// Where the server sees its small disk, and the same place seen from here. The disk is full when no byte can be added there.
    ///
    /// # Errors
    /// It has none, or does not run.
    pub fn small_disk(&self) -> Result<(PathBuf, PathBuf), StackError> {
        let directory = self.launch.small_disk.clone().ok_or_else(|| self.not_running())?;
        let from_root = directory.strip_prefix("/").unwrap_or(&directory);
        let seen = Path::new("/proc").join(self.pid()?.to_string()).join("root").join(from_root);
        Ok((directory, seen))
    }

    /// Ends it cleanly and waits for that. If it does not end in 30 s, it is killed, and the error says so.
    pub fn stop(&self) -> Result<(), StackError> {
        match self.lock().take() {
            Some(process) => self.stop_process(process),
            None => Ok(()),
        }
    }

    /// Starts it again on its data and its ports, after `kill` or `stop` (if it runs, stops it first), and waits until it is
    /// ready.
    pub fn restart(&self) -> Result<(), StackError> {
        let mut process = self.lock();
        if let Some(running) = process.take() {
            self.stop_process(running)?;
        }
        self.launch_into(&mut process)
    }

    fn stop_process(&self, mut process: Process) -> Result<(), StackError> {
        process.resume();
        process.signal(self.launch.stop_signal);
        let what = format!("stopping {}", self.launch.name);
        match process.wait(&what, Deadline::after(STOP_LIMIT)) {
            Ok(_) => Ok(()),
            Err(late) => process.kill().and(Err(late)),
        }
    }

    fn launch_into(&self, place: &mut MutexGuard<'_, Option<Process>>) -> Result<(), StackError> {
        let mut process = self.spawn()?;
        let what = format!("starting {}", self.launch.name);
        let started = Deadline::after(START_LIMIT).poll(&what, || {
            if let Some(status) = process.exited().map_err(StackError::file("wait for", &self.launch.log))? {
                let tail = tool::tail(&self.launch.log, LOG_TAIL_BYTES);
                return Err(StackError::Died { server: self.launch.name, status, log: self.launch.log.clone(), tail });
            }
            Ok((self.launch.ready)().then_some(()))
        });
        match started {
            Ok(()) => {
                **place = Some(process);
                Ok(())
            }
            Err(error) => process.kill().and(Err(error)),
        }
    }

    fn spawn(&self) -> Result<Process, StackError> {
        let log_path = &self.launch.log;
        let open_log = || OpenOptions::new().create(true).append(true).mode(0o644).open(log_path);
        let output = open_log().map_err(StackError::file("open", log_path))?;
        let errors = open_log().map_err(StackError::file("open", log_path))?;
        let mut command = (self.launch.command)();
        match &self.launch.small_disk {
            Some(directory) => command = spawner::with_small_disk(&command, directory),
            None => drop(spawner::as_server_user(&mut command)),
        }
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        spawner::spawn(command).map(Process::new).map_err(|source| StackError::Spawn {
            server: self.launch.name,
            reason: "its program does not start".to_owned(),
            source,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        // A panic elsewhere leaves this value unchanged: a running process or none.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_running(&self) -> StackError {
        StackError::NotRunning { server: self.launch.name }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.lock().take() {
            process.resume();
            process.signal(self.launch.drop_signal);
            let _ = process.wait(self.launch.name, Deadline::after(Duration::from_secs(5)));
            let _ = process.kill();
        }
    }
}
