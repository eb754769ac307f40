//! The ledger's words: a row, its claims and frontiers, and the names of sources, ledgers and sinks.

use std::fmt;

use crate::offset::{Offset, Partition, Range};

/// The layout of a ledger row that this program writes, and how its owners write. A row of a later one is refused.
/// 2: every insert of a partition goes under one query id; before that each had its own.
pub const FORMAT: i32 = 2;

/// One life of one topic: 63 bits of a hash of the cluster's and the topic's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub i64);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which ledger it is: a hash of PostgreSQL's system identifier and the database's name. Every process sees the same one,
/// whatever host name it uses; a standby, a base backup and a database that was dropped and made again keep it.
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

/// The two databases, as the ledger counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SinkName {
    /// Rows, dead letters and the ledger itself.
    Postgres,
    /// Rows.
    ClickHouse,
}

impl SinkName {
    /// As metrics and tables spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::ClickHouse => "clickhouse",
        }
    }
}

/// A range that was announced and may be anywhere: its end, and the decoder that made it. It starts where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The first offset past it.
    pub end: Offset,
    /// The fingerprint of the definition by which it was decoded.
    pub fingerprint: i64,
}

/// The frontiers of a ledger row: next offsets. A sink that is switched off has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nexts {
    /// Of the dead letters; with PostgreSQL on, the same as its own.
    pub dead_letters: Offset,
    /// Of PostgreSQL's rows.
    pub postgres: Option<Offset>,
    /// Of ClickHouse's rows.
    pub clickhouse: Option<Offset>,
}

impl Nexts {
    /// The offset below which everything is stored: what may be committed to Kafka.
    pub fn lowest(self) -> Offset {
        [self.postgres, self.clickhouse].into_iter().flatten().fold(self.dead_letters, Offset::min)
    }

    /// The highest of them.
    pub fn highest(self) -> Offset {
        [self.postgres, self.clickhouse].into_iter().flatten().fold(self.dead_letters, Offset::max)
    }
}

/// A ledger row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Grows by one with every take-over.
    pub epoch: i64,
    /// Who may write.
    pub owner: OwnerId,
    /// Every batch that a sink was ever sent ends at or below it, except while a sink is being filled.
    pub claimed: Offset,
    /// The frontiers.
    pub nexts: Nexts,
    /// Where PostgreSQL's rows stopped when they were switched off.
    pub postgres_stopped: Option<Offset>,
    /// Where ClickHouse's rows stopped when they were switched off.
    pub clickhouse_stopped: Option<Offset>,
    /// Claims that some sink has not acknowledged, rising; the last ends at `claimed`.
    pub claims: Vec<Claim>,
    /// H: ranges that start below it are read back even after an OK.
    pub doubtful_below: Option<Offset>,
    /// Of the row: random, from the take-over that made it. It is part of every token, so that a row that is lost and made
    /// again never meets the tokens of the lost one.
    pub birth: i64,
    /// Where the partition first started: below it nothing is ours. Not known of a row that an older program made, or that was
    /// made again after the ledger was lost.
    pub first_offset: Option<Offset>,
    /// The row's layout.
    pub format: i32,
}

/// A ledger row as a fenced statement returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub partition: Partition,
    /// What is claimed.
    pub claimed: Offset,
    /// The frontiers.
    pub nexts: Nexts,
}

/// A batch's place and right: what the sinks and the tracker need of it.
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
        let nexts = |postgres, clickhouse| Nexts { dead_letters: 20, postgres, clickhouse };
        assert_eq!((nexts(Some(30), Some(10)).lowest(), nexts(Some(30), Some(10)).highest()), (10, 30));
        assert_eq!((nexts(None, None).lowest(), nexts(None, None).highest()), (20, 20));
    }

    /// These texts are in query ids, tables and metrics, where later versions look for them.
    #[test]
    fn ids_and_names_are_written_the_same_in_every_version() {
        assert_eq!(SourceId(7).to_string(), "7");
        assert_eq!(LedgerId(10).to_string(), "000000000000000a");
        assert_eq!([SinkName::Postgres, SinkName::ClickHouse].map(SinkName::as_str), ["postgres", "clickhouse"]);
    }
}
