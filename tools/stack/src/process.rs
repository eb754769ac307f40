//! One child process, with every process that it has started.
//!
//! PostgreSQL's backends call setsid(), so a process group does not hold them: descendants are found in /proc.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::StackError;

/// How long SIGKILL or SIGSTOP may take to have an effect: longer than any sane uninterruptible disk wait.
const SIGNAL_LIMIT: Duration = Duration::from_secs(20);

/// A child that runs, or has ended without a check yet.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// After the child was waited for, its number may belong to another process, so no signal is sent to it any more.
    ended: Option<ExitStatus>,
}

/// One line of /proc: a process by number and start time, because numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: u32,
    parent: u32,
    state: u8,
    started: u64,
}

impl Process {
    pub(crate) fn new(child: Child) -> Self {
        Self { child, ended: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, when it has ended.
    pub(crate) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Sends `signal` to the child alone. A child that has ended is no error.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        if self.ended.is_none() {
            send(self.pid(), signal);
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, what: &str, deadline: Deadline) -> Result<ExitStatus, StackError> {
        deadline.poll(what, || self.exited().map_err(|source| wait_failed(what, source)))
    }

    /// Stops the child and all its descendants (SIGSTOP), the parent first: a stopped process does not fork.
    pub(crate) fn pause(&self) -> Result<(), StackError> {
        self.signal(libc::SIGSTOP);
        Deadline::after(SIGNAL_LIMIT).poll("stopping a process and its children", || {
            let running: Vec<Entry> =
                self.family().into_iter().filter(|entry| !b"TtZX".contains(&entry.state)).collect();
            running.iter().for_each(|entry| send(entry.pid, libc::SIGSTOP));
            Ok(running.is_empty().then_some(()))
        })
    }

    /// Lets the child and all its descendants continue (SIGCONT), the parent last.
    pub(crate) fn resume(&self) {
        for entry in self.family().iter().rev() {
            send(entry.pid, libc::SIGCONT);
        }
    }

    /// Kills the child and all its descendants (SIGKILL) and waits until every one is gone.
    pub(crate) fn kill(&mut self) -> Result<(), StackError> {
        if self.exited().map_err(|source| wait_failed("a process", source))?.is_some() {
            return Ok(());
        }
        // Stopped first, so that none forks while the family is counted. A family that does not stop is killed anyway.
        let _ = self.pause();
        let family = self.family();
        for entry in &family {
            send(entry.pid, libc::SIGKILL);
        }
        self.signal(libc::SIGKILL);
        let deadline = Deadline::after(SIGNAL_LIMIT);
        self.wait("ending a killed process", deadline)?;
        deadline.poll("ending a killed process's children", || {
            Ok(family.iter().all(|entry| entry.pid == self.pid() || is_gone(entry)).then_some(()))
        })
    }

    /// The child and all its descendants, parents before their children.
    fn family(&self) -> Vec<Entry> {
        if self.ended.is_some() {
            return Vec::new();
        }
        let mut children: HashMap<u32, Vec<Entry>> = HashMap::new();
        let mut family = Vec::new();
        for entry in all_processes() {
            if entry.pid == self.pid() {
                family.push(entry);
            } else {
                children.entry(entry.parent).or_default().push(entry);
            }
        }
        let mut next = 0;
        while let Some(parent) = family.get(next) {
            family.extend(children.remove(&parent.pid).unwrap_or_default());
            next += 1;
        }
        family
    }
}

fn wait_failed(what: &str, source: io::Error) -> StackError {
    StackError::ToolStart { tool: what.to_owned(), source }
}

#[allow(unsafe_code)]
fn send(pid: u32, signal: libc::c_int) {
    // A number that is no pid would be a process group or all processes. A signal must never go to those.
    if let Ok(pid @ 2..) = libc::pid_t::try_from(pid) {
        // SAFETY: kill only takes numbers; ESRCH (already gone) is what the caller wanted.
        unsafe { libc::kill(pid, signal) };
    }
}

fn is_gone(entry: &Entry) -> bool {
    // An orphan that nobody has reaped yet (Z) no longer runs and holds nothing.
    read_entry(entry.pid).is_none_or(|now| now.started != entry.started || b"ZX".contains(&now.state))
}

fn all_processes() -> Vec<Entry> {
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    listing.flatten().filter_map(|file| read_entry(file.file_name().to_str()?.parse().ok()?)).collect()
}

/// Reads /proc/PID/stat; proc(5): "pid (name) state ppid ... starttime", the name may hold anything, `)` too.
fn read_entry(pid: u32) -> Option<Entry> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_entry(pid, &stat)
}

fn parse_entry(pid: u32, stat: &[u8]) -> Option<Entry> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    // starttime is field 22 of proc(5), and the iterator is before field 5.
    let started = fields.nth(22 - 5)?.parse().ok()?;
    Some(Entry { pid, parent, state, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"7 (a) b) R 3 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1\n";
        assert_eq!(parse_entry(7, stat), Some(Entry { pid: 7, parent: 3, state: b'R', started: 4711 }));
    }

    #[test]
    fn a_cut_line_is_no_entry() {
        assert_eq!(parse_entry(7, b"7 (a) R 3 1"), None);
        assert_eq!(parse_entry(7, b""), None);
    }
}
