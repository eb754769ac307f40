//! The log: lines on standard error, and the same lines in LOG_DIR/consumer.log if a directory is configured.

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::repeats::Limited;
use crate::config::{LogFormat, Telemetry};
use crate::console::{LogLines, errors_are_seen};
use crate::report::Remedy;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not valid.
    #[error("telemetry.log")]
    Filter(#[source] Remedy),
    /// The log's directory cannot be written.
    #[error("telemetry.log_dir (LOG_DIR) {0}")]
    LogDir(String, #[source] std::io::Error),
}

/// Starts logging to standard error, and to LOG_DIR/consumer.log if it is set. Keep the guard: it flushes the file.
///
/// # Errors
/// A bad filter, a directory that cannot be written.
pub fn start(telemetry: &Telemetry) -> Result<LogFile, LogError> {
    // One filter before both layers, and not one for each. Such a filter keeps its decision about the last line on that thread.
    // If the `log` crate only asks about a record (tokio-postgres does so for each statement), the next line of ours would be
    // lost.
    let filter = EnvFilter::try_new(&telemetry.log).map_err(|error| {
        LogError::Filter(Remedy::new("use a level such as info, or a filter such as footprint=debug,warn", error))
    })?;
    let json = telemetry.log_format == LogFormat::Json;
    // a line that cannot be written must not cause another line
    let on_terminal =
        fmt::layer().with_writer(LogLines).with_target(false).with_ansi(errors_are_seen()).log_internal_errors(false);
    let terminal = if json {
        on_terminal.json().map_event_format(|format| Limited::new(format, true)).boxed()
    } else {
        on_terminal.map_event_format(|format| Limited::new(format, false)).boxed()
    };
    let (mut file, mut guard) = (None, None);
    if !telemetry.log_dir.as_os_str().is_empty() {
        let broken = |error| LogError::LogDir(telemetry.log_dir.display().to_string(), error);
        std::fs::create_dir_all(&telemetry.log_dir).map_err(broken)?;
        let path = telemetry.log_dir.join("consumer.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(broken)?;
        let (writer, worker) = tracing_appender::non_blocking(log);
        let layer = fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
        let layer = if json {
            layer.json().map_event_format(|format| Limited::new(format, true)).boxed()
        } else {
            layer.map_event_format(|format| Limited::new(format, false)).boxed()
        };
        file = Some(layer);
        guard = Some(worker);
    }
    tracing_subscriber::registry().with(filter).with(terminal).with(file).init();
    Ok(LogFile(guard))
}

/// The log file. It is flushed on drop.
pub struct LogFile(Option<WorkerGuard>);

impl Drop for LogFile {
    fn drop(&mut self) {
        // on another thread: if the file's disk hangs, the guard prints, and panics if nobody reads that
        if let Some(guard) = self.0.take() {
            let flushing = std::thread::Builder::new().name("log-flush".into()).spawn(move || drop(guard));
            let _ = flushing.map(std::thread::JoinHandle::join);
        }
    }
}
