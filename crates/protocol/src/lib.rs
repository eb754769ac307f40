//! The exactly-once protocol, as pure functions and state machines: no I/O, no clock, no randomness, no crate except std.
//! The program calls them, and the model checks them. docs/protocol.md gives each rule with its reason.

// terms
pub mod ledger;
pub mod offset;
// decisions
pub mod by_hand;
pub mod first_start;
pub mod take_over;
pub mod write;
// state machines
pub mod partition;
pub mod silence;
pub mod tracker;
