//! The commands: one file each, short. They are all that uses anyhow, and all that prints to standard output.

pub mod generate;
pub mod verify;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done or drained.
    Done = 0,
    /// A failure at run time.
    Failed = 1,
    /// Bad usage or configuration.
    Usage = 2,
    /// `verify` or `check` found a fault.
    Fault = 3,
}
