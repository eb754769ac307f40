//! A fault of the configuration: what is wrong, and the file and line, variable or flag of the setting. It never holds a value,
//! which may be a secret in the wrong place.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a setting was given, weakest first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// In the shipped configuration, or nowhere. A message does not mention it.
    Shipped,
    /// In the file of `--config`. The line counts from 1.
    File(Arc<Path>, usize),
    /// In a variable: its name, and the line of `.env` that set it. None: the process's environment.
    Variable(String, Option<usize>),
    /// By a flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shipped => Ok(()),
            Self::File(path, line) => write!(f, "{} line {line}: ", path.display()),
            Self::Variable(name, Some(line)) => write!(f, "{name} (.env line {line}): "),
            Self::Variable(name, None) | Self::Flag(name) => write!(f, "{name}: "),
        }
    }
}

/// One fault. Faults sort by their place: first the file's by line, then the variables', then the flags'.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) origin: Origin,
    pub(super) text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.text)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
