//! The log: lines on standard error, and the same lines in LOG_DIR/consumer.log if a folder is configured. Text on a terminal and
//! JSON anywhere else, unless the configuration decides.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as layers};

use super::line::{Form, Line};
use super::log_file::{Limits, LogFile};
use super::repeats::{INTERVAL, Repeats, Verdict};
use crate::config::{LogFormat, Telemetry};
use crate::console::{LogLines, errors_are_coloured, errors_are_seen};
use crate::report::Remedy;

/// Lines that wait for the file's disk, at most. Any further line is only on standard error.
const WAITING_LINES_MAX: usize = 16_384;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not valid.
    #[error("telemetry.log")]
    Filter(#[source] Remedy),
}

/// Starts logging. Keep what it returns: its end writes the last lines to the file.
///
/// # Errors
/// A bad filter. A file that cannot be written is no error: the log says so, and tries again with each line.
pub fn start(telemetry: &Telemetry) -> Result<Log, LogError> {
    // One filter before both layers, and not one for each. Such a filter keeps its decision about the last line on that thread.
    // If the `log` crate only asks about a record (tokio-postgres does so for each statement), the next line of ours would be
    // lost.
    let filter = EnvFilter::try_new(&telemetry.log).map_err(|error| {
        LogError::Filter(Remedy::new("use a level such as info, or a filter such as footprint=debug,warn", error))
    })?;
    let text = Form::Text { colours: errors_are_coloured(), target: false };
    let (on_errors, in_file) = match telemetry.log_format {
        LogFormat::Auto if errors_are_seen() => (text, Form::Json),
        LogFormat::Auto | LogFormat::Json => (Form::Json, Form::Json),
        LogFormat::Text => (text, Form::Text { colours: false, target: true }),
    };
    let (mut file, mut guard) = (None, None);
    if !telemetry.log_dir.as_os_str().is_empty() {
        let limits = Limits {
            bytes: telemetry.log_file_bytes_max,
            age: Duration::from_secs(telemetry.log_file_hours_max * 3_600),
            old_files: telemetry.log_old_files_max,
        };
        let log = LogFile::new(&telemetry.log_dir, limits);
        // it drops lines when the disk is too slow, and never waits
        let builder = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES_MAX).thread_name("log-file");
        let (writer, worker) = builder.finish(log);
        file = Some(layer(writer, in_file));
        guard = Some(worker);
    }
    tracing_subscriber::registry().with(filter).with(layer(LogLines, on_errors)).with(file).init();
    Ok(Log(guard))
}

/// A layer that writes lines in one form.
fn layer<S, W>(writer: W, form: Form) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = Lines { form, repeats: Mutex::default() };
    // a line that cannot be written must not cause another line
    layers::layer::<S>()
        .fmt_fields(DefaultFields::new())
        .event_format(lines)
        .with_writer(writer)
        .log_internal_errors(false)
        .boxed()
}

/// The log. On drop, the last lines are written to its file.
pub struct Log(Option<WorkerGuard>);

impl Drop for Log {
    fn drop(&mut self) {
        // on another thread: if the file's disk hangs, the guard prints, and panics if nobody reads that
        if let Some(guard) = self.0.take() {
            let flushing = std::thread::Builder::new().name("log-flush".into()).spawn(move || drop(guard));
            let _ = flushing.map(std::thread::JoinHandle::join);
        }
    }
}

/// Writes lines in one form, except repeated ones.
struct Lines {
    form: Form,
    repeats: Mutex<Repeats>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::of(event);
        let now = Instant::now();
        let (verdict, hidden) = {
            let mut repeats = self.repeats.lock();
            (repeats.meet(&line.content(), line.is_trouble(), now), repeats.sweep(now))
        };
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        for (text, count) in hidden {
            let mut line = Line::new(Level::INFO, format!("in {} s, lines like this: {text}", INTERVAL.as_secs()));
            line.repeated = Some(count);
            writer.write_str(&line.spelled(self.form, &timestamp))?;
        }
        match verdict {
            Verdict::Hide => return Ok(()),
            Verdict::Show(0) => {}
            Verdict::Show(count) => line.repeated = Some(count),
        }
        writer.write_str(&line.spelled(self.form, &timestamp))
    }
}
