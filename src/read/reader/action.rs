//! The actions that the reader's decisions ask for: calls to librdkafka, chunks without records, reports.

use footprint_protocol::offset::{Offset, Partition};

use crate::read::commands::Commit;
use crate::read::event::Event;

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send offsets to Kafka.
    Commit(Commit),
    /// Fetch a partition from an offset on, whatever was fetched of it before.
    Fetch {
        /// The partition.
        partition: Partition,
        /// The first offset.
        from: Offset,
    },
    /// Stop fetching a partition, which stays assigned.
    Pause(Partition),
    /// Remove partitions from the assignment. This answers a revoke, even if it names no partition.
    Release(Vec<Partition>),
    /// Ask librdkafka for its position in each partition.
    AskPositions,
    /// Send a chunk without records: everything below the partition's next offset was seen.
    SendPosition(Partition),
    /// Send this report to the coordinator.
    Report(Event),
}
