//! The ledger's terms: a row, its claims and frontiers, and the names of sources, ledgers and sinks.

use std::fmt;

use crate::offset::{Offset, Partition, Range};

/// The format of the ledger rows that this program writes: their layout, and the rules that their owners follow. A row of a later format is
/// refused. From format 2 on, all inserts of a partition use one query id. Before, each insert had its own.
pub const FORMAT: i32 = 2;

/// The id of one life of one topic: 63 bits of a hash of the cluster's id and the topic's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub i64);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The ledger's id: a hash of PostgreSQL's system identifier and the database's name. Every process computes the same id, whatever host
/// name it uses. A standby, a base backup and a database that was dropped and created again have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LedgerId(pub u64);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The owner of a ledger row: new and random for every take-over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnerId(pub u128);

/// A database that batches are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SinkName {
    /// Stores rows, dead letters and the ledger itself.
    Postgres,
    /// Stores rows.
    ClickHouse,
}

impl SinkName {
    /// The name in metrics and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::ClickHouse => "clickhouse",
        }
    }
}

/// A claimed range: each sink may hold all of it, some of it, or nothing. It starts where the previous claim ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The first offset past the range.
    pub end: Offset,
    /// The fingerprint of the definition that decodes it.
    pub fingerprint: i64,
}

/// The frontiers of a ledger row. Each is the next offset to store. A sink that is switched off has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frontiers {
    /// The frontier of the dead letters. While PostgreSQL's rows are on, it moves with theirs, except while they are being filled.
    pub dead_letters: Offset,
    /// The frontier of PostgreSQL's rows.
    pub postgres: Option<Offset>,
    /// The frontier of ClickHouse's rows.
    pub clickhouse: Option<Offset>,
}

impl Frontiers {
    /// The lowest frontier. Every sink that is on has stored everything below it, so only this offset is committed to Kafka.
    pub fn lowest(self) -> Offset {
        [self.postgres, self.clickhouse].into_iter().flatten().fold(self.dead_letters, Offset::min)
    }

    /// The highest frontier.
    pub fn highest(self) -> Offset {
        [self.postgres, self.clickhouse].into_iter().flatten().fold(self.dead_letters, Offset::max)
    }
}

/// A ledger row: one for each route, source and partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Grows by one with every take-over.
    pub epoch: i64,
    /// The only owner that may write.
    pub owner: OwnerId,
    /// The end of the claimed offsets. Every batch that was ever sent to a sink ends at or below it, except while a sink is being filled.
    pub claimed: Offset,
    /// The frontiers of the dead letters and the sinks.
    pub frontiers: Frontiers,
    /// Where PostgreSQL's rows stopped when they were switched off.
    pub postgres_stopped: Option<Offset>,
    /// Where ClickHouse's rows stopped when they were switched off.
    pub clickhouse_stopped: Option<Offset>,
    /// Claims that at least one sink has not acknowledged, in rising order. The last one ends at `claimed`.
    pub claims: Vec<Claim>,
    /// H: a range that starts below it is read back even after an OK.
    pub doubtful_below: Option<Offset>,
    /// A random number from the take-over that created the row. It is part of every token, so a row that was lost and created again never
    /// meets the tokens of the lost row.
    pub birth: i64,
    /// The offset at which the partition first started: no record below it is ours. Not known if an older program created the row, or if
    /// the row was created again after the ledger was lost.
    pub first_offset: Option<Offset>,
    /// The row's format, see [`FORMAT`].
    pub format: i32,
}

/// A ledger row as a fenced statement returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub partition: Partition,
    /// The end of the claimed offsets.
    pub claimed: Offset,
    /// The frontiers of the dead letters and the sinks.
    pub frontiers: Frontiers,
}

/// The place of a batch: its source, its partition and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The source.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// The range.
    pub range: Range,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontiers_of_the_sinks_that_are_on_count() {
        let frontiers = |postgres, clickhouse| Frontiers { dead_letters: 20, postgres, clickhouse };
        assert_eq!((frontiers(Some(30), Some(10)).lowest(), frontiers(Some(30), Some(10)).highest()), (10, 30));
        assert_eq!((frontiers(None, None).lowest(), frontiers(None, None).highest()), (20, 20));
    }

    /// Query ids, tables and metrics hold these texts, and later versions look for them there.
    #[test]
    fn ids_and_names_are_written_the_same_in_every_version() {
        assert_eq!(SourceId(7).to_string(), "7");
        assert_eq!(LedgerId(10).to_string(), "000000000000000a");
        assert_eq!([SinkName::Postgres, SinkName::ClickHouse].map(SinkName::as_str), ["postgres", "clickhouse"]);
    }
}
