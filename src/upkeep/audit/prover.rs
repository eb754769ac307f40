//! Compares one range of one partition: what Kafka's log, PostgreSQL, ClickHouse and the dead letters hold of it. It asks the servers
//! one after the other, so it never burdens two of them at once. It writes nothing.
//!
//! ClickHouse has an index on the offset. PostgreSQL has one on the time of arrival, so rows are looked for between the times of the
//! range's records. A row that is missing there may only have another time. So before a fault is reported, the range is looked for in
//! the whole table once.

use std::time::Duration;

use footprint_event::normalize::INSTANT_MAX_US;
use footprint_event::route::Route;
use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Range};
use footprint_service::config::Config;
use footprint_service::kafka::source_id;
use footprint_service::postgres::pool::Sessions;
use footprint_service::report::Chain;
use tracing::debug;

use super::schedule::{Faulty, WINDOW};
use crate::ledger::statements::history::{Key, Promised};
use crate::limits::AUDIT_QUEUE_KBYTES;
use crate::upkeep::verify::clickhouse;
use crate::upkeep::verify::error::VerifyError;
use crate::upkeep::verify::expected::{Expected, Known, expected};
use crate::upkeep::verify::log::LogReader;
use crate::upkeep::verify::postgres::{Place, Table, Tables};
use crate::upkeep::verify::record::described;
use crate::upkeep::verify::report::Findings;
use crate::upkeep::verify::window::{LogTally, Refused, Side, Tally, Window};

/// How long a server may be silent.
const STALL: Duration = Duration::from_secs(30);
/// How long a look at a whole table may take.
pub(super) const SCAN: Duration = Duration::from_secs(600);
/// Offsets before and behind a range whose times of arrival count as the range's, if Kafka no longer has it: the first and the last row may
/// be the ones that ClickHouse lacks.
const MARGIN: i64 = WINDOW / 4;

/// The result of one comparison.
#[derive(Debug)]
pub(super) struct Compared {
    /// Rows compared: PostgreSQL's with the dead letters, ClickHouse's.
    pub rows: [u64; 2],
    /// What is wrong. None: nothing.
    pub faulty: Option<Faulty>,
}

/// Compares ranges of one route.
pub(super) struct Prover {
    pub tables: Tables,
    /// None: PostgreSQL's rows are switched off.
    has_rows: bool,
    /// None: ClickHouse is switched off.
    clickhouse: Option<clickhouse::Table>,
    log: LogReader,
    logged: LogTally,
    rows: Tally,
    dead: Tally,
    clickhouse_rows: Tally,
    refused: [Refused; 2],
}

impl Prover {
    /// Makes the clients. Connects only when it asks.
    ///
    /// # Errors
    /// A property that librdkafka refuses, or a route that cannot be decoded.
    pub(super) fn new(config: &Config, route: &Route, sessions: Sessions) -> Result<Self, VerifyError> {
        let offsets = WINDOW.unsigned_abs() as usize;
        let tally = || Tally::new(0, offsets);
        let table = clickhouse::Table::new(&config.clickhouse, route, STALL, STALL);
        Ok(Self {
            tables: Tables::new(sessions, route, STALL, SCAN),
            has_rows: config.postgres.enabled,
            clickhouse: config.clickhouse.enabled.then(|| table.gently()),
            log: LogReader::with_queue(&config.kafka, route, STALL, AUDIT_QUEUE_KBYTES)?,
            logged: LogTally::new(0, offsets),
            rows: tally(),
            dead: tally(),
            clickhouse_rows: tally(),
            refused: Default::default(),
        })
    }

    /// Where a partition's rows begin, as the ledger says. If it does not know, where the log begins now.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub(super) fn first(&self, key: Key, promised: &Promised) -> Result<Offset, VerifyError> {
        match promised.first_offset {
            Some(first) => Ok(first),
            None => Ok(self.log.watermarks(key.1)?.0),
        }
    }

    /// Compares `range`. None: nothing can be said, because not every sink has stored it, or the topic is another one now.
    ///
    /// # Errors
    /// A server refuses or is silent. That is no fault of the data.
    pub(super) async fn prove(&mut self, key: Key, range: Range) -> Result<Option<Compared>, VerifyError> {
        assert!(range.start.div_euclid(WINDOW) == (range.end - 1).div_euclid(WINDOW), "{range} crosses a border");
        let Some(promised) = self.stored(key, range).await? else { return Ok(None) };
        let expected = self.expected(key, &promised).await?;
        let received = self.read(key, range, &expected).await?;
        let place = received.map(|(first, last)| Place::Received(first, last));
        self.read_postgres(key, range, place).await?;
        let rows = [self.rows.rows() + self.dead.rows() + self.letters(), self.clickhouse_rows.rows()];
        let Some(faulty) = self.judge(key, range, &expected) else { return Ok(Some(Compared { rows, faulty: None })) };
        // the rows may have another time, the frontier may have gone back, and the topic may be another one
        let confirmed = match self.read_postgres(key, range, Some(Place::Anywhere)).await {
            Ok(()) => self.judge(key, range, &expected),
            // the table is too large: the first look counts, though a row that it calls lost may only have another time
            Err(error) => {
                debug!(partition = key.1, %range, "the audit could not look twice: {}", Chain(&error));
                Some(faulty)
            }
        };
        let is_same = self.stored(key, range).await?.is_some() && self.is_source(key.0)?;
        Ok(is_same.then_some(Compared { rows, faulty: confirmed }))
    }

    /// The ledger's row, if every sink that is on has stored the range.
    async fn stored(&self, key: Key, range: Range) -> Result<Option<Promised>, VerifyError> {
        let promised = self.tables.promised(key).await?;
        let is_stored = |promised: &Promised| {
            let frontiers = [promised.postgres_next, promised.clickhouse_next, Some(promised.dead_letters_next)];
            frontiers.into_iter().flatten().all(|next| range.end <= next)
        };
        Ok(promised.filter(is_stored))
    }

    async fn expected(&self, key: Key, promised: &Promised) -> Result<Expected, VerifyError> {
        let gaps = self.tables.gaps().await?;
        let known = Known {
            promised: Some(promised),
            gaps: gaps.get(&key).map_or(&[], Vec::as_slice),
            log: Some(self.log.watermarks(key.1)?),
            clickhouse_answers: self.clickhouse.is_some(),
        };
        // what can no longer be stored is not a matter of one range
        let (mut expected, _) = expected(key, &known, &mut Findings::new(0));
        if !self.has_rows {
            expected.rows.due_below = 0;
        }
        Ok(expected)
    }

    /// Reads the range from Kafka and ClickHouse. Returns the times of arrival between which PostgreSQL must have it.
    async fn read(&mut self, key: Key, range: Range, expected: &Expected) -> Result<Option<(i64, i64)>, VerifyError> {
        let place = (range.start, range.len() as i64);
        for (index, sink) in [SinkName::Postgres, SinkName::ClickHouse].into_iter().enumerate() {
            let mut refused = Refused::default();
            // they have an index on the offset
            let add = |offset, number| refused.add(offset, number);
            self.tables.read_at(Table::Refused(sink), key, place, Place::Anywhere, add).await?;
            self.refused[index] = refused;
        }
        let known = expected.log.map(|log| (log.start.max(range.start), log.end.min(range.end)));
        let known = known.filter(|(start, end)| start < end).map(|(start, end)| Range::new(start, end));
        self.logged.reset(range.start, known);
        self.logged.want_letters(self.refused.iter().flat_map(Refused::offsets));
        let read = self.log.read(key.1, &expected.holes, &mut self.logged);
        self.log.rest();
        read?;
        self.clickhouse_rows.reset(range.start);
        let mut received = self.logged.received_at_us();
        if let Some(table) = &self.clickhouse {
            table.read_within(key, place, None, &mut self.clickhouse_rows).await?;
            if self.logged.known() != Some(range) {
                let around = times_around(table, key, range).await?;
                let (first, last) = received.unwrap_or(around);
                received = Some((first.min(around.0), last.max(around.1)));
            }
        }
        Ok(received)
    }

    async fn read_postgres(&mut self, key: Key, range: Range, at: Option<Place>) -> Result<(), VerifyError> {
        let place = (range.start, range.len() as i64);
        let Self { tables, rows, dead, .. } = self;
        rows.reset(range.start);
        dead.reset(range.start);
        let Some(at) = at else { return Ok(()) };
        if self.has_rows {
            tables.read_at(Table::Rows, key, place, at, |offset, number| rows.add(offset, number)).await?;
        }
        tables.read_at(Table::DeadLetters, key, place, at, |offset, number| dead.add(offset, number)).await?;
        Ok(())
    }

    fn letters(&self) -> u64 {
        self.refused.iter().map(Refused::rows).sum()
    }

    fn judge(&self, key: Key, range: Range, expected: &Expected) -> Option<Faulty> {
        let mut findings = Findings::new(WINDOW.unsigned_abs() as usize);
        findings.begin(key.0, key.1);
        let none = Refused::default();
        let [of_postgres, of_clickhouse] = &self.refused;
        let window = Window {
            log: &self.logged,
            postgres: Side { tally: &self.rows, promise: &expected.rows, refused: of_postgres },
            clickhouse: Side { tally: &self.clickhouse_rows, promise: &expected.clickhouse, refused: of_clickhouse },
            dead_letters: Side { tally: &self.dead, promise: &expected.dead, refused: &none },
        };
        window.compare(&mut findings);
        let faults = findings.faults();
        let named = findings.into_named();
        let first = named.iter().filter(|finding| finding.kind.is_fault()).min_by_key(|finding| finding.offset)?;
        Some(Faulty { range, first: first.offset, faults, example: described(first) })
    }

    /// Whether the topic is still the source.
    fn is_source(&self, source: i64) -> Result<bool, VerifyError> {
        let cluster_id = self.log.cluster_id()?;
        let topic = self.log.describe()?;
        Ok(topic.is_some_and(|topic| source_id(&cluster_id, &topic.topic_id).0 == source))
    }
}

/// The times of arrival between which rows of the range can be, if Kafka does not say. ClickHouse may lack the first row, the last one, or
/// all of them, so its rows before and behind the range count: a few, or else all.
async fn times_around(table: &clickhouse::Table, key: Key, range: Range) -> Result<(i64, i64), VerifyError> {
    let margin = (range.start - MARGIN).max(0);
    let below = match table.received(key, (margin, range.start - margin)).await? {
        Some((first, _)) => Some(first),
        None => table.received(key, (0, range.start)).await?.map(|(_, last)| last),
    };
    let above = match table.received(key, (range.end, MARGIN)).await? {
        Some((_, last)) => Some(last),
        None => table.received(key, (range.end, Offset::MAX - range.end)).await?.map(|(first, _)| first),
    };
    let here = table.received(key, (range.start, range.len() as i64)).await?;
    // nothing before or behind it: the times have no bound
    let first = below.map_or(0, |below| here.map_or(below, |(first, _)| first.min(below)));
    let last = above.map_or(INSTANT_MAX_US, |above| here.map_or(above, |(_, last)| last.max(above)));
    Ok((first, last))
}
