//! The two standard streams: results go to standard output, errors and logs to standard error. Writing to either never panics and
//! never ends the work, even if nobody reads it any more or its disk is full. Only this file prints; `tests/tidy/` checks that.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write};

use tracing_subscriber::fmt::MakeWriter;

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
        if self.failure.is_none() {
            self.failure = writeln!(self.to, "{line}").and_then(|()| self.to.flush()).err();
        }
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
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Prints text to standard error unchanged, for usage errors, which have their own form.
pub fn complain_as_is(text: impl Display) {
    let _ = io::stderr().lock().write_all(text.to_string().as_bytes());
}

/// Whether standard output is a terminal.
pub fn is_seen() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal: progress bars and colours are for people.
pub fn errors_are_seen() -> bool {
    io::stderr().is_terminal()
}

/// Standard error, for the logs. A line that cannot be written is dropped.
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
}
