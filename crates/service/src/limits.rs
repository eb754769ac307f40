//! Bounds of the services, and the bounds that the configuration must respect.

use footprint_event::limits::RECORD_BYTES_MAX;

/// Compressed bytes of one fetch. Unpacked, and with librdkafka's own notes on each message, they are about ten times as many. A
/// larger message comes alone. Larger fetches cost memory, smaller ones cost the broker's time (docs/performance.md).
pub(crate) const FETCH_BYTES_MAX: usize = 2 << 20;
/// Messages of a partition in librdkafka's queue above which it fetches no more from it. They are enough that the next fetch
/// comes before the queue is empty. Each costs memory: 320 bytes for librdkafka's note of it.
pub(crate) const MESSAGES_QUEUED_MAX: usize = 60_000;
/// Bytes of one partition in a fetch. One partition may fill it. So during a backlog a partition is read in long runs, and a few
/// partitions fill their batches at a time instead of all of them a little.
pub(crate) const PARTITION_FETCH_BYTES_MAX: usize = FETCH_BYTES_MAX;
/// Messages that the reader takes from librdkafka at once, and so in one chunk, at most. The byte budget is checked before each
/// such call.
pub const MESSAGES_TAKEN_MAX: usize = 512;
/// Rows in one batch, at most, whatever the configuration says.
pub const BATCH_ROWS_MAX: usize = 1_000_000;
/// Lanes of one pipeline, at most: each costs every database a connection, and memory for batches.
pub(crate) const LANES_MAX: usize = 16;

const _: () = assert!(FETCH_BYTES_MAX > RECORD_BYTES_MAX);
