//! The ledger says what is claimed and stored of each partition, and which process may write the partition. `footprint-protocol` decides;
//! `statements` is the SQL. A take-over gives an `ownership`, and a `proof` says how long that ownership is certain.

pub mod error;
pub mod identity;
pub mod ownership;
pub mod proof;
pub mod statements;
