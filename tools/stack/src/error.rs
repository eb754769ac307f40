//! What can go wrong with real servers, in words for the person who must repair it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A failure to set up, start, or talk to a real server.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error(
        "real servers run on Linux x86-64 only, this is {os} {arch}: use a Linux x86-64 machine, or servers of your own"
    )]
    Platform { os: &'static str, arch: &'static str },

    #[error("missing: {}; install what is missing, on Debian and Ubuntu with: {install}", missing.join(", "))]
    Prerequisites { missing: Vec<String>, install: &'static str },

    #[error("no place for the downloads: set FOOTPRINT_CACHE to a directory that can be written")]
    NoCache,

    #[error("cannot {what} {path}")]
    File { what: &'static str, path: PathBuf, source: io::Error },

    #[error("cannot run {tool}: check that it is installed and on the path")]
    ToolStart { tool: String, source: io::Error },

    #[error("{tool} failed ({status}): {output}")]
    Tool { tool: String, status: ExitStatus, output: String },

    #[error("{what} took longer than {} s: try again, and look at the machine's load or its network", limit.as_secs())]
    Deadline { what: String, limit: Duration },

    #[error(
        "{path} cannot be entered by nobody, the account that the servers run as under root: \
         choose a directory outside root's home, or make it passable (chmod o+x)"
    )]
    Unreachable { path: PathBuf },

    #[error("the directory {path} is in use by another stack: stop that one, or name another directory")]
    Busy { path: PathBuf },

    #[error("no free port between {low} and {high} on 127.0.0.1: stop something that listens there")]
    NoPort { low: u16, high: u16 },

    #[error("{server} ended ({status}); its log {log} ends with:\n{tail}")]
    Died { server: &'static str, status: ExitStatus, log: PathBuf, tail: String },

    #[error("{server} is not running: call restart() first")]
    NotRunning { server: &'static str },

    #[error("{server} is not part of this stack: ask for it in StackOptions")]
    NotStarted { server: &'static str },

    #[error("{server} cannot be started: {reason}")]
    Spawn { server: &'static str, reason: String, source: io::Error },

    #[error("{server} refused: {message}")]
    Refused { server: &'static str, message: String },

    #[error("{server} did not answer properly: {message}")]
    Answer { server: &'static str, message: String },

    #[error("no certificate can be made: {reason}")]
    Certificate { reason: String },

    #[error("the name {name:?} is not usable here: use letters, digits and underscores, at most 63")]
    Name { name: String },
}

impl StackError {
    /// Makes a mapper for file errors: `fs::read(p).map_err(StackError::file("read", p))`.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { what, path, source }
    }

    /// A mapper for errors of the certificate maker.
    pub(crate) fn certificate(error: impl std::fmt::Display) -> Self {
        Self::Certificate { reason: error.to_string() }
    }
}
