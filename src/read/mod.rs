//! Reading: takes records from librdkafka's queue as chunks, and commits the offsets of what is stored.

pub mod chunk;
pub mod commands;
pub mod commit;
pub mod event;
pub mod reader;
#[cfg(test)]
pub(crate) mod tests;
