//! The ClickHouse sink: one insert of a Native block for each batch, read back when it is uncertain whether it landed.

pub mod fence;
pub mod insert;
pub mod migrate;
pub mod native;
pub mod readback;
pub mod refused;
pub mod rights;
pub mod shape;
pub mod writer;
