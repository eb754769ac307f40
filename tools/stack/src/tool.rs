//! Runs a helper program (mvn, npm, cc, tar, initdb, ...) to its end, within a deadline. If it fails, shows its output.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::StackError;
use crate::process::Process;
use crate::spawner;

/// How much of a failed tool's output an error shows: the end, where the reason is.
const OUTPUT_TAIL_BYTES: usize = 4_000;

/// Runs `command`. Its output goes to `log`, which is a file, so that a tool with much output never blocks on a full pipe.
pub(crate) fn run(tool: &str, mut command: Command, log: &Path, limit: Duration) -> Result<(), StackError> {
    command.stdin(Stdio::null());
    finish(tool, command, log, limit)
}

/// The same as `run`, with `input` as the child's standard input.
pub(crate) fn run_fed(
    tool: &str,
    mut command: Command,
    log: &Path,
    limit: Duration,
    input: &str,
) -> Result<(), StackError> {
    // A file that is unlinked while open: there is no pipe to fill, and nothing is left behind.
    let path = log.with_extension("input");
    fs::write(&path, input).map_err(StackError::file("write", &path))?;
    let file = File::open(&path).map_err(StackError::file("open", &path))?;
    fs::remove_file(&path).map_err(StackError::file("remove", &path))?;
    command.stdin(file);
    finish(tool, command, log, limit)
}

fn finish(tool: &str, mut command: Command, log: &Path, limit: Duration) -> Result<(), StackError> {
    let output = File::create(log).map_err(StackError::file("create", log))?;
    let errors = output.try_clone().map_err(StackError::file("open", log))?;
    command.stdout(output).stderr(errors);
    let child = spawner::spawn(command).map_err(|source| StackError::ToolStart { tool: tool.to_owned(), source })?;
    let mut process = Process::new(child);
    let status = match process.wait(tool, Deadline::after(limit)) {
        Ok(status) => status,
        Err(late) => {
            process.kill()?;
            return Err(late);
        }
    };
    if status.success() {
        return Ok(());
    }
    Err(StackError::Tool { tool: tool.to_owned(), status, output: tail(log, OUTPUT_TAIL_BYTES) })
}

/// The last `bytes_max` bytes of a text file, from the start of a line if there is one. Empty if it cannot be read.
pub fn tail(path: &Path, bytes_max: usize) -> String {
    let content = fs::read(path).unwrap_or_default();
    let start = content.len().saturating_sub(bytes_max);
    let text = String::from_utf8_lossy(content.get(start..).unwrap_or_default()).into_owned();
    match text.split_once('\n') {
        Some((_, rest)) if start > 0 && !rest.is_empty() => rest.trim_end().to_owned(),
        _ => text.trim_end().to_owned(),
    }
}
