//! Inserts rows by their identity: exactly those of a small batch that the table lacks, wherever their offsets are. It is for records
//! whose range is stored already: dead letters that have become good. The batch has a number of its own, which is in its token, and all
//! inserts of a partition by this way have one query id. So after a death the same batch is finished: its older insert is ended, what has
//! landed is read back, and only missing rows are inserted. `protocol/write.rs` decides each step.

use std::time::{Duration, Instant};

use footprint_event::definition::Definition;
use footprint_event::route::Route;
use footprint_event::rows::Rows;
use footprint_protocol::ledger::{Identity, LedgerId, SourceId};
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_protocol::write::{Repair, Step};
use footprint_service::clickhouse::gate::{Closed, Gate};
use footprint_service::clickhouse::gated_client;
use footprint_service::config::ClickHouse;
use footprint_service::report::Remedy;
use footprint_service::retry::Backoff;
use footprint_service::traffic::Traffic;
use tokio::time::sleep;

use super::insert::{Attempt, Inserter, NotInserted};
use super::native;
use super::readback::{Questions, missing_rows};
use crate::store::sink::SinkError;
use crate::store::write_failure::WriteFailure;

/// How long it waits for the end of an older insert: longer than the 30 s that the server waits for a silent client.
const WAIT_OUT_TIMEOUT: Duration = Duration::from_secs(60);
/// How many requests of one batch may fail, counted again after each refused row. The connection of a refused insert is given up, so the next request may meet its end.
const TRIES_MAX: u32 = 5;
/// If ClickHouse's last answer is younger than this, the connection is still open: the client drops idle ones after 2.5 s.
const CONNECTION_FRESH: Duration = Duration::from_secs(1);

/// A small batch of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// The life of the topic.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// The batch's number, which no other batch has.
    pub number: i64,
    /// Rows in the order of their offsets.
    pub rows: &'a Rows,
    /// Indices of the rows that ClickHouse must hold, rising.
    pub which: &'a [usize],
}

/// A row that the table refuses: its index, and ClickHouse's words.
pub type RefusedRow = (usize, String);

/// What an insert came to.
enum Answer {
    Stored,
    QueryIdInUse,
    Refused(RefusedRow),
}

/// What is left to do of a batch.
struct Work {
    /// The rows that must be there.
    which: Vec<usize>,
    refused: Vec<RefusedRow>,
    repair: Repair,
}

/// Stores rows by their identity, on a connection of its own.
pub struct ByIdentity {
    gate: Gate,
    /// When ClickHouse last answered on the connection.
    answered_at: Option<Instant>,
    questions: Questions,
    settings: ClickHouse,
    silence_max: Duration,
    ledger: LedgerId,
    /// `database.table`, as in ClickHouse's errors.
    table: String,
    client: ::clickhouse::Client,
    traffic: Traffic,
}

impl ByIdentity {
    /// For the table of a route. It connects when it is first used. `silence_max`: how long ClickHouse may give no sign of life.
    pub fn new(settings: &ClickHouse, route: &Route, ledger: LedgerId, silence_max: Duration) -> Self {
        let (database, table) = route.clickhouse_names(&settings.database);
        let gate = Gate::new(1);
        let client = gated_client(settings, &gate);
        Self {
            answered_at: None,
            questions: Questions::new(&client, route, &settings.database, silence_max),
            settings: settings.clone(),
            silence_max,
            ledger,
            table: format!("{database}.{table}"),
            traffic: gate.traffic().clone(),
            gate,
            client,
        }
    }

    /// Makes sure that every row of the batch is there once, except those that the table refuses, which are returned. `prove` is asked
    /// right before each insert: it says that no other process may store this batch now, and for the next seconds.
    ///
    /// # Errors
    /// ClickHouse refuses or does not answer, or `prove` fails. Some rows may have landed: try the same batch again.
    pub async fn store(
        &mut self,
        definition: &Definition,
        batch: Selected<'_>,
        prove: impl AsyncFn() -> Result<(), SinkError>,
    ) -> Result<Vec<RefusedRow>, SinkError> {
        let mut inserter =
            Inserter::new(&self.client, &self.traffic, &self.settings, definition.route(), self.silence_max);
        let mut work = Work { which: batch.which.to_vec(), refused: Vec::new(), repair: Repair::new() };
        let (mut backoff, mut tries, mut refused) = (Backoff::new(), 0, 0);
        loop {
            if work.refused.len() > refused {
                (tries, refused) = (0, work.refused.len());
            }
            match self.step(&mut inserter, definition.route(), &batch, &mut work, &prove).await {
                Ok(true) => return Ok(work.refused),
                Ok(false) => {}
                Err(error) => {
                    self.hang_up();
                    tries += 1;
                    if tries == TRIES_MAX || matches!(error, SinkError::Stop(_)) {
                        return Err(error);
                    }
                    sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Reads back, and does what the repair says. True: every row is there.
    async fn step(
        &mut self,
        inserter: &mut Inserter,
        route: &Route,
        batch: &Selected<'_>,
        work: &mut Work,
        prove: &impl AsyncFn() -> Result<(), SinkError>,
    ) -> Result<bool, SinkError> {
        // no other connection is made from the read-back to the end of the insert, see `writer.rs`
        let closed = self.connected().await?;
        let missing = self.missing(batch, &work.which).await?;
        match work.repair.read_back(missing.len()) {
            Step::Done => return Ok(true),
            Step::ReadBack => {}
            Step::WaitOut => {
                drop(closed);
                let id = self.questions.replay_id(self.ledger, batch.source, batch.partition);
                self.questions.drain(&id, WAIT_OUT_TIMEOUT).await?;
            }
            Step::Contradicted => return Err(unreadable(batch, missing.len())),
            Step::Insert { level } => {
                prove().await?;
                match self.insert(inserter, route, batch, &missing, level).await {
                    Ok(Answer::Stored) => drop(work.repair.inserted(true)),
                    Ok(Answer::QueryIdInUse) => drop(work.repair.refused()),
                    // the server checks a block before it writes any of it, and may not have read the whole body
                    Ok(Answer::Refused((row, why))) => {
                        self.hang_up();
                        work.which.retain(|&other| other != row);
                        work.refused.push((row, why));
                        work.repair.refused();
                    }
                    Err(error) => {
                        work.repair.inserted(false);
                        return Err(error);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Makes sure that there is a connection. While the returned guard lives, no other one can be made.
    async fn connected(&mut self) -> Result<Closed, SinkError> {
        if self.answered_at.take().is_none_or(|at| at.elapsed() >= CONNECTION_FRESH) {
            self.questions.connected().await?;
        }
        Ok(self.gate.close())
    }

    /// Ends the connection: a request that was given up or refused may not be at its end.
    fn hang_up(&mut self) {
        self.gate.hang_up();
        self.answered_at = None;
    }

    /// Those of the rows in `which` that ClickHouse does not hold.
    async fn missing(&self, batch: &Selected<'_>, which: &[usize]) -> Result<Vec<usize>, SinkError> {
        let offsets: Vec<Offset> = which.iter().map(|&row| batch.rows.offsets[row]).collect();
        let held = self.questions.held(batch.source, batch.partition, &offsets).await?;
        Ok(missing_rows(&offsets, held).missing.into_iter().map(|index| which[index]).collect())
    }

    async fn insert(
        &mut self,
        inserter: &mut Inserter,
        route: &Route,
        batch: &Selected<'_>,
        missing: &[usize],
        level: u32,
    ) -> Result<Answer, SinkError> {
        let Selected { source, partition, number, rows, .. } = *batch;
        let id = self.questions.replay_id(self.ledger, source, partition);
        let block = native::block(route, rows, source, partition, Some(missing));
        let attempt = Attempt { route: &route.name, identity: identity(batch), birth: number, level };
        match inserter.insert(&attempt, &id, block).await {
            Ok(()) => {
                self.answered_at = Some(Instant::now());
                Ok(Answer::Stored)
            }
            Err(NotInserted::Failed { error, .. }) if error.is_taken() => Ok(Answer::QueryIdInUse),
            Err(NotInserted::Failed { error, refused }) => {
                let refused = refused.filter(|refused| refused.table == self.table);
                let row = refused.and_then(|refused| Some((*missing.get(refused.nth)?, refused.why)));
                row.map(Answer::Refused).ok_or_else(|| error.into())
            }
            Err(NotInserted::Silent(source)) => {
                Err(SinkError::Uncertain(WriteFailure::Silent { server: "clickhouse", source }))
            }
        }
    }
}

/// The batch's place for people: from its first row to its last one. There are other records between them.
fn identity(batch: &Selected<'_>) -> Identity {
    let Selected { source, partition, rows, .. } = *batch;
    let (first, last) = (rows.offsets.first().copied().unwrap_or(0), rows.offsets.last().copied().unwrap_or(0));
    Identity { source, partition, range: Range::new(first, last + 1) }
}

/// The error if ClickHouse answered OK twice and the rows cannot be read.
fn unreadable(batch: &Selected<'_>, missing: usize) -> SinkError {
    let Identity { partition, range, .. } = identity(batch);
    let source = Remedy::only(
        "look for what hides rows from this user: a row policy, a limit in its profile, a TTL of the table",
    );
    SinkError::Stop(WriteFailure::StoredRowsUnreadable { partition, range, missing, source })
}
