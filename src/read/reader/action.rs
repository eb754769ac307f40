//! What the reader's decisions ask of the reader: the calls to librdkafka, the chunks without records, the reports.

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
    /// Fetch no more of a partition, which stays assigned.
    Pause(Partition),
    /// Take partitions out of the assignment. It answers a revoke even if it names none.
    Release(Vec<Partition>),
    /// Ask librdkafka where it is in each partition.
    AskPositions,
    /// Send a chunk without records: everything below the partition's next offset was seen.
    SendPosition(Partition),
    /// Tell the coordinator.
    Report(Event),
}
