//! CPU time of the three servers, each with every process that it has started. It is read from /proc before and after.

use std::collections::HashMap;
use std::fs;
use std::ops::Sub;

use anyhow::{Context, Result};
use footprint_stack::Stack;

/// CPU seconds since each server started, including its ended children.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServersCpu {
    /// The broker.
    pub(super) kafka: f64,
    /// The postmaster and its backends.
    pub(super) postgres: f64,
    /// ClickHouse, background merges included.
    pub(super) clickhouse: f64,
}

impl ServersCpu {
    /// Reads them now.
    pub(super) fn now(stack: &Stack) -> Result<Self> {
        let processes = processes();
        let seconds = |pid: u32| tree_seconds(&processes, pid).context("a server's process is not in /proc");
        Ok(Self {
            kafka: seconds(stack.kafka()?.pid()?)?,
            postgres: seconds(stack.postgres()?.pid()?)?,
            clickhouse: seconds(stack.clickhouse()?.pid()?)?,
        })
    }
}

impl Sub for ServersCpu {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self {
            kafka: self.kafka - before.kafka,
            postgres: self.postgres - before.postgres,
            clickhouse: self.clickhouse - before.clickhouse,
        }
    }
}

/// A process's parent and its clock ticks, with those of its children that it has waited for.
struct Process {
    parent: u32,
    ticks: u64,
}

fn processes() -> HashMap<u32, Process> {
    let Ok(listing) = fs::read_dir("/proc") else { return HashMap::new() };
    let pids = listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, process(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// Reads a line of /proc/PID/stat (proc(5)): `pid (name) state ppid ...`. Fields 14 to 17 are utime, stime, cutime and cstime. The name may
/// contain any character.
fn process(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Process { parent: fields.get(1)?.parse().ok()?, ticks })
}

#[allow(unsafe_code)]
fn tree_seconds(processes: &HashMap<u32, Process>, root: u32) -> Option<f64> {
    let mut ticks = processes.get(&root)?.ticks;
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (&pid, process) in processes.iter().filter(|(_, process)| process.parent == parent) {
            ticks += process.ticks;
            parents.push(pid);
        }
    }
    // SAFETY: sysconf only takes a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Some(ticks as f64 / per_second as f64)
}
