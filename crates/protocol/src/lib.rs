//! The protocol of exactly once, as pure functions and machines: no I/O, no clock, no randomness, no crate but std.
//! The program calls them, and the model checks them. docs/protocol.md gives each rule with its reason.

// words
pub mod ledger;
pub mod offset;
// decisions
pub mod first_start;
pub mod take_over;
pub mod write;
// machines
pub mod partition;
pub mod silence;
pub mod tracker;
