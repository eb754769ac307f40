//! PostgreSQL as a sink: binary COPY and the ledger's compare-and-set in one transaction.

pub mod copy;
pub mod migrate;
mod onlooker;
mod refused;
pub mod rights;
pub mod shape;
mod shares;
pub mod stored;
pub mod writer;
