//! The ledger: what is claimed and stored of each partition, and who may write. `footprint-protocol` decides; `statements`
//! asks and tells PostgreSQL; `ownership` is what a take-over gives, and `proof` says how long it holds.

pub mod error;
pub mod identity;
pub mod ownership;
pub mod proof;
pub mod statements;
