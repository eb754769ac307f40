//! Every bound of the program, once, with its unit in its name. Relations between them are asserted at compile time. A bound that
//! only one crate needs is in that crate's own `limits.rs`.

use footprint_protocol::tracker::CLAIMS_PENDING_MAX;

/// Chunks waiting between the reader and the decoder. Few and small, so that messages are still in the cache when they are
/// decoded.
pub const CHUNK_CHANNEL_CAPACITY: usize = 16;
/// What a record in a chunk costs in the byte budget besides its own bytes: librdkafka's note of it.
pub const RECORD_OVERHEAD_BYTES: usize = 320;
/// What a dead letter costs in the byte budget besides its own bytes.
pub const DEAD_LETTER_OVERHEAD_BYTES: usize = 160;
/// What a byte of columns costs in the byte budget: itself, and the spare room of its vectors.
pub const COLUMN_BYTE_COST: usize = 2;
/// Bytes of chunks that are kept for reuse, at most: the lists of messages, without the messages.
pub const CHUNKS_KEPT_BYTES_MAX: usize = 1 << 20;
/// Bytes of batches that are kept for reuse, at most, for all routes together: one full batch of page views.
pub const BATCHES_KEPT_BYTES_MAX: usize = 64 << 20;
/// Bytes of ClickHouse blocks' pieces that are kept for reuse, at most, a lane: the piece being encoded, one in the client's
/// channel, and those that the socket has not taken.
pub const PIECES_KEPT_BYTES_MAX: usize = 2 << 20;
/// Partitions that are read at a time to finish the claims of earlier owners, at most. Such ranges cannot be cut, so each may
/// need a full batch's share of the byte budget.
pub const REPLAYS_MAX: usize = 4;

/// Inserts into one ClickHouse table a second, at most. All its consumers together cut incomplete batches no faster. Full batches
/// are not counted: about two million rows a second.
pub const CUTS_PER_SECOND_MAX: u32 = 20;
/// No incomplete batch is cut while this number of batches is under way: one in each of two lanes, one claimed, one being
/// claimed.
pub const BATCHES_UNDER_WAY_MAX: usize = 4;
/// Batches waiting before one writer lane.
pub const WRITER_CHANNEL_CAPACITY: usize = 64;
/// Messages that wait before the coordinator.
pub const COORDINATOR_CHANNEL_CAPACITY: usize = 1_024;
/// Batches that the coordinator holds until they are claimed or a writer has room. Small batches cost more than the bytes that
/// they hold of the budget. So a trickle of records during a long outage needs this bound too.
pub const READY_BATCHES_MAX: usize = 1_024;
/// Partitions of a pipeline that are taken over at once, at most. Each take-over asks PostgreSQL on the one ledger connection,
/// and ClickHouse on its own connection.
pub const TAKE_OVERS_MAX: usize = 16;

/// Months of one batch, at most, by the time when Kafka received its records. ClickHouse makes and syncs one part for each. The
/// limit is more than ten years, so that an archive loaded in any order still gives large batches.
pub const BATCH_MONTHS_MAX: usize = 128;
/// Rows of one batch that a database may always refuse, however small the batch is. Each becomes a dead letter.
pub const REFUSED_ROWS_MIN: usize = 100;
/// Attempts in a row that may end in a refusal that may or may not pass. That is about 40 seconds; then the
/// program stops.
pub const UNCLEAR_TRIES_MAX: u32 = 15;

/// Bytes of COPY data that the PostgreSQL client gets at once.
pub const COPY_CHUNK_BYTES: usize = 256 << 10;

/// Bytes of a ClickHouse block that the client gets at once. A piece is small enough to be still in the processor's cache when
/// the socket takes it.
pub const BLOCK_PIECE_BYTES: usize = 256 << 10;

/// Identities of one route that one repair inserts, at most. The next repair inserts the rest.
pub const REPAIR_MAX: usize = 100_000;
/// Offsets that a repair reads and inserts at once, at most. PostgreSQL has no index on the identity, so each time it looks at its whole
/// table. Their rows are in memory, from Kafka at most 8 MiB.
pub const REPAIR_OFFSETS_AT_ONCE: usize = 2_000;

/// Partitions of one topic that one process handles.
pub const PARTITIONS_MAX: usize = 10_000;

/// Offsets of one partition that `verify` compares at once, as a power of two. They need about 40 MiB for counts and content
/// numbers.
pub const VERIFY_WINDOW_BITS: u32 = 20;
/// What librdkafka may hold for the audit of one route, KiB.
pub const AUDIT_QUEUE_KBYTES: u32 = 1_024;
/// Windows of one table that `verify` lists, at most. A million times a million offsets are more than any topic has.
pub const VERIFY_WINDOWS_MAX: usize = 1_000_000;

/// Dead letters of one batch of `dead-letters replay`, at most: one insert into ClickHouse, and one transaction of PostgreSQL.
pub const REPLAY_LETTERS_MAX: usize = 500;
/// Bytes of the keys and payloads of such a batch, at most, if it has more than one dead letter.
pub const REPLAY_BYTES_MAX: i64 = 8 << 20;
/// Dead letters that `dead-letters purge` deletes in one transaction, at most.
pub const PURGE_LETTERS_MAX: i64 = 10_000;

const _: () = assert!(WRITER_CHANNEL_CAPACITY >= CLAIMS_PENDING_MAX);
