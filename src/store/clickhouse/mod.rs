//! ClickHouse as a sink: one native insert a batch, read back where its fate is uncertain.

pub mod fence;
pub mod insert;
pub mod migrate;
pub mod native;
pub mod readback;
pub mod refused;
pub mod rights;
pub mod shape;
pub mod writer;
