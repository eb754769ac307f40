//! The ledger: what is claimed and stored of each partition, and which process may write it. `footprint-protocol` decides;
//! `statements` is the SQL. A take-over gives an `ownership`, and a `proof` says how long it is certain.

pub mod error;
pub mod identity;
pub mod ownership;
pub mod proof;
pub mod statements;
