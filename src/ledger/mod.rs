//! The ledger: what is claimed and stored of each partition, and who may write. `protocol.rs` decides, `start.rs`
//! says where a partition begins, `proof.rs` how long a decision holds, `postgres.rs` asks and tells PostgreSQL. This file holds their words.

pub mod postgres;
pub mod proof;
pub mod protocol;
pub mod start;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::definition::Definition;
use crate::offset::{Offset, Partition, Range};
use proof::Proof;
use protocol::Plan;

/// The layout of a ledger row that this program writes, and how its owners write. A row of a later one is refused.
/// 2: every insert of a partition goes under one query id; before that each had its own.
pub const FORMAT: i32 = 2;

/// One life of one topic: the first 63 bits of a hash of the cluster's and the topic's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub i64);

impl SourceId {
    /// The source of a topic's life; the same on every machine.
    pub fn of(cluster_id: &str, topic_id: &str) -> Self {
        Self((xxh3_64(format!("{cluster_id}\n{topic_id}").as_bytes()) >> 1).cast_signed())
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which ledger it is: a hash of PostgreSQL's system identifier and the database's name. Every process sees the same one,
/// whatever host name it uses; a standby, a base backup and a database that was dropped and made again keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LedgerId(pub u64);

impl LedgerId {
    /// The ledger in a database of a PostgreSQL cluster.
    pub fn of(system_identifier: &str, database: &str) -> Self {
        Self(xxh3_64(format!("{system_identifier}\n{database}").as_bytes()))
    }
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

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
    /// [`Definition::fingerprint`] of the program that claimed it.
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
    pub owner: Uuid,
    /// Every batch that a sink was ever sent ends at or below it, save while a sink is being filled.
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
    /// again never meets the tokens of before.
    pub birth: i64,
    /// Where the partition first started: below it nothing is ours. Not known of a row that an older program made, or that was
    /// made anew after the ledger was lost.
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

/// Records that one database lacks for good: each has a dead letter for it alone, which was there before this list named it.
/// A take-over reads them, after it has raised the epoch: whoever adds one is fenced by then, or has fenced this owner. Only
/// this owner itself adds to it, in the fenced statement that writes the dead letter.
#[derive(Debug, Default)]
pub struct LeftOut(Mutex<BTreeSet<(Offset, bool)>>);

impl LeftOut {
    /// Of what the take-over has read.
    pub fn new(found: impl IntoIterator<Item = (SinkName, Offset)>) -> Self {
        let entry = |(sink, offset)| (offset, sink == SinkName::ClickHouse);
        Self(Mutex::new(found.into_iter().map(entry).collect()))
    }

    /// One more.
    pub fn add(&self, sink: SinkName, offset: Offset) {
        self.0.lock().insert((offset, sink == SinkName::ClickHouse));
    }

    /// Those of a range that a database lacks, rising.
    pub fn of(&self, sink: SinkName, range: Range) -> Vec<Offset> {
        let held = self.0.lock();
        let of_sink = |&&(_, is_clickhouse): &&(Offset, bool)| is_clickhouse == (sink == SinkName::ClickHouse);
        held.range((range.start, false)..(range.end, false)).filter(of_sink).map(|&(offset, _)| offset).collect()
    }
}

/// A pending range that is finished by the definition that claimed it, which is not the route's present one.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// The claim's.
    pub range: Range,
    /// What its records are decoded by.
    pub definition: Arc<Definition>,
}

/// The right of one process to write one partition, from one take-over until it ends.
#[derive(Debug)]
pub struct Ownership {
    /// The ledger that gave it.
    pub ledger: LedgerId,
    /// The source.
    pub source: SourceId,
    /// The partition.
    pub partition: Partition,
    /// Grows by one with every take-over; a restored PostgreSQL may repeat it.
    pub epoch: i64,
    /// Fresh for every take-over.
    pub owner: Uuid,
    /// What the take-over found and decided.
    pub plan: Plan,
    /// Claims found that another definition made, rising.
    pub earlier: Vec<Earlier>,
    /// Records that are given up, since Kafka cannot give them: noted as gaps, and read past.
    pub skips: Vec<Range>,
    /// Records that one database is never to get.
    pub left_out: LeftOut,
    /// When it was last seen to hold.
    pub proof: Proof,
    /// Cancelled when the ownership has ended, for whatever reason: its chunks and batches are thrown away.
    pub ended: CancellationToken,
}

impl Ownership {
    /// The definition by which a range that starts at `start` is decoded; none: the route's present one.
    pub fn earlier_definition(&self, start: Offset) -> Option<&Arc<Definition>> {
        let holds = |earlier: &&Earlier| earlier.range.start <= start && start < earlier.range.end;
        self.earlier.iter().find(holds).map(|earlier| &earlier.definition)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}
