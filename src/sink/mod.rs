//! The two databases. Siblings are strangers: neither knows the other.

pub mod clickhouse;
pub mod postgres;
