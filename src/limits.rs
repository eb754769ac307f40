//! Every bound of the program, once, with its unit in its name; relations between them are asserted at compile time. Those of one crate alone stand in its own
//! `limits.rs`.

use footprint_protocol::tracker::CLAIMS_PENDING_MAX;

/// Chunks waiting between the reader and the decoder. Few and small, so that messages are decoded while they are in the cache.
pub const CHUNK_CHANNEL_CAPACITY: usize = 16;
/// What a record costs in the byte budget beside its own bytes while it lies in a chunk: librdkafka's note of it.
pub const RECORD_OVERHEAD_BYTES: usize = 320;
/// What a dead letter costs in the byte budget beside its own bytes.
pub const DEAD_LETTER_OVERHEAD_BYTES: usize = 160;
/// What a byte of columns costs in the byte budget: itself, and the room that its vectors have grown ahead.
pub const COLUMN_BYTE_COST: usize = 2;
/// Memory of chunks that is kept for the next ones, bytes: lists of messages, not these themselves.
pub const CHUNKS_KEPT_BYTES_MAX: usize = 1 << 20;
/// Memory of batches that is kept for the next ones, bytes of all routes together: a whole batch of page views.
pub const BATCHES_KEPT_BYTES_MAX: usize = 64 << 20;
/// Memory of ClickHouse blocks' pieces that is kept for the next ones, bytes a lane: one in the making, one in the client's
/// channel, those that the socket has not taken.
pub const PIECES_KEPT_BYTES_MAX: usize = 2 << 20;
/// Partitions at a time whose claims of earlier owners are read again: such ranges cannot be cut, so each may need a whole batch's
/// share of the byte budget.
pub const REPLAYS_MAX: usize = 4;

/// Inserts into one ClickHouse table, at most, a second: incomplete batches of all its consumers together are cut no faster.
/// Full ones come on top, at some two million rows a second.
pub const CUTS_PER_SECOND_MAX: u32 = 20;
/// Batches on their way beside which no incomplete one is cut: one in each of two lanes, one claimed, one being claimed.
pub const BATCHES_UNDER_WAY_MAX: usize = 4;
/// Batches waiting before one writer lane.
pub const WRITER_CHANNEL_CAPACITY: usize = 64;
/// Messages waiting before the coordinator.
pub const COORDINATOR_CHANNEL_CAPACITY: usize = 1_024;
/// Batches that the coordinator holds back until they are claimed or a writer has room. Small ones cost more than the bytes
/// of the budget they hold, so a trickle during a long outage needs this bound beside the budget.
pub const READY_BATCHES_MAX: usize = 1_024;
/// Partitions of a pipeline that are taken over at once, at most. Each asks PostgreSQL on the one ledger connection, and
/// ClickHouse on a connection of its own.
pub const TAKE_OVERS_MAX: usize = 16;

/// Months of one batch, by when Kafka received its records, at most: ClickHouse makes and syncs a part for each. More than ten
/// years, so that the load of an archive in any order still goes in large batches.
pub const BATCH_MONTHS_MAX: usize = 128;
/// Rows of one batch that a database may refuse, at least, however small the batch: each becomes a dead letter.
pub const REFUSED_ROWS_MIN: usize = 100;
/// Tries in a row that may end in a refusal of which nobody knows whether it passes: some 40 seconds, then the program stops.
pub const UNCLEAR_TRIES_MAX: u32 = 15;

/// Bytes of COPY data handed to the PostgreSQL client at once.
pub const COPY_CHUNK_BYTES: usize = 256 << 10;

/// Bytes of a ClickHouse block handed to the client at once: little enough to be in the processor's cache still when the
/// socket takes it.
pub const BLOCK_PIECE_BYTES: usize = 256 << 10;

/// Partitions of one topic that one process handles, at most.
pub const PARTITIONS_MAX: usize = 10_000;

/// Offsets of one partition that `verify` compares at once, as a power of two: some 40 MiB of counts and content numbers.
pub const VERIFY_WINDOW_BITS: u32 = 20;
/// Windows of one table that `verify` lists, at most: a million times a million offsets are more than any topic has.
pub const VERIFY_WINDOWS_MAX: usize = 1_000_000;

const _: () = assert!(WRITER_CHANNEL_CAPACITY >= CLAIMS_PENDING_MAX);
