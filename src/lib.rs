//! Stores every Kafka event exactly once in PostgreSQL and exactly once in ClickHouse. The modules stand in the order of
//! the data's way; ARCHITECTURE.md tells the story.

// the road: Kafka's records are read, decoded and cut into batches, claimed in the ledger, and stored
pub mod batch;
pub mod claim;
pub mod ledger;
pub mod read;
pub mod store;
// what knows the whole road
pub mod limits;
pub mod outcome;
pub mod pipeline;
// what is done beside it
pub mod upkeep;
// commands
pub mod cli;
