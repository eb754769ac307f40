//! The three servers: what they hold, and what is still in flight to them.

use footprint_protocol::first_start::{FirstStart, FirstStarts};
use footprint_protocol::ledger::OwnerId;
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::take_over::Settled;

use crate::ledger::{Advance, ClaimWanted, Fence, LedgerRow};

/// Lives of the topic.
pub const LIVES: usize = 2;
/// Table partitions of ClickHouse. A row goes to one by its offset's parity, as a real range may cross the end of a month.
pub const PARTS: usize = 2;

/// A set of offsets below 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offsets(pub u32);

impl Offsets {
    /// The offsets of a range.
    pub fn of(range: Range) -> Self {
        Self::below(range.end).minus(Self::below(range.start))
    }

    /// All offsets below `end`.
    pub fn below(end: Offset) -> Self {
        Self(((1_u64 << end.clamp(0, 32)) - 1) as u32)
    }

    /// Those of one table partition.
    pub fn part(self, part: usize) -> Self {
        Self(self.0 & if part == 0 { 0x5555_5555 } else { 0xaaaa_aaaa })
    }

    /// Those in both sets.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either set.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those not in the other set.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of offsets.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The lowest.
    pub fn lowest(self) -> Option<Offset> {
        (!self.is_empty()).then(|| Offset::from(self.0.trailing_zeros()))
    }

    /// The highest.
    pub fn highest(self) -> Option<Offset> {
        (!self.is_empty()).then(|| Offset::from(31 - self.0.leading_zeros()))
    }
}

/// The fingerprint of a definition: 0 is the first, 1 the next one.
pub type Fingerprint = i64;

/// Kafka: one partition, whose topic may be deleted and created again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kafka {
    /// The present life of the topic.
    pub life: usize,
    /// The log's end.
    pub end: Offset,
    /// The member that the group has assigned the partition to.
    pub member: Option<usize>,
    /// The committed offset and its mark.
    pub committed: Option<(Offset, String)>,
    /// A commit whose sender released the partition after sending it. It exists only without that guard.
    pub late_commit: Option<(Offset, String)>,
}

/// The contents of PostgreSQL, which a backup copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tables {
    /// The route's first start on each life.
    pub starts: [Option<FirstStarts>; LIVES],
    /// The ledger's row of each life.
    pub ledger: [Option<LedgerRow>; LIVES],
    /// Stored rows.
    pub rows: [Offsets; LIVES],
    /// The rows of the second definition.
    pub redefined: [Offsets; LIVES],
    /// Stored dead letters for both databases.
    pub dead_letters: [Offsets; LIVES],
    /// Stored dead letters for one database alone: PostgreSQL, ClickHouse.
    pub refused: [[Offsets; 2]; LIVES],
    /// Gaps recorded for PostgreSQL's and for ClickHouse's rows.
    pub gaps: [[Offsets; 2]; LIVES],
}

/// A statement that its client has given up, but that may still reach the server. `life` is the source that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a statement carries the parameters of its function in `ledger`")]
pub enum Late {
    /// The first start.
    Starts { life: usize, starts: FirstStarts },
    /// A take-over.
    TakeOver { life: usize, owner: OwnerId, start: FirstStart },
    /// Its second half.
    Settle { life: usize, fence: Fence, settled: Box<Settled> },
    /// A claim.
    Claim { life: usize, wanted: ClaimWanted },
    /// The transaction of rows and dead letters.
    Write { life: usize, write: Write },
    /// The dead letter of a record that ClickHouse refuses.
    LeaveOut { life: usize, fence: Fence, offset: Offset },
}

/// The transaction of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Its last statement.
    pub advance: Advance,
    /// The rows it copies.
    pub rows: Offsets,
    /// The definition of the rows.
    pub definition: Fingerprint,
    /// The dead letters it copies.
    pub dead_letters: Offsets,
    /// The dead letters for PostgreSQL alone that it copies. Halving has found them, in the transaction.
    pub refused: Offsets,
}

/// PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Postgres {
    /// The contents.
    pub tables: Tables,
    /// The copy that a restore restores. The first one is empty.
    pub backup: Box<Tables>,
    /// Statements in flight without a client.
    pub late: Vec<Late>,
    /// The number of the cluster. It changes when PostgreSQL is restored to nothing.
    pub cluster: usize,
}

/// A deduplication token as ClickHouse keeps it, one for each table partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    /// The source.
    pub life: usize,
    /// The range's start.
    pub start: Offset,
    /// The range's end.
    pub end: Offset,
    /// The level.
    pub level: u32,
    /// The ledger row's birth.
    pub birth: i64,
    /// Zero; with R1 removed, the owner's number.
    pub salt: u128,
}

/// An insert in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Insert {
    /// The consumer that waits for its answer.
    pub by: Option<usize>,
    /// Its token. None: that guard is removed.
    pub token: Option<Token>,
    /// The life whose rows it carries.
    pub life: usize,
    /// The range it belongs to.
    pub range: Range,
    /// The cluster whose ledger is in its query id.
    pub cluster: usize,
    /// The definition of its rows.
    pub definition: Fingerprint,
    /// Its rows whose parts have not landed.
    pub left: Offsets,
    /// None of its block has reached the server, so no query runs under its id.
    pub unseen: bool,
}

/// ClickHouse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClickHouse {
    /// Stored rows.
    pub rows: [Offsets; LIVES],
    /// The rows of the second definition.
    pub redefined: [Offsets; LIVES],
    /// Tokens that each table partition remembers, in order.
    pub tokens: [Vec<Token>; PARTS],
    /// Inserts in flight, the oldest first.
    pub inserts: Vec<Insert>,
}

impl ClickHouse {
    /// Whether the token is remembered.
    pub fn remembers(&self, part: usize, token: &Token) -> bool {
        self.tokens[part].binary_search(token).is_ok()
    }

    /// Remembers a token.
    pub fn remember(&mut self, part: usize, token: Token) {
        if let Err(place) = self.tokens[part].binary_search(&token) {
            self.tokens[part].insert(place, token);
        }
    }
}
