//! Decides where a partition without a ledger row starts. This depends on the partition alone, not on who takes it over or when. Therefore
//! the route's first start on a source is recorded once, for all partitions ([`FirstStarts`]). Pure.

use crate::ledger::SourceId;
use crate::offset::{Offset, Partition};

/// The record of a route's first start on a source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FirstStarts {
    /// For each partition that existed then: the offset that another consumer had committed in the group.
    pub commits: Vec<Option<Offset>>,
    /// For each partition that existed then: its log's end. None if partitions start at the log's start.
    pub ends: Option<Vec<Offset>>,
}

/// A partition's committed offset and its metadata. None if nothing was committed.
pub type Committed = Option<(Offset, String)>;

/// The mark in the metadata of our commits to Kafka.
pub fn commit_mark(source: SourceId) -> String {
    format!("footprint {source}")
}

/// The committed offset, if another consumer committed it. Our own commits do not count, whatever their source.
fn foreign(committed: Option<(Offset, &str)>) -> Option<Offset> {
    committed.filter(|(_, metadata)| !metadata.starts_with("footprint ")).map(|(offset, _)| offset)
}

/// Whether partitions without a commit start at the log's end, which `is_latest` asks for, instead of its start. There are two exceptions.
/// If another life of the topic is known, all of the new life is ours. If a commit of the group bears our mark, we were here before, and
/// the ledger was lost.
pub fn starts_at_end(is_latest: bool, source: SourceId, other_lives_known: bool, committed: &[Committed]) -> bool {
    let mark = commit_mark(source);
    let is_ours = |committed: &Committed| committed.as_ref().is_some_and(|(_, metadata)| *metadata == mark);
    is_latest && !other_lives_known && !committed.iter().any(is_ours)
}

impl FirstStarts {
    /// Makes the record from what Kafka said of every partition.
    pub fn new(other_lives_known: bool, committed: &[Committed], ends: Option<Vec<Offset>>) -> Self {
        let commit = |committed: &Committed| {
            let committed = committed.as_ref().map(|(offset, metadata)| (*offset, metadata.as_str()));
            foreign(committed).filter(|_| !other_lives_known)
        };
        Self { commits: committed.iter().map(commit).collect(), ends }
    }

    /// What the record says of a partition. None if the partition was added later.
    pub fn of(&self, partition: Partition) -> Option<RecordedStart> {
        let index = usize::try_from(partition).ok()?;
        let end = self.ends.as_ref().and_then(|ends| ends.get(index).copied());
        self.commits.get(index).map(|&commit| RecordedStart { commit, end })
    }
}

/// What the record of the first start says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordedStart {
    /// The offset that another consumer had committed.
    pub commit: Option<Offset>,
    /// The log's end at that time, if partitions start there.
    pub end: Option<Offset>,
}

/// The start of a partition without a ledger row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FirstStart {
    /// The offset at which the new ledger row begins.
    pub offset: Offset,
    /// The ledger was lost, so everything below the log's end is uncertain (R6).
    pub ledger_lost: bool,
    /// The reason for this offset, for the log.
    pub why: &'static str,
}

impl FirstStart {
    /// The offset that the ledger keeps as the partition's first: no record below it is ours. Not known if the ledger was lost.
    pub fn first_offset(&self) -> Option<Offset> {
        (!self.ledger_lost).then_some(self.offset)
    }
}

/// What is known about a partition without a ledger row.
#[derive(Clone, Copy, Debug)]
pub struct UnknownPartition<'a> {
    /// The group's committed offset and its metadata, as they are now.
    pub committed: Option<(Offset, &'a str)>,
    /// The mark that our own commits for this source carry.
    pub our_mark: &'a str,
    /// Whether ClickHouse holds rows of this source and partition.
    pub clickhouse_holds_rows: bool,
    /// What the record of the first start says of the partition. None if the partition was added later, or if an older program, which kept
    /// no record, made the first start.
    pub written: Option<RecordedStart>,
    /// Whether the ledger knows another life of the topic.
    pub other_lives_known: bool,
    /// The log's first offset.
    pub log_start: Offset,
    /// The log's last stable offset.
    pub log_end: Offset,
}

/// Decides where a partition without a ledger row starts.
///
/// A commit counts as it is now, because the old consumer may store and commit more until the partition moves to us. An end counts as it
/// was at the first start, because all later records are ours. The end is not raised to the log's start: the records between the two were
/// deleted before they were stored, and the take-over reports them as lost.
pub fn first_start(unknown: &UnknownPartition<'_>) -> FirstStart {
    let UnknownPartition { log_start, log_end, other_lives_known, .. } = *unknown;
    let ours = unknown.committed.is_some_and(|(_, metadata)| metadata == unknown.our_mark);
    if ours || unknown.clickhouse_holds_rows {
        return FirstStart { offset: log_start, ledger_lost: true, why: "the ledger was lost" };
    }
    let start = |offset, why| FirstStart { offset, ledger_lost: false, why };
    let committed = foreign(unknown.committed).filter(|_| !other_lives_known);
    let written = unknown.written.unwrap_or(RecordedStart { commit: None, end: None });
    match (committed.or(written.commit), written.end) {
        (Some(commit), _) => start(commit.clamp(log_start, log_end), "another consumer had committed so far"),
        (None, Some(end)) => start(end.min(log_end), "the log's end at the first start"),
        (None, None) => start(log_start, "the log's start"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: SourceId = SourceId(7);

    fn unknown(committed: Option<(Offset, &str)>) -> UnknownPartition<'_> {
        UnknownPartition {
            committed,
            our_mark: "footprint 7",
            clickhouse_holds_rows: false,
            written: Some(RecordedStart { commit: None, end: None }),
            other_lives_known: false,
            log_start: 3,
            log_end: 90,
        }
    }

    fn at(unknown: &UnknownPartition<'_>) -> (Offset, bool) {
        let start = first_start(unknown);
        (start.offset, start.ledger_lost)
    }

    #[test]
    fn the_first_start_follows_the_old_consumer_but_never_a_lost_ledger() {
        assert_eq!(at(&unknown(None)), (3, false));
        assert_eq!(at(&unknown(Some((40, "")))), (40, false), "where the old consumer stopped");
        assert_eq!(at(&unknown(Some((1, "")))), (3, false), "below the log");
        assert_eq!(at(&unknown(Some((999, "")))), (90, false), "past the log");
        assert_eq!(at(&unknown(Some((40, "footprint 7")))), (3, true), "our own mark");
        assert_eq!(at(&unknown(Some((40, "footprint 8")))), (3, false), "our mark of another life");
        let held = UnknownPartition { clickhouse_holds_rows: true, ..unknown(None) };
        assert_eq!(at(&held), (3, true));
        let another_life = UnknownPartition { other_lives_known: true, ..unknown(Some((40, ""))) };
        assert_eq!(at(&another_life), (3, false), "a new life of a topic is read whole");
    }

    /// The story: once one partition had a ledger row, all others ignored the old consumer's commit and `latest`.
    #[test]
    fn where_a_partition_starts_depends_on_it_alone() {
        let starts = FirstStarts { commits: vec![Some(40), None, None], ends: Some(vec![90, 60, 200]) };
        let with = |partition, committed| UnknownPartition { written: starts.of(partition), ..unknown(committed) };
        assert_eq!(at(&with(0, Some((55, "")))), (55, false), "the old consumer went on until its partition moved");
        assert_eq!(at(&with(0, None)), (40, false), "its commit has gone meanwhile");
        assert_eq!(at(&with(1, None)), (60, false), "the end at the first start, not now");
        assert_eq!(at(&with(2, None)), (90, false), "the log lost its end since");
        assert_eq!(at(&with(3, None)), (3, false), "added later");
        assert_eq!(at(&with(3, Some((40, "")))), (40, false), "added later, and read by another consumer first");
        let retained = UnknownPartition { log_start: 70, ..with(1, None) };
        assert_eq!(at(&retained), (60, false), "what retention took since the first start must be reported as lost");
        assert_eq!(starts.of(-1), None);
    }

    #[test]
    fn where_a_lost_ledger_began_is_not_known() {
        let start = FirstStart { offset: 40, ledger_lost: false, why: "" };
        assert_eq!(start.first_offset(), Some(40));
        assert_eq!(FirstStart { ledger_lost: true, ..start }.first_offset(), None);
    }

    #[test]
    fn what_is_written_down_is_of_other_consumers_alone() {
        let committed = |metadata: &str| Some((40, metadata.to_owned()));
        let all = [committed(""), None, committed("footprint 8"), committed("footprint 7")];
        let starts = FirstStarts::new(false, &all, None);
        assert_eq!(starts.commits, [Some(40), None, None, None]);
        assert_eq!(FirstStarts::new(true, &all, None).commits, [None; 4], "another life is known");
    }

    #[test]
    fn the_end_is_for_a_first_start_that_is_one() {
        let marked = |metadata: &str| [None, Some((40, metadata.to_owned()))];
        assert!(starts_at_end(true, SOURCE, false, &marked("")));
        assert!(starts_at_end(true, SOURCE, false, &marked("footprint 8")));
        assert!(!starts_at_end(true, SOURCE, false, &marked("footprint 7")), "the ledger was lost");
        assert!(!starts_at_end(true, SOURCE, true, &marked("")), "another life");
        assert!(!starts_at_end(false, SOURCE, false, &marked("")));
    }
}
