//! Claiming: partitions are taken over, and ranges are claimed in the ledger before they go anywhere.

pub mod coordinator;
pub mod take_over;
