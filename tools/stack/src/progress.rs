//! Reports slow steps on standard error: with spinners on a terminal, with plain lines elsewhere, not at all when quiet.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where the progress of set-up and start is shown.
#[derive(Clone, Debug, Default)]
pub enum Progress {
    /// Shows nothing.
    #[default]
    Quiet,
    /// A line when a step begins and one when it ends.
    Lines,
    /// A spinner for each step under way.
    Spinners(MultiProgress),
}

/// One step under way. If it is dropped without `done`, it is shown as failed.
#[derive(Debug)]
pub struct Step {
    what: String,
    began: Instant,
    show: Show,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Line,
    Spinner(ProgressBar),
}

impl Progress {
    /// Spinners if standard error is a terminal, otherwise lines.
    pub fn stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Spinners(MultiProgress::new()) } else { Self::Lines }
    }

    /// Begins a step, described as "Downloading ...".
    pub fn step(&self, what: &str) -> Step {
        let show = match self {
            Self::Quiet => Show::Nothing,
            Self::Lines => {
                line(format_args!("{what} ..."));
                Show::Line
            }
            Self::Spinners(all) => {
                let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                let spinner = all.add(ProgressBar::new_spinner().with_style(style).with_message(what.to_owned()));
                spinner.enable_steady_tick(Duration::from_millis(100));
                Show::Spinner(spinner)
            }
        };
        Step { what: what.to_owned(), began: Instant::now(), show }
    }
}

impl Step {
    /// Ends the step with success.
    pub fn done(mut self) {
        self.end("done");
    }

    fn end(&mut self, how: &str) {
        let text = format!("{}: {how} after {:.1} s", self.what, self.began.elapsed().as_secs_f64());
        match std::mem::replace(&mut self.show, Show::Nothing) {
            Show::Nothing => {}
            Show::Line => line(format_args!("{text}")),
            Show::Spinner(spinner) => spinner.finish_with_message(text),
        }
    }
}

/// A closed standard error must not stop the work.
fn line(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Drop for Step {
    fn drop(&mut self) {
        self.end("failed");
    }
}
