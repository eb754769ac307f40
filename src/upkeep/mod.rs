//! Maintenance: brings both databases to what the configuration needs, and proves what they hold.

pub mod migrate;
pub mod verify;
