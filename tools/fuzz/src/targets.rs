//! The targets, which read the bytes, and the rules that they must keep.

mod decode;
mod readers;
mod timestamps;

use std::hash::{DefaultHasher, Hash, Hasher as _};

/// The targets by name.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Name {
    /// Turns a payload into a row, or into a reason.
    Decode,
    /// Turns a text or an integer into an instant.
    Timestamps,
    /// The readers of `verify`: PostgreSQL's binary COPY and ClickHouse's RowBinary.
    Readers,
}

/// Reads inputs.
pub(crate) trait Target {
    /// Good inputs to start with.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// Pieces with a meaning.
    fn tokens(&self) -> Vec<Vec<u8>>;

    /// Reads one input, and panics if a rule is broken. Returns a number that tells different outcomes apart.
    fn read(&mut self, input: &[u8]) -> u64;
}

impl Name {
    /// The target, ready to read.
    pub(crate) fn open(self) -> anyhow::Result<Box<dyn Target>> {
        Ok(match self {
            Self::Decode => Box::new(decode::Decode::new()?),
            Self::Timestamps => Box::new(timestamps::Timestamps),
            Self::Readers => Box::new(readers::Readers),
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Decode => "decode",
            Self::Timestamps => "timestamps",
            Self::Readers => "readers",
        })
    }
}

/// An outcome as one number.
fn number(outcome: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcome.hash(&mut hasher);
    hasher.finish()
}
