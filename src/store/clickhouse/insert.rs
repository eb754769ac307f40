//! One insert: its token, its query id, and the sending of its block.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::Client;
use clickhouse::error::Error;
use clickhouse::insert_formatted::InsertFormatted;
use footprint_event::definition::Definition;
use footprint_event::recycle::Pool;
use footprint_event::route::Route;
use footprint_protocol::ledger::Identity;
use footprint_service::clickhouse::error::{ClickHouseError, RefusedRow, refused_row};
use footprint_service::clickhouse::settings::Pins;
use footprint_service::clickhouse::{client as client_of, uses_lz4};
use footprint_service::config::ClickHouse;
use footprint_service::failpoint::{self, Point};
use footprint_service::limits::BATCH_ROWS_MAX;
use footprint_service::traffic::{LIMITS_AT_WORK_MAX, Silent, Standing, Traffic, unless_silent};

use super::fence::{InsertId, is_running};
use super::native::{self, Block};
use crate::limits::{BLOCK_PIECE_BYTES, PIECES_KEPT_BYTES_MAX};

/// What an insert stores, and at which level.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The route's name.
    pub route: &'a str,
    /// Source, partition and range.
    pub identity: Identity,
    /// A random number in the ledger row. If the row is made again, it has another number.
    pub birth: i64,
    /// 0 for a first write, higher for repairs.
    pub level: u32,
}

impl Attempt<'_> {
    /// The deduplication token. It depends on the ledger row's birth, the range and the level, never on the attempt or the epoch (R1).
    pub fn token(&self) -> String {
        let Identity { source, partition, range } = self.identity;
        format!(
            "footprint-{}-{source}-{partition}-{:x}-{}-{}-{}",
            self.route, self.birth, range.start, range.end, self.level
        )
    }

    /// Distinguishes attempts in system.query_log, because all inserts of a partition have the same query id.
    fn comment(&self) -> String {
        let Identity { source, partition, range } = self.identity;
        format!(
            "footprint route {}, source {source}, partition {partition}, range {range}, level {}, attempt {:08x}",
            self.route,
            self.level,
            rand::random::<u32>()
        )
    }
}

/// The server's time limit for one insert, computed from the limit on silence. An insert whose client is gone must end at some point.
pub fn insert_time_max(silence_max: Duration) -> Duration {
    silence_max * LIMITS_AT_WORK_MAX
}

/// Why an insert was not answered OK.
#[derive(Debug)]
pub enum NotInserted {
    /// The server refused, or the connection broke.
    Failed {
        /// ClickHouse's error.
        error: ClickHouseError,
        /// The row that a constraint refused, if that is the reason. Then nothing was written.
        refused: Option<RefusedRow>,
    },
    /// The server gave no sign of life.
    Silent(Silent),
}

impl From<Error> for NotInserted {
    fn from(error: Error) -> Self {
        let refused = refused_row(&error);
        Self::Failed { error: error.into(), refused }
    }
}

/// The inserters of one table: one for the route's present definition, and one for an earlier definition whose claims are not finished.
pub struct Inserters {
    client: Client,
    traffic: Traffic,
    settings: ClickHouse,
    silence_max: Duration,
    route: Arc<Route>,
    present: Inserter,
    earlier: Option<(i64, Inserter)>,
}

impl Inserters {
    /// Makes the inserters of a route's table. The connections of `client` count their bytes in `traffic`.
    pub fn new(
        client: &Client,
        traffic: &Traffic,
        settings: &ClickHouse,
        route: &Arc<Route>,
        silence_max: Duration,
    ) -> Self {
        let present = Inserter::new(client, traffic, settings, route, silence_max);
        let (client, traffic, settings) = (client.clone(), traffic.clone(), settings.clone());
        Self { client, traffic, settings, silence_max, route: Arc::clone(route), present, earlier: None }
    }

    /// The inserter for the rows of a definition.
    pub fn of(&mut self, definition: &Definition) -> &mut Inserter {
        let Self { client, traffic, settings, silence_max, route, present, earlier } = self;
        if Arc::ptr_eq(definition.route(), route) {
            return present;
        }
        let fingerprint = definition.fingerprint();
        let kept = earlier.take().filter(|(of, _)| *of == fingerprint);
        let made = || (fingerprint, Inserter::new(client, traffic, settings, definition.route(), *silence_max));
        &mut earlier.insert(kept.unwrap_or_else(made)).1
    }
}

/// Sends blocks to one table.
pub struct Inserter {
    pins: Pins,
    statement: String,
    lz4: bool,
    pieces: Arc<Pool<Vec<u8>>>,
    traffic: Traffic,
    silence_max: Duration,
    /// Asks on other connections whether an insert is running.
    observer: Client,
}

impl Inserter {
    /// Makes an inserter for a route's table. The connections of `client` count their bytes in `traffic`.
    pub fn new(
        client: &Client,
        traffic: &Traffic,
        settings: &ClickHouse,
        route: &Route,
        silence_max: Duration,
    ) -> Self {
        let statement = native::insert_statement(route, &settings.database);
        // the server knows of a query when it has read this many bytes: the statement, the end of its line and one byte more. So a drain
        // finds an insert as soon as the first byte of its block has arrived
        let pins = Pins::inserts(client, insert_time_max(silence_max), BATCH_ROWS_MAX)
            .and("max_query_size", (statement.len() + 1).to_string());
        Self {
            pins,
            statement,
            lz4: uses_lz4(settings),
            pieces: Pool::new(PIECES_KEPT_BYTES_MAX),
            traffic: traffic.clone(),
            silence_max,
            observer: client_of(settings),
        }
    }

    /// The client with all settings of an insert. The first call asks the server which of these settings it knows.
    async fn pinned(&self) -> Result<&Client, Error> {
        if self.pins.are_asked() {
            return self.pins.client().await;
        }
        failpoint::hit(Point::Settings);
        let client = self.pins.client().await?;
        failpoint::hit(Point::SettingsAnswered);
        Ok(client)
    }

    /// Inserts one block under the partition's query id. If another insert runs under that id, the server refuses this one.
    ///
    /// # Errors
    /// The server refused, the connection broke, or there was no sign of life.
    pub async fn insert(
        &mut self,
        attempt: &Attempt<'_>,
        id: &InsertId,
        mut block: Block<'_>,
    ) -> Result<(), NotInserted> {
        let mut query_id = id.as_str().to_owned();
        if failpoint::is_unfenced() {
            query_id = format!("{query_id}-{:x}", rand::random::<u64>());
        }
        let mut client = self
            .watched(self.pinned())
            .await??
            .clone()
            .with_setting("insert_deduplication_token", attempt.token())
            .with_setting("log_comment", attempt.comment())
            .with_setting("query_id", query_id);
        if !self.lz4 {
            // with a known length, the server refuses a body that was cut; with LZ4, the end mark of the last chunk has the same effect
            client = client.with_header("Content-Length", block.byte_len().to_string());
        }
        let mut insert = client.insert_formatted_with(self.statement.as_str());
        self.watched(self.send(&mut insert, &mut block)).await??;
        // the client has the whole block and sends the last pieces; then the server works, and no bytes move until it answers
        let ask = || is_running(&self.observer, id);
        let answer = failpoint::sent(Point::InsertSent, insert.end());
        unless_silent(&self.traffic, self.silence_max, ask, answer).await.map_err(NotInserted::Silent)??;
        Ok(())
    }

    /// Waits for `work`, during which bytes must move all the time.
    async fn watched<T>(&self, work: impl Future<Output = T>) -> Result<T, NotInserted> {
        let nobody = std::future::ready::<Option<Standing>>;
        unless_silent(&self.traffic, self.silence_max, || nobody(None), work).await.map_err(NotInserted::Silent)
    }

    async fn send(&self, insert: &mut InsertFormatted, block: &mut Block<'_>) -> Result<(), Error> {
        loop {
            let mut piece = self.pieces.take(Vec::new);
            block.put(BLOCK_PIECE_BYTES, &mut piece);
            if piece.is_empty() {
                return Ok(());
            }
            // the memory goes back to the pool when the client has sent the piece
            let mut body = Bytes::from_owner(piece);
            if failpoint::is_armed(Point::InsertFirstByte) {
                insert.send(body.split_to(body.len() / 2)).await?;
                failpoint::hit_soon(Point::InsertFirstByte).await;
            }
            insert.send(body).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footprint_protocol::ledger::SourceId;
    use footprint_protocol::offset::Range;

    #[test]
    fn a_token_names_the_row_the_range_and_the_level_and_nothing_else() {
        let identity = Identity { source: SourceId(7), partition: 3, range: Range::new(10, 20) };
        let attempt = Attempt { route: "visits", identity, birth: 10, level: 1 };
        assert_eq!(attempt.token(), "footprint-visits-7-3-a-10-20-1");
        assert_eq!(attempt.token(), attempt.token());
        assert_ne!(attempt.comment(), attempt.comment(), "each attempt has its own");
        let comment = attempt.comment();
        assert!(comment.contains("route visits, source 7, partition 3, range [10, 20), level 1, attempt"), "{comment}");
    }
}
