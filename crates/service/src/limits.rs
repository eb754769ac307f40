//! Bounds of the services, and those that the configuration is held to.

use footprint_event::limits::RECORD_BYTES_MAX;

/// Bytes of one fetch, as they are compressed: unpacked and with librdkafka's own notes on each message they are some ten
/// times as many. A message above it comes alone. Larger ones cost memory, smaller ones the broker's time
/// (docs/performance.md).
pub(crate) const FETCH_BYTES_MAX: usize = 2 << 20;
/// Messages of a partition in librdkafka's queue above which it fetches no more of that. Enough that the next fetch has come before
/// the queue is empty; each costs memory, 320 bytes for librdkafka's note of it.
pub(crate) const MESSAGES_QUEUED_MAX: usize = 60_000;
/// Bytes of one partition in a fetch: one may fill it. With a backlog a partition is then read in long runs, so that of many
/// partitions a few batches fill at a time instead of all of them a little.
pub(crate) const PARTITION_FETCH_BYTES_MAX: usize = FETCH_BYTES_MAX;
/// Messages that the reader takes from librdkafka at once, and so in one chunk, at most; the byte budget is looked at before each such take.
pub const MESSAGES_TAKEN_MAX: usize = 512;
/// Rows in one batch, at most, whatever the configuration says.
pub const BATCH_ROWS_MAX: usize = 1_000_000;
/// Lanes of one pipeline, at most: each costs every database a connection, and memory for batches.
pub(crate) const LANES_MAX: usize = 16;

const _: () = assert!(FETCH_BYTES_MAX > RECORD_BYTES_MAX);
