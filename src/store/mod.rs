//! Storing: `writer` is the one loop that feeds a sink. Neither database's files know the other's.

pub mod clickhouse;
pub mod lanes;
pub mod letters;
pub mod postgres;
pub mod sink;
pub mod writer;
