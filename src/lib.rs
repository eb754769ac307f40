//! Stores every Kafka event exactly once in PostgreSQL and exactly once in ClickHouse. The modules are in the order of the data's
//! way. ARCHITECTURE.md explains it.

// the data's way: Kafka's records are read, decoded and cut into batches, claimed in the ledger, and stored
pub mod batch;
pub mod claim;
pub mod ledger;
pub mod read;
pub mod store;
// modules that know the whole way
mod allocator;
pub mod limits;
pub mod outcome;
pub mod paused;
pub mod pipeline;
mod probes;
pub mod supervisor;
// maintenance
pub mod upkeep;
// commands
pub mod cli;
