//! Takes partitions over, and claims ranges in the ledger before they are written anywhere.

pub mod coordinator;
pub mod take_over;
