//! One insert: its token, its query id and the settings that exactly-once needs, pinned on every one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::Client;

use super::native::{self, Block};
use super::uses_lz4;
use super::writer::Failed;
use crate::config::ClickHouse;
use crate::failpoint::{self, Point};
use crate::ledger::{Identity, SourceId};
use crate::limits::{BATCH_ROWS_MAX, BLOCK_PIECE_BYTES, PIECES_KEPT_BYTES_MAX};
use crate::offset::Partition;
use crate::recycle::Pool;
use crate::route::Route;

/// Settings of every insert, whatever the user's profile says.
const PINNED: [(&str, &str); 9] = [
    ("insert_deduplicate", "1"),
    // asynchronous by default since 26.2: the answer would come before the rows
    ("async_insert", "0"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // one block, one part: a split insert under one token would be deduplicated piece by piece
    ("max_insert_threads", "1"),
    ("input_format_parallel_parsing", "0"),
    ("min_insert_block_size_rows", "0"),
    ("min_insert_block_size_bytes", "0"),
    ("max_partitions_per_insert_block", "0"),
    ("wait_end_of_query", "1"),
];

/// What an insert is of.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The route.
    pub route: &'a str,
    /// Source, partition and range.
    pub identity: Identity,
    /// The ledger row's birth.
    pub birth: i64,
    /// The token's level.
    pub level: u32,
}

impl Attempt<'_> {
    /// The token: derived from the ledger row's birth, the range and the level alone, never from the attempt or the epoch (R1).
    pub fn token(&self) -> String {
        let Identity { source, partition, range } = self.identity;
        format!(
            "footprint-{}-{source}-{partition}-{:x}-{}-{}-{}",
            self.route, self.birth, range.start, range.end, self.level
        )
    }

    /// A query id of this attempt alone; it starts with the range's prefix, by which older attempts are found.
    fn query_id(&self) -> String {
        format!("{}{:016x}", range_prefix(self.route, self.identity), rand::random::<u64>())
    }
}

/// What the query ids of every insert of a partition start with.
pub fn partition_prefix(route: &str, source: SourceId, partition: Partition) -> String {
    format!("footprint-{route}-{source}-{partition}-")
}

/// What the query ids of every insert of a range start with.
pub fn range_prefix(route: &str, identity: Identity) -> String {
    let Identity { source, partition, range } = identity;
    format!("{}{}-{}-", partition_prefix(route, source, partition), range.start, range.end)
}

/// Sends blocks to one table.
pub struct Inserter {
    client: Client,
    statement: String,
    lz4: bool,
    /// Whether the server was asked about its settings.
    pinned: bool,
    pieces: Arc<Pool<Vec<u8>>>,
}

impl Inserter {
    /// For a route's table.
    pub fn new(client: &Client, settings: &ClickHouse, route: &Route, timeout: Duration) -> Self {
        let mut client = client
            .clone()
            .with_setting("max_insert_block_size", (BATCH_ROWS_MAX + 1).to_string())
            .with_setting("max_execution_time", timeout.as_secs().max(1).to_string());
        for (name, value) in PINNED {
            client = client.with_setting(name, value);
        }
        Self {
            client,
            statement: native::insert_statement(route, &settings.database),
            lz4: uses_lz4(settings),
            pinned: false,
            pieces: Pool::new(PIECES_KEPT_BYTES_MAX),
        }
    }

    /// Switches deduplication on where the server knows the newer name of the setting: a profile that disables it by that
    /// name doubled rows whatever `insert_deduplicate` said. Asked once, before the first insert.
    async fn pin_deduplication(&mut self) -> Result<(), Failed> {
        if self.pinned {
            return Ok(());
        }
        let known = self.client.query("select count() from system.settings where name = 'deduplicate_insert'");
        failpoint::hit(Point::Settings);
        // read to the end of the answer, so that the connection is kept: the insert may use no other
        let counts = known.fetch_all::<u64>().await?;
        failpoint::hit(Point::SettingsAnswered);
        if counts.iter().any(|&count| count > 0) {
            self.client = self.client.clone().with_setting("deduplicate_insert", "enable");
        }
        self.pinned = true;
        Ok(())
    }

    /// Inserts one block.
    ///
    /// # Errors
    /// Whatever the server or the connection says, classed.
    pub async fn insert(&mut self, attempt: &Attempt<'_>, mut block: Block<'_>) -> Result<(), Failed> {
        self.pin_deduplication().await?;
        let mut client = self
            .client
            .clone()
            .with_setting("insert_deduplication_token", attempt.token())
            .with_setting("query_id", attempt.query_id());
        if !self.lz4 {
            // a known length: a body that is cut is refused whole. With LZ4 the last chunk's mark does the same.
            client = client.with_header("Content-Length", block.byte_len().to_string());
        }
        let mut insert = client.insert_formatted_with(self.statement.as_str());
        loop {
            let mut piece = self.pieces.take(Vec::new);
            block.put(BLOCK_PIECE_BYTES, &mut piece);
            if piece.is_empty() {
                break;
            }
            // its memory goes back to the pool when the client has sent it
            let mut body = Bytes::from_owner(piece);
            if failpoint::is_armed(Point::InsertFirstByte) {
                insert.send(body.split_to(body.len() / 2)).await?;
                failpoint::hit_soon(Point::InsertFirstByte).await;
            }
            insert.send(body).await?;
        }
        failpoint::sent(Point::InsertSent, insert.end()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::Range;

    #[test]
    fn a_token_names_the_row_the_range_and_the_level_and_nothing_else() {
        let identity = Identity { source: SourceId(7), partition: 3, range: Range::new(10, 20) };
        let attempt = Attempt { route: "visits", identity, birth: 10, level: 1 };
        assert_eq!(attempt.token(), "footprint-visits-7-3-a-10-20-1");
        assert_eq!(attempt.token(), attempt.token());
        assert_ne!(attempt.query_id(), attempt.query_id());
        assert!(attempt.query_id().starts_with(&partition_prefix("visits", SourceId(7), 3)));
    }
}
