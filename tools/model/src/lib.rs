//! The ledger protocol as a model: two consumers, three servers, and every fault that the protocol promises to survive. The
//! decisions are the program's own functions (`footprint_protocol::take_over`, `footprint_protocol::tracker`). `check.rs` visits
//! every reachable state. `simulate.rs` walks long random histories through a larger world.

mod act;
pub mod check;
pub mod config;
pub mod consumer;
pub mod fair;
pub mod guard;
pub mod ledger;
pub mod scenario;
pub mod servers;
pub mod simulate;
mod steps;
pub mod teeth;
pub mod world;
