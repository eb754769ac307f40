//! The ledger: what is claimed and stored of each partition, and who may write. `protocol.rs` decides, `postgres.rs` asks
//! and tells PostgreSQL. This file holds their words.

use uuid::Uuid;

use crate::offset::Partition;

/// One life of one topic: the first 63 bits of a hash of the cluster's and the topic's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub i64);

/// The right of one process to write one partition, from one take-over until it ends.
#[derive(Debug)]
pub struct Ownership {
    /// The source.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// Grows by one with every take-over; a restored PostgreSQL may repeat it.
    pub epoch: i64,
    /// Fresh for every take-over.
    pub owner: Uuid,
}
