//! Reading: Kafka's records leave librdkafka's queue as chunks, and what is stored is committed.

pub mod chunk;
pub mod commands;
pub mod commit;
pub mod event;
pub mod reader;
#[cfg(test)]
pub(crate) mod tests;
