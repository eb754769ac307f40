//! What is done beside the road: both databases are brought to what the configuration needs, and what they hold is proven.

pub mod migrate;
pub mod verify;
