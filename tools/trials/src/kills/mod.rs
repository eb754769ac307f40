//! The parts of `cargo kills`: the real program dies, stops or loses an answer at every named point, against real servers. After each
//! round an oracle checks the records.
//!
//! `point` is the program's own list. `arrangement` says how a program is brought to each point, `schedule` in which order. `site` holds
//! the servers, the topics and what was sent. `member` is one process. `deaths`, `suspensions` and `losses` are the three kinds of rounds.
//! `oracle` says what must be stored, and `tally` counts.

mod arrangement;
mod deaths;
mod losses;
mod member;
mod oracle;
#[path = "../../../../crates/service/src/failpoint/point.rs"]
mod point;
mod schedule;
mod site;
mod suspensions;
mod tally;

pub use deaths::Deaths;
pub use losses::{LOSSES, Loss, Losses};
pub use member::Protocol;
pub use point::Point;
pub use schedule::Schedule;
pub use site::Site;
pub use suspensions::{Suspensions, can_be_stopped};
pub use tally::Tally;
