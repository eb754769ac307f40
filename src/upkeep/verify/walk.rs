//! The walk over one route. It asks the ledger what must be there, finds which windows of which partitions hold rows, reads each
//! window from all sides at once, and compares it. All I/O of `verify` starts here.

mod count;

use std::collections::{BTreeMap, BTreeSet};

use footprint_event::route::Route;
use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_service::config::Config;
use footprint_service::report::Chain;

use self::count::{Counted, count};
use crate::ledger::statements::history::{Gap, Key, Promised, Source};
use crate::upkeep::verify::error::VerifyError;
use crate::upkeep::verify::expected::{Expected, Known, expected};
use crate::upkeep::verify::log::LogReader;
use crate::upkeep::verify::postgres::{Extents, Table, Tables};
use crate::upkeep::verify::report::{Findings, PartitionReport, RouteReport, SourceReport};
use crate::upkeep::verify::window::{LogTally, Refused, Side, Tally, Window};
use crate::upkeep::verify::{Options, Progress, Step, clickhouse};

/// Compares one route.
pub(super) async fn walk(config: &Config, route: &Route, options: &Options) -> Result<RouteReport, VerifyError> {
    let mut walk = Walk::open(config, route, options).await?;
    let mut sources = Vec::new();
    for source in walk.sources.clone() {
        sources.push(walk.source(&source).await?);
    }
    for id in walk.strangers() {
        let partitions = walk.partitions(id, None).await?;
        sources.push(SourceReport { source: id, topic: None, topic_id: None, in_kafka: false, partitions });
    }
    if walk.alive.is_none() {
        walk.notes.push(format!("kafka has no topic {}", route.topic));
    }
    walk.note_starts();
    if sources.is_empty() {
        walk.notes.push("the ledger knows no source of this route: nothing has been claimed yet".into());
    }
    Ok(RouteReport {
        route: route.name.clone(),
        topic: route.topic.clone(),
        sources,
        findings: walk.findings.into_named(),
        notes: walk.notes,
    })
}

struct Walk<'a> {
    route: &'a Route,
    options: &'a Options,
    postgres: Tables,
    /// None: ClickHouse is switched off and cannot be asked.
    table: Option<clickhouse::Table>,
    /// Lent to the thread that reads, which returns it.
    log: Option<(LogReader, LogTally)>,
    /// The topic's cluster and id now. None: there is no such topic.
    alive: Option<(String, String, i32)>,
    sources: Vec<Source>,
    ledger: BTreeMap<Key, Promised>,
    gaps: BTreeMap<Key, Vec<Gap>>,
    rows: Extents,
    dead: Extents,
    /// Dead letters for one database alone: PostgreSQL, ClickHouse.
    refused: [Extents; 2],
    clickhouse_rows: clickhouse::Extents,
    tallies: Tallies,
    findings: Findings,
    notes: Vec<String>,
    /// Partitions that started above the log's start.
    starts: Vec<(Key, Offset)>,
    progress: Progress,
}

struct Tallies {
    rows: Tally,
    dead: Tally,
    clickhouse: Tally,
    /// Dead letters for one database alone: PostgreSQL, ClickHouse.
    refused: [Refused; 2],
}

impl<'a> Walk<'a> {
    async fn open(config: &'a Config, route: &'a Route, options: &'a Options) -> Result<Self, VerifyError> {
        let (stall, scan) = (options.stall, options.scan);
        let progress = Progress { step: Step::Counting, route: route.name.clone(), read: 0, total: 0 };
        notify(options, &progress);
        let postgres = Tables::open(&config.postgres, route, stall, scan).await?;
        let table = clickhouse::Table::new(&config.clickhouse, route, stall, scan);
        let mut notes = Vec::new();
        let table = match table.ping().await {
            Ok(()) => Some(table),
            Err(error) if !config.clickhouse.enabled => {
                notes.push(format!("clickhouse is switched off and was not compared: {}", Chain(&error)));
                None
            }
            Err(error) => return Err(error),
        };
        let log = LogReader::new(&config.kafka, route, stall)?;
        let (log, alive) = in_thread(move || {
            // first asks the question that shows whether the broker refuses the login
            let cluster_id = log.cluster_id()?;
            let alive = log.describe()?.map(|topic| (cluster_id, topic.topic_id, topic.partition_count));
            Ok((log, alive))
        })
        .await?;

        let ledger = postgres.ledger().await?;
        let gaps = postgres.gaps().await?;
        let mut sources = postgres.sources().await?;
        let Counted { rows, dead, refused, clickhouse_rows } =
            count(config, options, &postgres, table.as_ref(), &mut notes).await?;
        let known: BTreeSet<i64> = ledger.keys().map(|key| key.0).collect();
        sources.retain(|source| known.contains(&source.id));
        let offsets = 1_usize << options.window_bits;
        let tally = || Tally::new(0, offsets);
        Ok(Self {
            route,
            options,
            postgres,
            table,
            log: Some((log, LogTally::new(0, offsets))),
            alive,
            sources,
            ledger,
            gaps,
            rows,
            dead,
            refused,
            clickhouse_rows,
            tallies: Tallies { rows: tally(), dead: tally(), clickhouse: tally(), refused: Default::default() },
            findings: Findings::new(options.show),
            notes,
            starts: Vec::new(),
            progress,
        })
    }

    /// Sources with rows in the tables that the ledger does not know.
    fn strangers(&self) -> BTreeSet<i64> {
        let keys = self.rows.keys().chain(self.dead.keys()).chain(self.clickhouse_rows.keys());
        let keys = keys.chain(self.refused.iter().flat_map(Extents::keys));
        keys.map(|key| key.0).filter(|id| !self.sources.iter().any(|source| source.id == *id)).collect()
    }

    async fn source(&mut self, source: &Source) -> Result<SourceReport, VerifyError> {
        let partition_count = self
            .alive
            .as_ref()
            .filter(|(cluster, topic, _)| *cluster == source.cluster_id && *topic == source.topic_id)
            .map(|(_, _, partition_count)| *partition_count);
        let partitions = self.partitions(source.id, partition_count).await?;
        if partition_count.is_some() {
            let (log, tally) = self.take_log()?;
            let (log, topic) = in_thread(move || log.describe().map(|topic| (log, topic))).await?;
            self.log = Some((log, tally));
            if topic.is_none_or(|topic| topic.topic_id != source.topic_id) {
                return Err(VerifyError::TopicReplaced(self.route.topic.clone()));
            }
        }
        Ok(SourceReport {
            source: source.id,
            topic: Some(source.topic.clone()),
            topic_id: Some(source.topic_id.clone()),
            in_kafka: partition_count.is_some(),
            partitions,
        })
    }

    async fn partitions(&mut self, id: i64, count: Option<i32>) -> Result<Vec<PartitionReport>, VerifyError> {
        let keys =
            (self.rows.keys()).chain(self.dead.keys()).chain(self.clickhouse_rows.keys()).chain(self.ledger.keys());
        let keys = keys.chain(self.refused.iter().flat_map(Extents::keys));
        let mut numbers: BTreeSet<Partition> = keys.filter(|key| key.0 == id).map(|key| key.1).collect();
        numbers.extend(0..count.unwrap_or(0));
        let mut reports = Vec::new();
        for number in numbers {
            let in_kafka = count.is_some_and(|count| (0..count).contains(&number));
            reports.push(self.partition((id, number), in_kafka).await?);
        }
        Ok(reports)
    }

    async fn partition(&mut self, key: Key, in_kafka: bool) -> Result<PartitionReport, VerifyError> {
        let bounds = if in_kafka {
            let (log, tally) = self.take_log()?;
            let (log, bounds) = in_thread(move || log.watermarks(key.1).map(|bounds| (log, bounds))).await?;
            self.log = Some((log, tally));
            Some(bounds)
        } else {
            None
        };
        self.findings.begin(key.0, key.1);
        let known = Known {
            promised: self.ledger.get(&key),
            gaps: self.gaps.get(&key).map_or(&[], Vec::as_slice),
            log: bounds,
            clickhouse_answers: self.table.is_some(),
        };
        let (mut expected, mut report) = expected(key, &known, &mut self.findings);
        let windows = self.windows(&expected);
        self.progress.step = Step::Comparing { source: key.0, partition: key.1 };
        self.progress.total += self.row_estimate(&expected);
        for window in windows {
            self.window(&mut expected, window, &mut report).await?;
            notify(self.options, &self.progress);
        }
        (report.counts, report.faults) = (self.findings.counts(), self.findings.faults());
        if let Some(first) = report.first_offset.filter(|&first| first > report.log_start.unwrap_or(0)) {
            self.starts.push((key, first));
        }
        Ok(report)
    }

    /// The windows that hold rows on any side, in order.
    fn windows(&self, expected: &Expected) -> BTreeSet<i64> {
        let mut windows = BTreeSet::new();
        for extents in [&self.rows, &self.dead, &self.refused[0], &self.refused[1]] {
            windows.extend(extents.get(&expected.key).into_iter().flat_map(BTreeMap::keys));
        }
        windows.extend(self.clickhouse_rows.get(&expected.key).into_iter().flat_map(BTreeMap::keys));
        if let Some(log) = expected.log {
            windows.extend((log.start >> self.options.window_bits)..=((log.end - 1) >> self.options.window_bits));
        }
        windows
    }

    /// The approximate number of rows and records in a partition's windows.
    fn row_estimate(&self, expected: &Expected) -> u64 {
        let postgres = [&self.rows, &self.dead].into_iter().filter_map(|extents| extents.get(&expected.key));
        let clickhouse = self.clickhouse_rows.get(&expected.key).into_iter().flat_map(BTreeMap::values);
        postgres.flat_map(BTreeMap::values).map(|extent| extent.rows).sum::<u64>()
            + clickhouse.map(|extent| extent.rows).sum::<u64>()
            + expected.log.map_or(0, Range::len)
    }

    /// Reads one window from all sides at once, and compares it.
    async fn window(
        &mut self,
        expected: &mut Expected,
        window: i64,
        report: &mut PartitionReport,
    ) -> Result<(), VerifyError> {
        let offsets = 1_i64 << self.options.window_bits;
        let base = window << self.options.window_bits;
        let place = (base, offsets);
        let (mut log, mut log_tally) = self.take_log()?;
        let known = expected
            .log
            .map(|log| (log.start.max(base), log.end.min(base.saturating_add(offsets))))
            .filter(|(start, end)| start < end)
            .map(|(start, end)| Range::new(start, end));
        log_tally.reset(base, known);
        log_tally.leave_out(&expected.holes);
        self.read_refused(expected.key, window, place).await?;
        log_tally.want_letters(self.tallies.refused.iter().flat_map(Refused::offsets));
        let (partition, holes) = (expected.key.1, expected.holes.clone());
        let log = in_thread(move || {
            log.read(partition, &holes, &mut log_tally)?;
            Ok((log, log_tally))
        });

        let Tallies { rows, dead, clickhouse, .. } = &mut self.tallies;
        for tally in [&mut *rows, &mut *dead, &mut *clickhouse] {
            tally.reset(base);
        }
        let extent = |extents: &Extents| extents.get(&expected.key).and_then(|windows| windows.get(&window)).copied();
        let tables = &self.postgres;
        let (rows_extent, dead_extent) = (extent(&self.rows), extent(&self.dead));
        let postgres = async {
            if let Some(extent) = rows_extent {
                tables
                    .read(Table::Rows, expected.key, place, &extent, |offset, number| rows.add(offset, number))
                    .await?;
            }
            if let Some(extent) = dead_extent {
                let add = |offset, number| dead.add(offset, number);
                tables.read(Table::DeadLetters, expected.key, place, &extent, add).await?;
            }
            Ok(())
        };
        let table = self.table.as_ref();
        let clickhouse_extent =
            self.clickhouse_rows.get(&expected.key).and_then(|windows| windows.get(&window)).copied();
        let other = async {
            match table.zip(clickhouse_extent) {
                Some((table, extent)) => table.read(expected.key, place, &extent, clickhouse).await,
                None => Ok(()),
            }
        };
        let (log, (), ()) = tokio::try_join!(log, postgres, other)?;
        self.judge(expected, base, &log.1, report).await?;
        self.log = Some(log);
        Ok(())
    }

    /// Reads a window's dead letters for one database alone. They come first, because the log's records at their offsets are also
    /// read as dead letters.
    async fn read_refused(&mut self, key: Key, window: i64, place: (Offset, i64)) -> Result<(), VerifyError> {
        for (index, sink) in [SinkName::Postgres, SinkName::ClickHouse].into_iter().enumerate() {
            let refused = &mut self.tallies.refused[index];
            *refused = Refused::default();
            let extent = self.refused[index].get(&key).and_then(|windows| windows.get(&window)).copied();
            if let Some(extent) = extent {
                let add = |offset, number| refused.add(offset, number);
                self.postgres.read(Table::Refused(sink), key, place, &extent, add).await?;
            }
        }
        Ok(())
    }

    async fn judge(
        &mut self,
        expected: &mut Expected,
        base: Offset,
        log: &LogTally,
        report: &mut PartitionReport,
    ) -> Result<(), VerifyError> {
        let Tallies { rows, dead, clickhouse, refused } = &self.tallies;
        let none = Refused::default();
        // asked after the rows were read, because rows stored or claimed meanwhile may have been seen
        if expected.reaches_past(base.saturating_add(1 << self.options.window_bits)) {
            let promised = self.postgres.promised(expected.key).await?;
            expected.forbid(promised.as_ref());
        }
        let window = Window {
            log,
            postgres: Side { tally: rows, promise: &expected.rows, refused: &refused[0] },
            clickhouse: Side { tally: clickhouse, promise: &expected.clickhouse, refused: &refused[1] },
            dead_letters: Side { tally: dead, promise: &expected.dead, refused: &none },
        };
        window.compare(&mut self.findings);
        report.records += log.records();
        report.postgres.rows += rows.rows();
        report.clickhouse.rows += clickhouse.rows();
        report.dead_letters.rows += dead.rows() + refused.iter().map(Refused::rows).sum::<u64>();
        self.progress.read += log.records() + rows.rows() + clickhouse.rows() + dead.rows();
        Ok(())
    }

    /// Notes where partitions first started, up to the number of findings that are named.
    fn note_starts(&mut self) {
        let named = self.starts.iter().take(self.options.show);
        let lines = named.map(|((source, partition), first)| {
            format!(
                "source {source} partition {partition} starts at {first}: records below were there before footprint"
            )
        });
        self.notes.extend(lines);
        if let Some(more) = self.starts.len().checked_sub(self.options.show).filter(|&more| more > 0) {
            self.notes.push(format!("{more} more partitions start above the log's start"));
        }
    }

    fn take_log(&mut self) -> Result<(LogReader, LogTally), VerifyError> {
        self.log.take().ok_or_else(|| VerifyError::NoReader)
    }
}

fn notify(options: &Options, progress: &Progress) {
    if let Some(report_progress) = &options.progress {
        report_progress(progress);
    }
}

/// Runs blocking work on its own thread.
async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VerifyError> + Send + 'static,
) -> Result<T, VerifyError> {
    tokio::task::spawn_blocking(work).await.map_err(VerifyError::Thread)?
}
