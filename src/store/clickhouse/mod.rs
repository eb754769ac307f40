//! The ClickHouse sink: one insert of a Native block for each batch. If it is uncertain whether an insert landed, the range is read back.

pub mod fence;
pub mod identities;
pub mod insert;
pub mod migrate;
pub mod native;
pub mod readback;
pub mod refused;
pub mod rights;
pub mod scratch;
pub mod shape;
pub mod views;
pub mod writer;
