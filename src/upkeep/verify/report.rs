//! What `verify` found: counts of everything, and the first few by name. Plain data, which `--json` serialises unchanged.

use footprint_protocol::offset::{Offset, Partition};
use serde::Serialize;

use super::faults::Faults;
pub use super::finding::{Finding, FindingKind, Place};

/// How many of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// See [`FindingKind::Missing`].
    pub missing: u64,
    /// See [`FindingKind::Doubled`].
    pub doubled: u64,
    /// See [`FindingKind::Differing`].
    pub differing: u64,
    /// See [`FindingKind::Unexpected`].
    pub unexpected: u64,
    /// See [`FindingKind::Lost`]; counts ranges.
    pub lost: u64,
    /// See [`FindingKind::DecodedOtherwise`].
    pub decoded_otherwise: u64,
    /// See [`FindingKind::NotInLog`].
    pub not_in_log: u64,
    /// See [`FindingKind::LogCut`].
    pub log_cut: u64,
}

impl Counts {
    /// How many of `kind`.
    pub fn of(&self, kind: FindingKind) -> u64 {
        match kind {
            FindingKind::Missing => self.missing,
            FindingKind::Doubled => self.doubled,
            FindingKind::Differing => self.differing,
            FindingKind::Unexpected => self.unexpected,
            FindingKind::Lost => self.lost,
            FindingKind::DecodedOtherwise => self.decoded_otherwise,
            FindingKind::NotInLog => self.not_in_log,
            FindingKind::LogCut => self.log_cut,
        }
    }

    fn of_mut(&mut self, kind: FindingKind) -> &mut u64 {
        match kind {
            FindingKind::Missing => &mut self.missing,
            FindingKind::Doubled => &mut self.doubled,
            FindingKind::Differing => &mut self.differing,
            FindingKind::Unexpected => &mut self.unexpected,
            FindingKind::Lost => &mut self.lost,
            FindingKind::DecodedOtherwise => &mut self.decoded_otherwise,
            FindingKind::NotInLog => &mut self.not_in_log,
            FindingKind::LogCut => &mut self.log_cut,
        }
    }

    /// The number of findings that break exactly once.
    pub fn faults(&self) -> u64 {
        FindingKind::ALL.into_iter().filter(|kind| kind.is_fault()).map(|kind| self.of(kind)).sum()
    }

    /// The number of findings that are worth a look.
    pub fn warnings(&self) -> u64 {
        FindingKind::ALL.into_iter().filter(|kind| !kind.is_fault()).map(|kind| self.of(kind)).sum()
    }
}

/// The findings of one route. Only the first `show` of each kind are kept by name, so memory is bounded.
#[derive(Debug)]
pub(in crate::upkeep) struct Findings {
    show: usize,
    kept: [usize; FindingKind::ALL.len()],
    named: Vec<Finding>,
    /// Counts of the present partition.
    counts: Counts,
    faults: Faults,
    source: i64,
    partition: Partition,
}

impl Findings {
    /// Starts without findings.
    pub(in crate::upkeep) fn new(show: usize) -> Self {
        Self {
            show,
            kept: [0; FindingKind::ALL.len()],
            named: Vec::new(),
            counts: Counts::default(),
            faults: Faults::default(),
            source: 0,
            partition: 0,
        }
    }

    /// Begins a partition: all that follows is about it, and its counts start at zero.
    pub(in crate::upkeep) fn begin(&mut self, source: i64, partition: Partition) {
        (self.source, self.partition) = (source, partition);
        (self.counts, self.faults) = (Counts::default(), Faults::default());
    }

    /// Counts an identity, and keeps its name while there is room.
    pub(in crate::upkeep) fn push(&mut self, kind: FindingKind, place: Place, offset: Offset) {
        self.push_range(kind, place, offset, None);
    }

    /// Counts a range of identities as one.
    pub(in crate::upkeep) fn push_range(
        &mut self,
        kind: FindingKind,
        place: Place,
        offset: Offset,
        end_offset: Option<Offset>,
    ) {
        *self.counts.of_mut(kind) += 1;
        self.faults.count(kind, place);
        let kept = &mut self.kept[kind as usize];
        if *kept < self.show {
            *kept += 1;
            let (source, partition) = (self.source, self.partition);
            self.named.push(Finding { kind, place, source, partition, offset, end_offset });
        }
    }

    /// The counts of the present partition.
    pub(in crate::upkeep) fn counts(&self) -> Counts {
        self.counts
    }

    /// The faults of the present partition, by database.
    pub(in crate::upkeep) fn faults(&self) -> Faults {
        self.faults
    }

    /// The names kept, by kind.
    pub(in crate::upkeep) fn into_named(mut self) -> Vec<Finding> {
        self.named.sort();
        self.named
    }
}

/// One sink's part in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkReport {
    /// Whether the ledger says that the sink is on. If it is off, it is compared only below `compared_below`.
    pub on: bool,
    /// The offset below which every row must be there: the frontier, or where the sink was switched off.
    pub compared_below: Offset,
    /// Rows or dead letters read, with copies and rows in flight.
    pub rows: u64,
}

/// A range that a sink left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GapReport {
    /// `both`, `postgres` or `clickhouse`.
    pub sink: String,
    /// Its start.
    pub start_offset: Offset,
    /// Its end.
    pub end_offset: Offset,
    /// Why, as the ledger says.
    pub reason: String,
}

/// One partition of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Its number.
    pub partition: Partition,
    /// The log's first offset. None: Kafka no longer has this source.
    pub log_start: Option<Offset>,
    /// The last stable offset.
    pub log_end: Option<Offset>,
    /// Records read from the log and compared.
    pub records: u64,
    /// What the ledger has claimed.
    pub claimed: Offset,
    /// Where it first started, as the ledger says. Rows below are not compared. None: not known, so all rows are compared.
    pub first_offset: Option<Offset>,
    /// PostgreSQL.
    pub postgres: SinkReport,
    /// ClickHouse.
    pub clickhouse: SinkReport,
    /// The dead letters.
    pub dead_letters: SinkReport,
    /// Offsets between the lower frontier and the log's end: not yet stored, and no fault.
    pub lag: u64,
    /// The counts of findings.
    pub counts: Counts,
    /// The faults by database: lost, doubled, changed.
    pub faults: Faults,
    /// The ledger's gaps, in which no row is missed.
    pub gaps: Vec<GapReport>,
}

/// One life of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Its number in the tables.
    pub source: i64,
    /// The topic's name. None: the ledger does not know the source.
    pub topic: Option<String>,
    /// Kafka's id of this life.
    pub topic_id: Option<String>,
    /// Whether the topic of that id is still in Kafka. If not, the databases are only compared with each other.
    pub in_kafka: bool,
    /// Its partitions.
    pub partitions: Vec<PartitionReport>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteReport {
    /// Its name.
    pub route: String,
    /// Its topic.
    pub topic: String,
    /// Its sources, the oldest first.
    pub sources: Vec<SourceReport>,
    /// The first few of each kind, by name.
    pub findings: Vec<Finding>,
    /// What a reader should know besides the numbers.
    pub notes: Vec<String>,
}

/// The verdict of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exactly once held.
    Clean {
        /// Warnings, which are worth a look nevertheless.
        warnings: u64,
    },
    /// It did not hold, or there are warnings under `strict`.
    Faults {
        /// How many faults.
        faults: u64,
        /// How many warnings.
        warnings: u64,
    },
    /// For some route nothing was compared, so nothing can be said.
    NothingCompared,
}

impl RouteReport {
    fn partitions(&self) -> impl Iterator<Item = &PartitionReport> {
        self.sources.iter().flat_map(|source| &source.partitions)
    }
}

impl PartitionReport {
    /// Whether anything that was due was looked at: a record, or a row.
    fn is_compared(&self) -> bool {
        let rows = |sink: &SinkReport| sink.compared_below > 0 && sink.rows > 0;
        self.records > 0 || rows(&self.postgres) || rows(&self.clickhouse) || rows(&self.dead_letters)
    }
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether exactly once held: for every route something was compared, with no fault, and under `strict` with no warning.
    pub clean: bool,
    /// Routes for which nothing could be compared: nothing that the ledger calls stored is in Kafka or in a database.
    pub nothing_compared: Vec<String>,
    /// Whether warnings count as faults.
    pub strict: bool,
    /// The routes.
    pub routes: Vec<RouteReport>,
}

impl Report {
    /// Combines the routes' reports and judges them.
    pub fn new(routes: Vec<RouteReport>, strict: bool) -> Self {
        let bad = |counts: &Counts| counts.faults() > 0 || (strict && counts.warnings() > 0);
        let is_bad = routes.iter().flat_map(RouteReport::partitions).any(|partition| bad(&partition.counts));
        let nothing_compared: Vec<String> = routes
            .iter()
            .filter(|route| !route.partitions().any(PartitionReport::is_compared))
            .map(|route| route.route.clone())
            .collect();
        Self { clean: !is_bad && nothing_compared.is_empty(), nothing_compared, strict, routes }
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        let counts = || self.routes.iter().flat_map(RouteReport::partitions).map(|partition| &partition.counts);
        let (faults, warnings) =
            (counts().map(Counts::faults).sum::<u64>(), counts().map(Counts::warnings).sum::<u64>());
        match faults {
            0 if self.strict && warnings > 0 => Verdict::Faults { faults, warnings },
            0 if !self.nothing_compared.is_empty() => Verdict::NothingCompared,
            0 => Verdict::Clean { warnings },
            faults => Verdict::Faults { faults, warnings },
        }
    }

    /// The number of findings of `kind`, in all routes.
    pub fn count(&self, kind: FindingKind) -> u64 {
        self.routes.iter().flat_map(RouteReport::partitions).map(|partition| partition.counts.of(kind)).sum()
    }
}
