//! The PostgreSQL sink: binary COPY and the ledger's compare-and-set in one transaction.

pub mod copy;
mod halving;
pub mod identities;
pub mod migrate;
mod observer;
pub mod rights;
pub mod shape;
mod shares;
pub mod stored;
pub mod writer;
