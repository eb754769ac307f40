//! What the demo, the soak and the kills share: the real `footprint` program as a child process, questions to the databases about
//! what it has stored, dice, and one line of progress. Only those programs use it; errors are anyhow's, as there.

mod dice;
mod line;
mod program;
mod proxy;
mod watch;

pub use dice::Dice;
pub use line::Line;
pub use program::{Consumer, Generate, Program, Sent, build, build_with_failpoints, keep_log};
pub use proxy::{Loss, Proxy};
pub use watch::{LedgerRow, StoredCounts, Watch};

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}
