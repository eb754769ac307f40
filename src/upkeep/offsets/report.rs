//! What is shown of a partition's offsets, and what a change did or would do. Plain data.

use footprint_protocol::ledger::Row;
use footprint_protocol::offset::{Offset, Partition};
use footprint_protocol::take_over::Gap;
use serde::Serialize;

/// Where the storing of one partition stands.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionOffsets {
    /// The route.
    pub route: String,
    /// The life of the topic.
    pub source: i64,
    /// The partition.
    pub partition: Partition,
    /// The log's start. None: Kafka was not asked.
    pub log_start: Option<Offset>,
    /// The log's end. None: Kafka was not asked.
    pub log_end: Option<Offset>,
    /// What the group has committed in Kafka.
    pub committed: Option<Offset>,
    /// Where PostgreSQL goes on. None: it is off.
    pub postgres_next: Option<Offset>,
    /// Where ClickHouse goes on. None: it is off.
    pub clickhouse_next: Option<Offset>,
    /// Where PostgreSQL stopped when it was switched off.
    pub postgres_stopped: Option<Offset>,
    /// Where ClickHouse stopped when it was switched off.
    pub clickhouse_stopped: Option<Offset>,
    /// Where the dead letters go on.
    pub dead_letters_next: Offset,
    /// Every range below it was claimed.
    pub claimed: Offset,
    /// The ends of the claims that a sink has not acknowledged.
    pub claims: Vec<Offset>,
    /// Records between the lowest frontier and the log's end.
    pub lag: Option<i64>,
    /// Unstored records that retention has deleted.
    pub lost: Option<i64>,
    /// The recorded gaps.
    pub gaps: Vec<ShownGap>,
    /// Grows with every take-over.
    pub epoch: i64,
    /// The consumer that has the partition, or had it last.
    pub owner: Option<String>,
    /// Seconds since that consumer renewed its ownership.
    pub owner_age_seconds: f64,
}

/// Records that a sink will never hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownGap {
    /// `both`, `postgres` or `clickhouse`.
    pub database: String,
    /// The first offset.
    pub start: Offset,
    /// The offset behind the last one.
    pub end: Offset,
}

impl From<&Gap> for ShownGap {
    fn from(gap: &Gap) -> Self {
        let database = gap.sink.map_or("both", |sink| sink.as_str()).to_owned();
        Self { database, start: gap.range.start, end: gap.range.end }
    }
}

/// Where the sinks of a partition go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Frontiers {
    /// PostgreSQL's rows. None: off.
    pub postgres: Option<Offset>,
    /// ClickHouse's rows. None: off.
    pub clickhouse: Option<Offset>,
    /// The dead letters.
    pub dead_letters: Offset,
}

impl From<&Row> for Frontiers {
    fn from(row: &Row) -> Self {
        let of = row.frontiers;
        Self { postgres: of.postgres, clickhouse: of.clickhouse, dead_letters: of.dead_letters }
    }
}

/// What a change did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The route.
    pub route: String,
    /// The partition.
    pub partition: Partition,
    /// Whether it was done.
    pub done: bool,
    /// The frontiers before.
    pub before: Frontiers,
    /// The frontiers after.
    pub after: Frontiers,
    /// The gaps that are recorded.
    pub gaps: Vec<ShownGap>,
}
