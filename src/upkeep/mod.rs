//! Maintenance: brings both databases to what the configuration needs, proves what they hold, and inserts what they lack.

pub mod audit;
pub mod migrate;
pub mod offsets;
pub mod repair;
pub mod replay;
pub mod verify;
