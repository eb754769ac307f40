//! Reading: Kafka's records leave librdkafka's queue as chunks, and what is stored is committed.

pub mod chunk;
pub mod commit;
pub mod reader;
