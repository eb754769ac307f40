//! Inserts what one route's tables lack, a few offsets of one partition and one place at a time: reads the ledger, Kafka and both databases,
//! chooses each row, and inserts it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use footprint_event::decode::Decoder;
use footprint_event::definition::Definition;
use footprint_event::normalize::received_at_us;
use footprint_event::record::Record;
use footprint_event::reject::{DeadLetter, Reason};
use footprint_event::route::{Column, Route};
use footprint_event::rows::Rows;
use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::Offset;
use footprint_service::config::Config;
use footprint_service::kafka::reread::Parts;
use footprint_service::report::Chain;

use crate::ledger::statements::Ledger;
use crate::ledger::statements::history::Key;
use crate::limits::REPAIR_OFFSETS_AT_ONCE;
use crate::upkeep::repair::choice::{Choice, choose};
use crate::upkeep::repair::clickhouse::{self, Table};
use crate::upkeep::repair::error::RepairError;
use crate::upkeep::repair::postgres::{self, Missing, Session};
use crate::upkeep::repair::records::Records;
use crate::upkeep::repair::report::{Left, RouteRepair};
use crate::upkeep::verify::content::Content;
use crate::upkeep::verify::{FindingKind, Place, RouteReport};

/// Mends one route.
pub(super) struct Mender<'a> {
    config: &'a Config,
    session: &'a Session,
    /// The present definition first. Then those that the ledger keeps and that make rows of the same columns.
    definitions: Vec<(Definition, Decoder)>,
    table: Table,
    records: Records,
    content: Content,
    report: RouteRepair,
}

/// What is known of one missing offset.
struct Found {
    offset: Offset,
    /// None: Kafka no longer has the record.
    record: Option<Parts>,
}

impl<'a> Mender<'a> {
    /// Opens what is needed. `scan` bounds a pass over a table.
    pub(super) async fn open(
        config: &'a Config,
        route: &Route,
        session: &'a Session,
        scan: Duration,
    ) -> Result<Self, RepairError> {
        let route = Arc::new(route.clone());
        let ledger = Ledger::connect(&config.postgres, &route.name, "footprint verify --repair").await?.id();
        let present = Definition::of(&route)?;
        let mut definitions = vec![present];
        for text in session.definitions().await? {
            // a definition of another decoder version cannot be used
            let Ok(kept) = Definition::kept(&text, &route) else { continue };
            if kept.fingerprint() != definitions[0].fingerprint() && has_same_columns(kept.route(), &route) {
                definitions.push(kept);
            }
        }
        let with_decoder = |definition: Definition| {
            let decoder = definition.decoder();
            (definition, decoder)
        };
        Ok(Self {
            config,
            session,
            definitions: definitions.into_iter().map(with_decoder).collect(),
            table: Table::new(config, &route, ledger, scan),
            records: Records::open(&config.kafka, &route).await?,
            content: Content::default(),
            report: RouteRepair::new(&route.name),
        })
    }

    /// Inserts what `verified` names as missing. Returns what was done.
    pub(super) async fn mend(mut self, verified: &RouteReport) -> Result<RouteRepair, RepairError> {
        let mut missing = BTreeMap::<(i64, i32, Place), Vec<Offset>>::new();
        for finding in verified.findings.iter().filter(|finding| finding.kind == FindingKind::Missing) {
            missing.entry((finding.source, finding.partition, finding.place)).or_default().push(finding.offset);
        }
        for ((source, partition, place), mut offsets) in missing {
            let in_kafka = verified.sources.iter().any(|known| known.source == source && known.in_kafka);
            offsets.sort_unstable();
            let mut rest = offsets.as_slice();
            while !rest.is_empty() {
                let part = &rest[..rest.len().min(REPAIR_OFFSETS_AT_ONCE)];
                rest = &rest[self.part(place, (source, partition), in_kafka, part).await?..];
            }
        }
        Ok(self.report)
    }

    /// Mends the first of `offsets`. Returns how many these are.
    async fn part(&mut self, place: Place, key: Key, in_kafka: bool, offsets: &[Offset]) -> Result<usize, RepairError> {
        let bound = self.session.bound(place, key).await?;
        let records = match in_kafka {
            true => self.records.read(key, offsets).await?,
            false => offsets.iter().map(|_| None).collect(),
        };
        let looked_at = &offsets[..records.len()];
        let letters = self.session.letters(place, key, looked_at).await?;
        let mut found = Vec::new();
        for (&offset, record) in looked_at.iter().zip(records) {
            if offset >= bound {
                self.leave(place, key, offset, "a database has not passed it yet; repair again when it has");
            } else if !letters.contains(&offset) {
                found.push(Found { offset, record });
            } else if place != Place::DeadLetters {
                self.leave(place, key, offset, "it has a dead letter");
            }
        }
        if !found.is_empty() {
            match place {
                Place::Postgres | Place::Clickhouse => self.rows(place, key, found).await?,
                Place::DeadLetters => self.dead_letters(key, found).await?,
                Place::Either | Place::Log => {}
            }
        }
        Ok(looked_at.len())
    }

    async fn rows(&mut self, place: Place, key: Key, found: Vec<Found>) -> Result<(), RepairError> {
        let offsets: Vec<Offset> = found.iter().map(|found| found.offset).collect();
        let (sink, other) = match place {
            Place::Postgres => (SinkName::Postgres, self.in_clickhouse(key, &offsets).await?),
            _ => (SinkName::ClickHouse, self.in_postgres(key, &offsets).await?),
        };
        let contents: Vec<u64> = (0..other.len()).map(|row| self.content.of_row(&other, row)).collect();
        let mut from_kafka = BTreeMap::<usize, Rows>::new();
        let mut from_other = Vec::new();
        for Found { offset, record } in found {
            let copies = (0..other.len()).filter(|&row| other.offsets[row] == offset);
            let copies: Vec<u64> = copies.map(|row| contents[row]).collect();
            let decoded = record.as_ref().map(|parts| self.contents(offset, parts));
            match (choose(decoded.as_deref(), &copies), &record) {
                (Choice::Kafka(definition), Some(parts)) => {
                    let (of, decoder) = &mut self.definitions[definition];
                    let rows = from_kafka.entry(definition).or_insert_with(|| Rows::empty(of.route()));
                    // it became a row just now, so it does again
                    let _ = decoder.decode(record_of(offset, parts), rows);
                }
                (Choice::Other, _) => from_other.push(offset),
                (Choice::Leave(why), _) => self.leave(place, key, offset, why),
                (Choice::Kafka(_), None) => unreachable!("without a record, it does not come from kafka"),
            }
        }
        for (definition, rows) in from_kafka {
            self.insert(sink, key, definition, &rows).await?;
        }
        if !from_other.is_empty() {
            self.report.from_other += from_other.len() as u64;
            let rows = self.nothing().with(&other, &from_other);
            self.insert(sink, key, 0, &rows).await?;
        }
        Ok(())
    }

    /// The content of the row that each definition makes of the record.
    fn contents(&mut self, offset: Offset, parts: &Parts) -> Vec<Option<u64>> {
        let Self { definitions, content, .. } = self;
        let content_of = |(definition, decoder): &mut (Definition, Decoder)| {
            let mut row = Rows::empty(definition.route());
            decoder.decode(record_of(offset, parts), &mut row).is_ok().then(|| content.of_row(&row, 0))
        };
        definitions.iter_mut().map(content_of).collect()
    }

    async fn insert(&mut self, sink: SinkName, key: Key, definition: usize, rows: &Rows) -> Result<(), RepairError> {
        let Err(why) = self.try_insert(sink, key, definition, rows).await? else { return Ok(()) };
        let place = match sink {
            SinkName::Postgres => Place::Postgres,
            SinkName::ClickHouse => Place::Clickhouse,
        };
        if let [offset] = rows.offsets[..] {
            self.leave(place, key, offset, why);
            return Ok(());
        }
        // one of them is refused: the others are inserted one by one
        for &offset in &rows.offsets {
            let one = Rows::empty(self.definitions[definition].0.route()).with(rows, &[offset]);
            if let Err(why) = self.try_insert(sink, key, definition, &one).await? {
                self.leave(place, key, offset, why);
            }
        }
        Ok(())
    }

    /// Inserts those rows that are not there. The inner error says why the database refuses them.
    async fn try_insert(
        &mut self,
        sink: SinkName,
        key: Key,
        definition: usize,
        rows: &Rows,
    ) -> Result<Result<(), String>, RepairError> {
        let Self { session, definitions, table, report, .. } = self;
        let definition = &definitions[definition].0;
        match sink {
            SinkName::Postgres => {
                let held = session.held(key, &rows.offsets).await?;
                let absent: Vec<Offset> =
                    rows.offsets.iter().copied().filter(|offset| !held.contains(offset)).collect();
                if absent.is_empty() {
                    return Ok(Ok(()));
                }
                let rows = Rows::empty(definition.route()).with(rows, &absent);
                match session.insert(Place::Postgres, key, Missing::Rows(definition.route(), &rows)).await {
                    Ok(count) => report.postgres += count,
                    Err(postgres::NotInserted::Refused(error)) => return Ok(Err(Chain(&error).to_string())),
                    Err(postgres::NotInserted::Ended(error)) => return Err(*error),
                }
            }
            SinkName::ClickHouse => {
                let last = rows.offsets.iter().copied().max().unwrap_or(Offset::MAX);
                let may_write = async || Ok(session.bound(Place::Clickhouse, key).await? > last);
                match table.insert(key, definition, rows, may_write).await {
                    Ok(count) => report.clickhouse += count,
                    Err(clickhouse::NotInserted::Refused(why)) => return Ok(Err(why)),
                    Err(clickhouse::NotInserted::Ended(error)) => return Err(*error),
                }
            }
        }
        Ok(Ok(()))
    }

    async fn dead_letters(&mut self, key: Key, found: Vec<Found>) -> Result<(), RepairError> {
        let offsets: Vec<Offset> = found.iter().map(|found| found.offset).collect();
        let in_rows: BTreeSet<Offset> =
            [self.in_postgres(key, &offsets).await?, self.in_clickhouse(key, &offsets).await?]
                .iter()
                .flat_map(|rows| rows.offsets.iter().copied())
                .collect();
        let mut letters = Vec::new();
        for Found { offset, record: parts } in found {
            let Some(parts) = parts else {
                self.leave(Place::DeadLetters, key, offset, "kafka no longer has the record");
                continue;
            };
            let (definition, decoder) = &mut self.definitions[0];
            match decoder.decode(record_of(offset, &parts), &mut Rows::empty(definition.route())) {
                Err(_) if in_rows.contains(&offset) => {
                    self.leave(Place::DeadLetters, key, offset, "a database holds a row of it; see which is right");
                }
                Err(reason) => letters.push(letter(offset, parts, reason)),
                Ok(()) => self.leave(Place::DeadLetters, key, offset, "its record is a row"),
            }
        }
        if letters.is_empty() {
            return Ok(());
        }
        match self.session.insert(Place::DeadLetters, key, Missing::Letters(&letters)).await {
            Ok(count) => self.report.dead_letters += count,
            Err(postgres::NotInserted::Refused(error)) => {
                let why = Chain(&error).to_string();
                for letter in &letters {
                    self.leave(Place::DeadLetters, key, letter.offset, why.clone());
                }
            }
            Err(postgres::NotInserted::Ended(error)) => return Err(*error),
        }
        Ok(())
    }

    /// The rows in PostgreSQL. If it is switched off, it may have no table.
    async fn in_postgres(&self, key: Key, offsets: &[Offset]) -> Result<Rows, RepairError> {
        match self.session.rows(key, offsets).await {
            Err(RepairError::Postgres { .. }) if !self.config.postgres.enabled => Ok(self.nothing()),
            answer => answer,
        }
    }

    /// The rows in ClickHouse. If it is switched off, it need not be up.
    async fn in_clickhouse(&self, key: Key, offsets: &[Offset]) -> Result<Rows, RepairError> {
        match self.table.rows(key, offsets).await {
            Err(RepairError::ClickHouse(_)) if !self.config.clickhouse.enabled => Ok(self.nothing()),
            answer => answer,
        }
    }

    fn nothing(&self) -> Rows {
        Rows::empty(self.definitions[0].0.route())
    }

    fn leave(&mut self, place: Place, (source, partition): Key, offset: Offset, why: impl Into<String>) {
        self.report.left.push(Left { place, source, partition, offset, why: why.into() });
    }
}

fn record_of(offset: Offset, parts: &Parts) -> Record<'_> {
    Record {
        offset,
        timestamp_ms: parts.timestamp_ms,
        key: parts.key.as_deref(),
        payload: parts.payload.as_deref(),
        headers: None,
    }
}

fn letter(offset: Offset, parts: Parts, reason: Reason) -> DeadLetter {
    let received_at_us = received_at_us(parts.timestamp_ms);
    let Parts { key, payload, headers, .. } = parts;
    DeadLetter { offset, received_at_us, key, payload, headers, reason }
}

/// Whether the rows of both routes can be compared: the columns have the same names, kinds and order.
fn has_same_columns(one: &Route, other: &Route) -> bool {
    let column = |column: &Column| (column.name.clone(), column.kind);
    one.columns.iter().map(column).eq(other.columns.iter().map(column))
}
