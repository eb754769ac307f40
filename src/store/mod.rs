//! Stores batches in both databases. `writer` is the loop that feeds a sink. The files of one database do not use those of the other.

pub mod clickhouse;
pub mod lanes;
pub mod postgres;
pub mod refused_records;
pub mod sink;
pub mod write_failure;
pub mod writer;
