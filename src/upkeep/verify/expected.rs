//! What must be compared for one partition: turns the ledger's row, its gaps and the log's bounds into promises. Pure.

use footprint_protocol::offset::{Offset, Range};

use crate::ledger::statements::history::{Gap, Key, Promised};
use crate::upkeep::verify::report::{FindingKind, Findings, GapReport, PartitionReport, Place, SinkReport};
use crate::upkeep::verify::window::Promise;

/// What is known of a partition before its rows are read.
pub(in crate::upkeep) struct Known<'a> {
    /// The ledger's row. None: the ledger does not know the partition.
    pub promised: Option<&'a Promised>,
    /// The ledger's gaps, in rising order.
    pub gaps: &'a [Gap],
    /// The log's start and last stable offset, asked after the ledger. None: Kafka no longer has the source.
    pub log: Option<(Offset, Offset)>,
    /// Whether ClickHouse answers. If it is switched off, it need not be up.
    pub clickhouse_answers: bool,
}

/// What to compare.
#[derive(Debug)]
pub(in crate::upkeep) struct Expected {
    /// The partition.
    pub key: Key,
    /// The range of the log to read.
    pub log: Option<Range>,
    /// Ranges of the log that nobody needs to read, in rising order: no sink has them.
    pub holes: Vec<Range>,
    /// What PostgreSQL's rows must be.
    pub rows: Promise,
    /// What ClickHouse's rows must be.
    pub clickhouse: Promise,
    /// What the dead letters must be.
    pub dead: Promise,
}

impl Expected {
    /// Sets what no place may hold, from the ledger as it is after the rows were read. `None`: the ledger does not know the
    /// partition. PostgreSQL's rows and dead letters are committed together with their frontiers, so none is past them.
    /// ClickHouse may hold anything that is claimed. A sink that is off is not judged past the offset where it stopped.
    pub(in crate::upkeep) fn forbid(&mut self, promised: Option<&Promised>) {
        let Some(promised) = promised else {
            (self.rows.none_from, self.clickhouse.none_from, self.dead.none_from) = (0, 0, 0);
            return;
        };
        self.rows.none_from = promised.postgres_next.unwrap_or(Offset::MAX);
        self.clickhouse.none_from = promised.clickhouse_next.map_or(Offset::MAX, |_| promised.claimed);
        self.dead.none_from = promised.dead_letters_next;
    }

    /// Whether the window that ends before `end` may hold rows that nothing promises.
    pub(in crate::upkeep) fn reaches_past(&self, end: Offset) -> bool {
        end > self.rows.due_below.min(self.clickhouse.due_below).min(self.dead.due_below)
    }
}

/// What is expected, and the report as far as it is known. Finds the ranges that can no longer be stored.
pub(in crate::upkeep) fn expected(key: Key, known: &Known<'_>, findings: &mut Findings) -> (Expected, PartitionReport) {
    let promised = known.promised.cloned().unwrap_or_default();
    let gaps_of = |sink: &str| {
        let ours = known.gaps.iter().filter(|gap| gap.sink == sink || gap.sink == "both");
        joined(ours.map(|gap| Range::new(gap.start, gap.end)))
    };
    let first = promised.first_offset.unwrap_or(0);
    let promise = |next: Option<Offset>, stopped: Option<Offset>, sink: &str| Promise {
        none_below: first,
        due_below: next.or(stopped).unwrap_or(0),
        none_from: Offset::MAX,
        gaps: gaps_of(sink),
    };
    let rows = promise(promised.postgres_next, promised.postgres_stopped, "postgres");
    let clickhouse = match known.clickhouse_answers {
        true => promise(promised.clickhouse_next, promised.clickhouse_stopped, "clickhouse"),
        false => Promise { none_below: 0, due_below: 0, none_from: Offset::MAX, gaps: Vec::new() },
    };
    let dead = promise(Some(promised.dead_letters_next), None, "both");
    let due_below = rows.due_below.max(clickhouse.due_below).max(dead.due_below);
    find_lost(&promised, known, findings);
    if let Some((_, end)) = known.log.filter(|(_, end)| due_below > *end) {
        findings.push_range(FindingKind::LogCut, Place::Log, end, Some(due_below));
    }

    let log = known
        .log
        .map(|(start, end)| (start.max(first), end.min(due_below)))
        .filter(|(start, end)| start < end)
        .map(|(start, end)| Range::new(start, end));
    let sink = |on: bool, promise: &Promise| SinkReport { on, compared_below: promise.due_below, rows: 0 };
    let report = PartitionReport {
        partition: key.1,
        log_start: known.log.map(|(start, _)| start),
        log_end: known.log.map(|(_, end)| end),
        claimed: promised.claimed,
        first_offset: promised.first_offset,
        postgres: sink(promised.postgres_next.is_some(), &rows),
        clickhouse: sink(promised.clickhouse_next.is_some(), &clickhouse),
        dead_letters: sink(known.promised.is_some(), &dead),
        lag: lag(&promised, known),
        gaps: known.gaps.iter().map(GapReport::from).collect(),
        ..PartitionReport::default()
    };
    (Expected { key, log, holes: gaps_of("both"), rows, clickhouse, dead }, report)
}

/// Finds the records that a sink has not stored and the log no longer holds. They can never be stored, unless a gap says that
/// this is known.
fn find_lost(promised: &Promised, known: &Known<'_>, findings: &mut Findings) {
    let gone_below = known.log.map_or(promised.claimed, |(start, _)| start);
    let sinks = [
        (promised.postgres_next, Place::Postgres, "postgres"),
        (promised.clickhouse_next, Place::Clickhouse, "clickhouse"),
    ];
    for (next, place, sink) in sinks {
        let gaps = known.gaps.iter().filter(|gap| gap.sink == sink || gap.sink == "both");
        let lost = next.map_or_else(Vec::new, |next| without(next, gone_below, gaps));
        for range in lost {
            findings.push_range(FindingKind::Lost, place, range.start, Some(range.end));
        }
    }
}

/// The number of offsets between the lower frontier of the sinks that are on and the log's end.
fn lag(promised: &Promised, known: &Known<'_>) -> u64 {
    let Some((start, end)) = known.log else { return 0 };
    let lowest = [promised.postgres_next, promised.clickhouse_next].into_iter().flatten().min();
    let stored_below = match known.promised {
        Some(promised) => lowest.unwrap_or(promised.dead_letters_next),
        None => start,
    };
    end.saturating_sub(stored_below).max(0).unsigned_abs()
}

/// Ranges in the order of their starts, joined where they meet.
fn joined(ranges: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut joined: Vec<Range> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => *last = Range::new(last.start, last.end.max(range.end)),
            _ => joined.push(range),
        }
    }
    joined
}

/// The parts of `[start, end)` that no gap covers. `gaps` are in the order of their starts.
fn without<'a>(start: Offset, end: Offset, gaps: impl Iterator<Item = &'a Gap>) -> Vec<Range> {
    let mut left = Vec::new();
    let mut at = start;
    for gap in gaps {
        if at < gap.start.min(end) {
            left.push(Range::new(at, gap.start.min(end)));
        }
        at = at.max(gap.end);
    }
    if at < end {
        left.push(Range::new(at, end));
    }
    left
}

impl From<&Gap> for GapReport {
    fn from(gap: &Gap) -> Self {
        Self { sink: gap.sink.clone(), start_offset: gap.start, end_offset: gap.end, reason: gap.reason.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upkeep::verify::report::Finding;

    fn gap(sink: &str, start: Offset, end: Offset) -> Gap {
        Gap { sink: sink.into(), start, end, reason: "test".into() }
    }

    type Named = (FindingKind, Place, Offset, Option<Offset>);

    fn planned(known: &Known<'_>) -> (Expected, PartitionReport, Vec<Named>) {
        let mut findings = Findings::new(9);
        findings.begin(1, 0);
        let (expected, report) = expected((1, 0), known, &mut findings);
        let named = findings.into_named().into_iter();
        let named = named.map(|Finding { kind, place, offset, end_offset, .. }| (kind, place, offset, end_offset));
        (expected, report, named.collect())
    }

    #[test]
    fn gaps_are_cut_out_of_what_is_lost() {
        let lost = |start, end, gaps: &[(Offset, Offset)]| {
            let gaps: Vec<Gap> = gaps.iter().map(|(start, end)| gap("both", *start, *end)).collect();
            without(start, end, gaps.iter()).iter().map(|range| (range.start, range.end)).collect::<Vec<_>>()
        };
        assert_eq!(lost(5, 20, &[]), [(5, 20)]);
        assert_eq!(lost(5, 20, &[(0, 7), (9, 12)]), [(7, 9), (12, 20)]);
        assert_eq!(lost(5, 20, &[(3, 30)]), []);
        assert_eq!(lost(20, 20, &[(3, 9)]), []);
        assert_eq!(lost(5, 8, &[(9, 30)]), [(5, 8)]);
    }

    #[test]
    fn gaps_that_meet_are_one() {
        let ranges = [(0, 4), (1, 2), (4, 6), (8, 9), (8, 12)].map(|(start, end)| Range::new(start, end));
        let joined: Vec<_> = joined(ranges.into_iter()).iter().map(|range| (range.start, range.end)).collect();
        assert_eq!(joined, [(0, 6), (8, 12)]);
    }

    #[test]
    fn a_partition_the_ledger_does_not_know_may_hold_nothing() {
        let known = Known { promised: None, gaps: &[], log: Some((10, 30)), clickhouse_answers: true };
        let (mut expected, report, named) = planned(&known);
        expected.forbid(None);
        assert_eq!((expected.rows.none_from, expected.clickhouse.none_from, expected.dead.none_from), (0, 0, 0));
        assert!(expected.log.is_none() && expected.reaches_past(1));
        assert_eq!((report.lag, named), (20, vec![]));
    }

    #[test]
    fn nothing_is_missed_below_the_first_start() {
        let promised = Promised {
            first_offset: Some(40),
            claimed: 100,
            dead_letters_next: 100,
            postgres_next: Some(100),
            clickhouse_next: Some(100),
            ..Promised::default()
        };
        let known = Known { promised: Some(&promised), gaps: &[], log: Some((10, 200)), clickhouse_answers: true };
        let (expected, report, named) = planned(&known);
        assert_eq!(expected.log, Some(Range::new(40, 100)));
        assert_eq!([expected.rows.none_below, expected.clickhouse.none_below, expected.dead.none_below], [40; 3]);
        assert_eq!((report.first_offset, named), (Some(40), vec![]));
    }

    #[test]
    fn what_retention_took_before_a_sink_had_it_is_lost_unless_a_gap_says_so() {
        let promised = Promised {
            claimed: 100,
            dead_letters_next: 100,
            postgres_next: Some(100),
            clickhouse_next: Some(50),
            ..Promised::default()
        };
        let gaps = [gap("clickhouse", 50, 60), gap("postgres", 0, 200)];
        let known = Known { promised: Some(&promised), gaps: &gaps, log: Some((120, 90)), clickhouse_answers: true };
        let (expected, report, named) = planned(&known);
        assert_eq!(
            named,
            [(FindingKind::Lost, Place::Clickhouse, 60, Some(120)), (FindingKind::LogCut, Place::Log, 90, Some(100))]
        );
        assert!(expected.log.is_none());
        assert_eq!((report.lag, report.gaps.len()), (40, 2));
    }

    #[test]
    fn a_sink_that_is_off_is_compared_below_where_it_stopped() {
        let promised = Promised {
            claimed: 100,
            dead_letters_next: 100,
            postgres_next: Some(100),
            clickhouse_stopped: Some(50),
            ..Promised::default()
        };
        let known = Known { promised: Some(&promised), gaps: &[], log: None, clickhouse_answers: true };
        let (mut expected, report, named) = planned(&known);
        expected.forbid(Some(&Promised { claimed: 200, postgres_next: Some(150), ..promised.clone() }));
        assert_eq!((expected.clickhouse.due_below, expected.clickhouse.none_from), (50, Offset::MAX));
        assert_eq!((expected.rows.due_below, expected.rows.none_from), (100, 150));
        assert!(!report.clickhouse.on && named.is_empty());
    }
}
