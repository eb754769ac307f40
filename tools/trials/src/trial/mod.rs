//! What the demo, the soak, the kills, the end-to-end benchmark and the program's own tests share: one fixture, one wrapper of a
//! process, one TCP proxy, one oracle; and the real `footprint` program, questions to the databases, dice, and a line of progress.
//! Errors are anyhow's: only programs and tests use this.

mod dice;
mod fixture;
mod line;
pub mod oracle;
mod process;
mod program;
mod proxy;
mod terminal;
mod watch;

pub use dice::Dice;
pub use fixture::{Fixture, Setting, create_databases};
pub use line::Line;
pub use process::{Ended, Output, Process, own_cpu};
pub use program::{Generate, Program, Sent, build, build_with_failpoints, keep_log};
pub use proxy::{Loss, Proxy};
pub use terminal::terminal_ends;
pub use watch::{LedgerRow, StoredCounts, Watch};

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}
