//! The two standard streams: results go to standard output, errors and logs to standard error. Writing to either never panics and
//! never ends the work, even if nobody reads it any more or its disk is full. No control character reaches them from outside: each is
//! spelled out, except line feeds and tabs. Only this file prints; `tests/tidy/` checks that.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write};

use tracing_subscriber::fmt::MakeWriter;

use crate::escape::{Keep, escaped};

/// Standard output, or its replacement in a test. It remembers the first failure, prints nothing after that, and says so at the
/// end.
pub struct Output {
    to: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl Output {
    /// Standard output.
    pub fn standard() -> Self {
        Self::to(io::stdout())
    }

    /// Another writer.
    pub(crate) fn to(writer: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(writer), failure: None }
    }

    /// Prints one line, or several with line feeds between them.
    pub fn line(&mut self, line: impl Display) {
        self.print(&line.to_string(), Keep::Lines);
    }

    /// Prints our own text with its colours and bold letters.
    pub fn styled(&mut self, text: impl Display) {
        self.print(&text.to_string(), Keep::Styles);
    }

    fn print(&mut self, text: &str, keep: Keep) {
        if self.failure.is_none() {
            self.failure = writeln!(self.to, "{}", escaped(text, keep)).and_then(|()| self.to.flush()).err();
        }
    }

    /// Whether it takes no more, so that there is no use in further lines.
    pub fn is_closed(&self) -> bool {
        self.failure.is_some()
    }

    /// Why not all of it was printed. A reader that has gone is no such reason: it has seen what it wanted (`| head -1`).
    pub fn lost(&self) -> Option<&io::Error> {
        self.failure.as_ref().filter(|failure| failure.kind() != ErrorKind::BrokenPipe)
    }
}

/// Prints one line to standard error. A failure is ignored, because there is no place left to report it.
pub fn complain(line: impl Display) {
    // one write, so that lines of several threads do not mix
    let line = format!("footprint: {line}\n");
    let _ = io::stderr().lock().write_all(escaped(&line, Keep::Lines).as_bytes());
}

/// Prints usage errors, which have their own form and styles.
pub fn complain_styled(text: impl Display) {
    let _ = io::stderr().lock().write_all(escaped(&text.to_string(), Keep::Styles).as_bytes());
}

/// Standard output for a view that fills the terminal and moves its cursor. The view escapes what it shows.
pub fn screen() -> io::Stdout {
    io::stdout()
}

/// Whether standard output is a terminal.
pub fn is_seen() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard output is a terminal whose cursor can be moved.
pub fn has_screen() -> bool {
    is_seen() && !is_dumb()
}

/// Whether standard output has colours and bold letters.
pub fn is_coloured() -> bool {
    is_seen() && colours_are_wanted()
}

/// Whether standard error is a terminal: progress bars are for people.
pub fn errors_are_seen() -> bool {
    io::stderr().is_terminal()
}

/// Whether standard error has colours and bold letters.
pub fn errors_are_coloured() -> bool {
    errors_are_seen() && colours_are_wanted()
}

/// `NO_COLOR` with any value but an empty one, and a terminal that knows no colours, switch them off.
fn colours_are_wanted() -> bool {
    let is_set = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_set && !is_dumb()
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb")
}

/// Standard error, for the logs, whose lines are escaped already. A line that cannot be written is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogLines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_loses_nothing_and_a_full_disk_does() {
        for (kind, is_lost) in [(ErrorKind::BrokenPipe, false), (ErrorKind::StorageFull, true)] {
            let mut output = Output::to(Failing(kind));
            output.line("a");
            output.line("b");
            assert_eq!(output.lost().is_some(), is_lost, "{kind}");
        }
        let mut output = Output::to(io::sink());
        output.line("a");
        assert!(output.lost().is_none());
    }

    #[test]
    fn no_control_character_is_printed() {
        let printed = std::env::temp_dir().join(format!("footprint-console-{}", std::process::id()));
        let mut output = Output::to(std::fs::File::create(&printed).unwrap());
        output.line("a\u{1b}]0;title\u{7}\tb\nc\r");
        output.styled("\u{1b}[1mbold\u{1b}[0m \u{1b}[2J");
        let text = std::fs::read_to_string(&printed).unwrap();
        std::fs::remove_file(printed).unwrap();
        assert_eq!(text, "a\\u001b]0;title\\u0007\tb\nc\\r\n\u{1b}[1mbold\u{1b}[0m \\u001b[2J\n");
    }
}
