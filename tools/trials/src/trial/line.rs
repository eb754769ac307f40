//! One line of progress on standard error. On a terminal it is rewritten in place and cut to the width. Otherwise it is a plain line every
//! few seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is written if there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
/// How often the line on a terminal changes.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(100);

/// A line of progress. Dropping it clears it.
#[derive(Debug)]
pub struct Line {
    bar: Option<ProgressBar>,
    shown: Instant,
}

impl Line {
    /// A line on standard error.
    pub fn stderr() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { bar, shown: Instant::now() }
    }

    /// Shows `text`, if it is time for it. `text` is called only then.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let interval = if self.bar.is_some() { TERMINAL_INTERVAL } else { PLAIN_INTERVAL };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        match &self.bar {
            Some(bar) => {
                bar.set_message(text());
                bar.tick();
            }
            None => eprintln!("{}", text()),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
