//! The repair's requests to ClickHouse. All go over one connection, as a writer's do: no other connection is made between the last read-back
//! and the insert. An insert may be uncertain, so the offsets are read back after each, and `protocol/write.rs` decides the next step.
//!
//! All repairs of a partition have one query id, which no consumer uses. So the insert of a repair that was killed is ended first. The token
//! depends on the offsets and a level alone: if that insert still lands, the next one is dropped as its copy.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clickhouse::Client;
use footprint_event::definition::Definition;
use footprint_event::route::{Column, Route, quoted};
use footprint_event::rows::Rows;
use footprint_protocol::ledger::{Identity, LedgerId, SourceId};
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::write::{Repair, Step};
use footprint_service::clickhouse::error::ClickHouseError;
use footprint_service::clickhouse::gate::Gate;
use footprint_service::clickhouse::gated_client;
use footprint_service::clickhouse::settings::Pins;
use footprint_service::config::Config;
use footprint_service::failpoint::{self, Point};
use footprint_service::report::Chain;
use footprint_service::retry::Backoff;
use xxhash_rust::xxh3::xxh3_64;

use crate::ledger::statements::history::Key;
use crate::store::clickhouse::fence::InsertId;
use crate::store::clickhouse::insert::{Attempt, Inserters, NotInserted as Answer};
use crate::store::clickhouse::native;
use crate::store::clickhouse::readback::Questions;
use crate::store::sink::SinkError;
use crate::store::write_failure::WriteFailure;
use crate::upkeep::repair::error::RepairError;
use crate::upkeep::repair::row_binary::rows_of;

/// How long the insert of an earlier repair may take to end.
const WAIT_OUT_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts of one insert that may fail in a row.
const TRIES_MAX: u32 = 5;
/// The same rows may be lost and inserted again this often before ClickHouse has forgotten the first insert's token.
const ROUNDS_MAX: u32 = 8;
/// Levels that one round may use.
const LEVELS_A_ROUND: u32 = 2;

/// Why rows were not inserted.
#[derive(Debug)]
pub(super) enum NotInserted {
    /// ClickHouse refuses a row.
    Refused(String),
    /// The repair cannot go on.
    Ended(Box<RepairError>),
}

impl From<RepairError> for NotInserted {
    fn from(error: RepairError) -> Self {
        Self::Ended(Box::new(error))
    }
}

/// The route's table in ClickHouse.
pub(super) struct Table {
    route: Arc<Route>,
    database: String,
    ledger: LedgerId,
    gate: Gate,
    pins: Pins,
    questions: Questions,
    inserters: Inserters,
    scan: Duration,
}

fn failed(error: ::clickhouse::error::Error) -> RepairError {
    RepairError::ClickHouse(ClickHouseError::from(error).into())
}

impl Table {
    /// The table of `route`. Asks nothing yet. `scan` bounds a pass over the table.
    pub(super) fn new(config: &Config, route: &Arc<Route>, ledger: LedgerId, scan: Duration) -> Self {
        let settings = &config.clickhouse;
        let silence_max = Duration::from_millis(config.pipeline.sink_timeout_ms);
        let gate = Gate::new(1);
        let client: Client = gated_client(settings, &gate);
        Self {
            route: Arc::clone(route),
            database: settings.database.clone(),
            ledger,
            pins: Pins::questions(&client, scan),
            questions: Questions::new(&client, route, &settings.database, silence_max),
            inserters: Inserters::new(&client, gate.traffic(), settings, route, silence_max),
            gate,
            scan,
        }
    }

    /// The condition that selects these offsets.
    fn at((source, partition): Key, offsets: &[Offset]) -> String {
        let offsets: Vec<String> = offsets.iter().map(Offset::to_string).collect();
        format!(
            "kafka_source = {source} and kafka_partition = {partition} and kafka_offset in ({})",
            offsets.join(", ")
        )
    }

    async fn within<T>(&self, answer: impl Future<Output = T>) -> Result<T, RepairError> {
        let silent = |_| RepairError::Silent { who: "clickhouse", waited: self.scan };
        tokio::time::timeout(self.scan, answer).await.map_err(silent)
    }

    /// The rows at these offsets.
    pub(super) async fn rows(&self, key: Key, offsets: &[Offset]) -> Result<Rows, RepairError> {
        let value =
            |column: &Column| format!(", {}", column.kind.form().clickhouse_value.replace("{}", &quoted(&column.name)));
        let columns: String = self.route.columns.iter().map(value).collect();
        let sql = format!(
            "select assumeNotNull(kafka_offset), cast(toUnixTimestamp64Micro(toDateTime64(received_at, 6, 'UTC')), \
             'Nullable(Int64)'){columns} from {} where {} order by kafka_offset",
            native::table(&self.route, &self.database),
            Self::at(key, offsets)
        );
        let asked = async {
            let mut cursor = self.pins.client().await?.query(&sql).fetch_bytes("RowBinary")?;
            let mut bytes = Vec::new();
            while let Some(chunk) = cursor.next().await? {
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        };
        let bytes = self.within(asked).await?.map_err(failed)?;
        rows_of(&bytes, &self.route).map_err(|_| RepairError::Malformed)
    }

    /// Which of these offsets are there.
    pub(super) async fn held(&self, key: Key, offsets: &[Offset]) -> Result<BTreeSet<Offset>, RepairError> {
        let table = native::table(&self.route, &self.database);
        let sql = format!("select assumeNotNull(kafka_offset) from {table} where {}", Self::at(key, offsets));
        let asked = async { self.pins.client().await?.query(&sql).fetch_all::<i64>().await };
        Ok(self.within(asked).await?.map_err(failed)?.into_iter().collect())
    }

    /// Inserts exactly those of `rows` that are not there. `may_write` is asked right before each insert. Returns how many were missing.
    pub(super) async fn insert(
        &mut self,
        key: Key,
        definition: &Definition,
        rows: &Rows,
        may_write: impl AsyncFn() -> Result<bool, RepairError>,
    ) -> Result<u64, NotInserted> {
        let before = self.held(key, &rows.offsets).await?;
        let missing = rows.offsets.iter().filter(|offset| !before.contains(offset)).count();
        for round in 0..ROUNDS_MAX {
            if self.round(round, key, definition, rows, &may_write).await? {
                return Ok(missing as u64);
            }
        }
        Err(NotInserted::Refused("clickhouse answers ok, and the rows cannot be read: something hides them".into()))
    }

    /// One repair by the protocol's rules. False: every level of the round was answered OK, and rows are still missing, because an earlier
    /// repair used these tokens for rows that were lost since.
    async fn round(
        &mut self,
        round: u32,
        key: Key,
        definition: &Definition,
        rows: &Rows,
        may_write: &impl AsyncFn() -> Result<bool, RepairError>,
    ) -> Result<bool, NotInserted> {
        let mut repair = Repair::new();
        let mut backoff = Backoff::new();
        loop {
            self.questions.connected().await.map_err(RepairError::ClickHouse)?;
            let closed = self.gate.close();
            failpoint::hit(Point::ReadBack);
            let held = self.held(key, &rows.offsets).await?;
            let missing: Vec<usize> = (0..rows.len()).filter(|&row| !held.contains(&rows.offsets[row])).collect();
            match repair.read_back(missing.len()) {
                Step::Done => return Ok(true),
                Step::ReadBack => {}
                Step::Contradicted => return Ok(false),
                Step::WaitOut => {
                    drop(closed);
                    let drained = self.questions.drain(&self.insert_id(key), WAIT_OUT_TIMEOUT).await;
                    drained.map_err(RepairError::ClickHouse)?;
                }
                Step::Insert { level } => {
                    if !may_write().await? {
                        return Err(NotInserted::Refused("the ledger has changed meanwhile".into()));
                    }
                    failpoint::hit(Point::Repair);
                    let level = round * LEVELS_A_ROUND + level;
                    let answer = self.send(key, definition, rows, &missing, level).await;
                    failpoint::hit(Point::RepairAnswered);
                    drop(closed);
                    match answer {
                        Ok(()) => drop(repair.inserted(true)),
                        Err(error) => {
                            self.gate.hang_up();
                            let is_taken = matches!(&error, Answer::Failed { error, .. } if error.is_taken());
                            if is_taken {
                                repair.refused()
                            } else {
                                repair.inserted(false)
                            };
                            passing(error, backoff.tries() >= TRIES_MAX)?;
                            tokio::time::sleep(backoff.next_wait()).await;
                        }
                    }
                }
            }
        }
    }

    async fn send(
        &mut self,
        (source, partition): Key,
        definition: &Definition,
        rows: &Rows,
        missing: &[usize],
        level: u32,
    ) -> Result<(), Answer> {
        let source = SourceId(source);
        let block = native::block(definition.route(), rows, source, partition, Some(missing));
        let offsets = missing.iter().map(|&row| rows.offsets[row]);
        let (start, end) = (offsets.clone().min().unwrap_or(0), offsets.clone().max().unwrap_or(0) + 1);
        let identity = Identity { source, partition, range: Range::new(start, end) };
        let text: Vec<u8> = offsets.flat_map(Offset::to_le_bytes).collect();
        // in place of the ledger row's birth: no batch's token has this number, and each set of offsets has its own
        let birth = (xxh3_64(&text) >> 1).cast_signed();
        let attempt = Attempt { route: &self.route.name, identity, birth, level };
        let id = self.insert_id((source.0, partition));
        self.inserters.of(definition).insert(&attempt, &id, block).await
    }

    fn insert_id(&self, (source, partition): Key) -> InsertId {
        let (database, table) = self.route.clickhouse_names(&self.database);
        InsertId::new(database, &format!("repair-{table}"), self.ledger, SourceId(source), partition)
    }
}

/// Whether the insert may be tried again.
fn passing(error: Answer, is_last: bool) -> Result<(), NotInserted> {
    let error = match error {
        Answer::Failed { refused: Some(refused), .. } => return Err(NotInserted::Refused(refused.why)),
        Answer::Failed { error, .. } => SinkError::from(error),
        Answer::Silent(source) => SinkError::Uncertain(WriteFailure::Silent { server: "clickhouse", source }),
    };
    match error {
        SinkError::Retry(_) | SinkError::Uncertain(_) if !is_last => Ok(()),
        SinkError::Unclear(failure) => Err(NotInserted::Refused(Chain(&failure).to_string())),
        error => Err(RepairError::ClickHouse(error).into()),
    }
}
