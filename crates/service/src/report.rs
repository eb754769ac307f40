//! How an error is printed: on one line, with each cause once, and what to do about it at the end. Only this file joins an error and
//! its causes. The text of an error never contains the text of its cause.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// The cause of an error, for callers that do not need its type.
pub type Cause = Box<dyn Error + Send + Sync>;

/// What to do about an error. It is a link of the chain of causes, directly above that error, and [`Chain`] prints it after all of
/// them. Do not put it behind a pointer (`Box<Remedy>`): [`Chain`] would not recognize it.
#[derive(Debug)]
pub struct Remedy {
    text: Cow<'static, str>,
    about: Option<Cause>,
}

impl Remedy {
    /// What to do about `cause`.
    pub fn new(text: impl Into<Cow<'static, str>>, cause: impl Into<Cause>) -> Self {
        Self { text: text.into(), about: Some(cause.into()) }
    }

    /// What to do about the error that has this as its source.
    pub fn only(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), about: None }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Remedy {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.about.as_ref().map(|about| &**about as _)
    }
}

/// An error with all its causes: `what failed: why: why of that; what to do`.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl Chain<'_> {
    /// The error with its causes, and what to do about it. The second text is empty if nobody knows.
    pub fn parts(&self) -> (String, String) {
        let (mut why, mut last) = (String::new(), String::new());
        let mut remedies = Vec::new();
        for error in causes(self.0) {
            let text = error.to_string();
            if error.is::<Remedy>() {
                remedies.push(text);
            // errors of other libraries often repeat their cause
            } else if !last.contains(&text) {
                if !last.is_empty() {
                    why.push_str(": ");
                }
                why.push_str(&text);
                last = text;
            }
        }
        // the innermost first: it is about the first cause
        remedies.reverse();
        (why, remedies.join("; "))
    }
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, what_to_do) = self.parts();
        f.write_str(&why)?;
        if what_to_do.is_empty() { Ok(()) } else { write!(f, "; {what_to_do}") }
    }
}

/// An error, its cause, the cause of that, and so on.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// For tests: the line that [`Chain`] prints.
///
/// # Panics
/// The text of an error contains the text of its cause.
pub fn printed_once(error: &(dyn Error + 'static)) -> String {
    let links: Vec<String> = causes(error).map(ToString::to_string).collect();
    for pair in links.windows(2) {
        assert!(!pair[0].contains(&pair[1]), "{:?} repeats its cause {:?}", pair[0], pair[1]);
    }
    Chain(error).to_string()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("the table cannot be read")]
        Read(#[source] Remedy),
        #[error("partition 3")]
        Partition(#[source] Box<Failure>),
        #[error("network error: {0}")]
        Foreign(#[source] io::Error),
    }

    #[test]
    fn causes_come_in_their_order_and_remedies_last() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let read = || Failure::Read(Remedy::new("is it up?", refused()));
        assert_eq!(printed_once(&read()), "the table cannot be read: connection refused; is it up?");
        let inner = Remedy::new("else restore it", Failure::Partition(Box::new(read())));
        let error = Failure::Read(inner);
        let told = "the table cannot be read: partition 3: the table cannot be read: connection refused; is it up?; else \
                    restore it";
        assert_eq!(printed_once(&error), told);
        assert_eq!(causes(&error).count(), 6);
        assert_eq!(printed_once(&Failure::Read(Remedy::only("make it"))), "the table cannot be read; make it");
    }

    #[test]
    fn what_another_library_says_twice_is_said_once() {
        let error = Failure::Foreign(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(Chain(&error).to_string(), "network error: connection refused");
        let repeats = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| printed_once(&error)));
        assert!(repeats.is_err(), "a test of our own errors finds it");
    }
}
