//! Stores dead letters again that have become good: the route's settings were changed, the program was updated, or a database takes
//! now what it refused. Each becomes one row in each database that lacks it, and the dead letter is deleted. Dead letters that are still
//! bad stay.
//!
//! ```text
//! cursor over the places of the dead letters     ledger/statements/letters
//!      |  batches of one partition
//! decode by the route's present definition       batch (pure)
//!      |  good ones
//! 1. footprint_replay says that the batch begins: its offsets, its number, its definition
//! 2. ClickHouse: end the older insert, read back, insert what is missing, read back    store/clickhouse/identities
//! 3. one transaction of PostgreSQL: the rows, the dead letters' end, and the end of the batch    store/postgres/identities
//! ```
//!
//! Why no kill and no second replay doubles or loses a row:
//!
//! - Only dead letters below every frontier of their partition are stored again. No owner writes such a range again.
//! - In PostgreSQL the dead letter is the guard: the row is committed together with the dead letter's end.
//! - ClickHouse has no transaction, so a batch is fixed before it gets any of it. After a death the next replay finishes the same batch
//!   first, by the same definition and under the same token, and a read-back finds what has landed.
//! - One replay of a route holds a lock, which ends with its session. A replay asks its session right before each insert. The next one
//!   waits as long as such an answer is good before it reads back, and ends the older insert by its query id.

mod batch;
mod error;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use footprint_event::definition::Definition;
use footprint_event::route::Route;
use footprint_protocol::ledger::SinkName;
use footprint_service::config::Config;
use footprint_service::postgres::session::Purpose;
use footprint_service::postgres::{PostgresError, connect, connect_to_write};
use footprint_service::report::Remedy;
use tokio_postgres::Client;

use self::batch::{Judged, take_batch};
pub use self::error::ReplayError;
use crate::ledger::proof::PROOF_LIFETIME;
use crate::ledger::statements::letters::{self, Filter, Place};
use crate::ledger::statements::replays::{self, Replay};
use crate::ledger::statements::{Ledger, LedgerError};
use crate::limits::REPLAY_LETTERS_MAX;
use crate::store::clickhouse::identities::ByIdentity;

/// The application name of its connections.
const NAME: &str = "footprint dead-letters";
/// How long one statement about a batch may take.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one pass over all dead letters may take.
const SCAN_TIMEOUT: Duration = Duration::from_secs(1_800);

/// Why a dead letter is not stored again yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A sink has not stored the records around it yet.
    NotStoredYet,
    /// A sink is switched off.
    SinkIsOff,
    /// The ledger has no row of its partition.
    UnknownPartition,
}

/// What a replay did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The route.
    pub route: String,
    /// Whether anything was done.
    pub done: bool,
    /// Dead letters that became a row in both databases.
    pub both: u64,
    /// Dead letters that became a row in PostgreSQL alone. ClickHouse has it, or refuses it.
    pub postgres: u64,
    /// The same for ClickHouse.
    pub clickhouse: u64,
    /// Dead letters that are still bad, by the code of the reason.
    pub bad: BTreeMap<String, u64>,
    /// Rows that a database refused now, by the code of the reason.
    pub refused: BTreeMap<String, u64>,
    /// Dead letters that are not stored again yet.
    pub waiting: BTreeMap<Waiting, u64>,
    /// Dead letters of batches that an earlier replay has begun and not ended. They are finished first.
    pub begun: u64,
}

impl Report {
    /// Dead letters that became rows, or would.
    pub fn stored(&self) -> u64 {
        self.both + self.postgres + self.clickhouse
    }

    /// Counts a dead letter that became a row in the databases that lacked it, except those in `refused`.
    fn count(&mut self, sink: Option<SinkName>, refused: &[SinkName]) {
        for sink in refused {
            let code = match sink {
                SinkName::Postgres => "postgres_refused",
                SinkName::ClickHouse => "clickhouse_refused",
            };
            *self.refused.entry(code.into()).or_default() += 1;
        }
        let lacks = |one: SinkName| sink.is_none_or(|sink| sink == one) && !refused.contains(&one);
        match (lacks(SinkName::Postgres), lacks(SinkName::ClickHouse)) {
            (true, true) => self.both += 1,
            (true, false) => self.postgres += 1,
            (false, true) => self.clickhouse += 1,
            (false, false) => {}
        }
    }
}

/// Whether to do it, or only to say what would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read only.
    DryRun,
    /// Store.
    Do,
}

/// Stores the dead letters of a route that `filter` means and that are good now. `progress` receives the report so far, after each batch.
///
/// # Errors
/// A server refuses or does not answer, or another replay of the route runs. All batches that were stored stay stored. The one that
/// had begun is finished by the next replay.
pub async fn replay(
    config: &Config,
    route: &Arc<Route>,
    filter: &Filter,
    mode: Mode,
    mut progress: impl FnMut(&Report),
) -> Result<Report, ReplayError> {
    let filter = Filter { route: Some(route.name.clone()), ..filter.clone() };
    let mut replayer = Replayer::open(config, route, mode).await?;
    if mode == Mode::Do {
        replayer.finish_begun().await?;
    }
    within("look for dead letters", SCAN_TIMEOUT, letters::open(&replayer.client, &filter)).await?;
    let mut places: Vec<Place> = Vec::new();
    loop {
        if places.len() < REPLAY_LETTERS_MAX {
            let next = letters::next(&replayer.client, REPLAY_LETTERS_MAX);
            places.extend(within("look for dead letters", BATCH_TIMEOUT, next).await?);
        }
        let batch = take_batch(&mut places);
        if batch.is_empty() {
            return Ok(replayer.report);
        }
        replayer.batch(batch, mode).await?;
        progress(&replayer.report);
    }
}

/// Waits for PostgreSQL, at most `limit`.
async fn within<T>(
    what: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, ReplayError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let what_to_do = footprint_service::postgres::error::remedy(&error);
            Err(ReplayError::Postgres { what, source: Remedy::new(what_to_do, PostgresError::without_values(error)) })
        }
        Err(_) => Err(ReplayError::Silent { what, waited: limit }),
    }
}

struct Replayer {
    /// The session that holds the lock and the cursor, and writes.
    client: Client,
    ledger: Ledger,
    clickhouse: ByIdentity,
    route: Arc<Route>,
    definition: Definition,
    report: Report,
}

impl Replayer {
    async fn open(config: &Config, route: &Arc<Route>, mode: Mode) -> Result<Self, ReplayError> {
        let definition = Definition::of(route)?;
        let ledger = Ledger::connect(&config.postgres, &route.name, NAME).await?;
        let client = match mode {
            Mode::DryRun => connect(&config.postgres, NAME, Purpose::Verify).await?,
            Mode::Do => {
                let tables = ["dead_letters", "footprint_replay"];
                connect_to_write(&config.postgres, NAME, Purpose::Verify, &tables, Some(route)).await?
            }
        };
        if mode == Mode::Do {
            if !within("lock the dead letters", BATCH_TIMEOUT, replays::lock(&client, &route.name)).await? {
                return Err(ReplayError::Busy(route.name.clone()));
            }
            // the lock ends soon after its client is gone, even in the middle of a statement (PostgreSQL 14 and later)
            let soon =
                "select set_config(name, '1s', false) from pg_settings where name = 'client_connection_check_interval'";
            within("lock the dead letters", BATCH_TIMEOUT, client.query(soon, &[])).await?;
            ledger.keep_definition(&definition).await?;
        }
        let silence_max = Duration::from_millis(config.pipeline.sink_timeout_ms);
        let clickhouse = ByIdentity::new(&config.clickhouse, route, ledger.id(), silence_max);
        let report = Report { route: route.name.clone(), done: mode == Mode::Do, ..Report::default() };
        let mut replayer = Self { client, ledger, clickhouse, route: Arc::clone(route), definition, report };
        replayer.report.begun = replayer.begun().await?.iter().map(|replay| replay.offsets.len() as u64).sum();
        Ok(replayer)
    }

    async fn begun(&self) -> Result<Vec<Replay>, ReplayError> {
        within("look for a replay that has begun", BATCH_TIMEOUT, replays::begun(&self.client, &self.route.name)).await
    }

    /// Finishes what an earlier replay has begun.
    async fn finish_begun(&mut self) -> Result<(), ReplayError> {
        let begun = self.begun().await?;
        if begun.is_empty() {
            return Ok(());
        }
        // the earlier replay may live without its session. It inserts as long as its last question to that session is a good answer
        tokio::time::sleep(PROOF_LIFETIME).await;
        for replay in begun {
            let definition = self.definition_of(replay.fingerprint).await?;
            let (key, which) = ((replay.source, replay.partition), (&*replay.offsets, &*replay.sinks));
            let found = letters::find(&self.client, &self.route.name, key, which);
            let places = within("find dead letters", SCAN_TIMEOUT, found).await?;
            let judged = self.judge(&places, &definition).await?;
            self.finish(&replay, judged, &definition).await?;
        }
        Ok(())
    }

    /// The definition that a batch began with.
    async fn definition_of(&self, fingerprint: i64) -> Result<Definition, ReplayError> {
        if fingerprint == self.definition.fingerprint() {
            return Ok(Definition::of(&self.route)?);
        }
        let found = self.ledger.definitions(&[fingerprint]).await?;
        let (_, text) = found.first().ok_or(ReplayError::NoDefinition)?;
        Definition::kept(text, &self.route).map_err(ReplayError::Definition)
    }

    /// Decodes the dead letters at these places, which are of one partition.
    async fn judge(&self, places: &[Place], definition: &Definition) -> Result<Judged, ReplayError> {
        let loaded = letters::load(&self.client, &self.route.name, places);
        let letters = within("read dead letters", BATCH_TIMEOUT, loaded).await?;
        Ok(Judged::new(letters, definition))
    }

    /// Why the dead letters of a partition at or above the returned offset are not stored again yet.
    async fn open_from(&self, place: &Place) -> Result<(i64, Waiting), ReplayError> {
        let rows = self.ledger.rows(place.source).await?;
        let Some((_, row)) = rows.iter().find(|(partition, _)| *partition == place.partition) else {
            return Ok((0, Waiting::UnknownPartition));
        };
        let frontiers = row.frontiers;
        if frontiers.postgres.is_none() || frontiers.clickhouse.is_none() {
            return Ok((0, Waiting::SinkIsOff));
        }
        Ok((frontiers.lowest(), Waiting::NotStoredYet))
    }

    /// One batch of a partition.
    async fn batch(&mut self, mut places: Vec<Place>, mode: Mode) -> Result<(), ReplayError> {
        let (open_from, why) = self.open_from(&places[0]).await?;
        let all = places.len();
        places.retain(|place| place.offset < open_from);
        if places.len() < all {
            *self.report.waiting.entry(why).or_default() += (all - places.len()) as u64;
        }
        let judged = self.judge(&places, &self.definition).await?;
        for (code, count) in &judged.bad {
            *self.report.bad.entry((*code).to_owned()).or_default() += count;
        }
        let Some((first, _)) = judged.good.first() else { return Ok(()) };
        if mode == Mode::DryRun {
            judged.good.iter().for_each(|(place, _)| self.report.count(place.sink, &[]));
            return Ok(());
        }
        let replay = Replay {
            source: first.source,
            partition: first.partition,
            number: rand::random_range(1..i64::MAX),
            fingerprint: self.definition.fingerprint(),
            offsets: judged.good.iter().map(|(place, _)| place.offset).collect(),
            sinks: judged.good.iter().map(|(place, _)| letters::sink_column(place.sink).to_owned()).collect(),
        };
        let begin = replays::begin(&self.client, &self.route.name, &replay);
        within("begin a batch", BATCH_TIMEOUT, begin).await?;
        let definition = Definition::of(&self.route)?;
        self.finish(&replay, judged, &definition).await
    }
}

impl From<LedgerError> for ReplayError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}
