//! The three servers: what they hold, and what is still on its way to them.

use footprint_protocol::first_start::{FirstStart, Starts};
use footprint_protocol::ledger::OwnerId;
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::take_over::Settled;

use crate::ledger::{Advance, ClaimWanted, Fence, LedgerRow};

/// Lives of the topic.
pub const LIVES: usize = 2;
/// Table partitions of ClickHouse: a row goes to the one of its offset's parity, as a range goes over a month's end.
pub const PARTS: usize = 2;

/// A set of offsets below 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offsets(pub u32);

impl Offsets {
    /// Those of a range.
    pub fn of(range: Range) -> Self {
        Self::below(range.end).minus(Self::below(range.start))
    }

    /// All below one.
    pub fn below(end: Offset) -> Self {
        Self(((1_u64 << end.clamp(0, 32)) - 1) as u32)
    }

    /// Those of one table partition.
    pub fn part(self, part: usize) -> Self {
        Self(self.0 & if part == 0 { 0x5555_5555 } else { 0xaaaa_aaaa })
    }

    /// Those in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those not in the other.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
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

/// Of a definition: 0 is the first, 1 the one after it.
pub type Fingerprint = i64;

/// Kafka: one partition, whose topic may be deleted and made again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kafka {
    /// Which life the topic is in.
    pub life: usize,
    /// The log's end.
    pub end: Offset,
    /// To whom the group has given the partition.
    pub member: Option<usize>,
    /// What was committed, and by whose mark.
    pub committed: Option<(Offset, String)>,
    /// A commit that its sender has sent and then let the partition go: only without that guard.
    pub late_commit: Option<(Offset, String)>,
}

/// What PostgreSQL holds, and what a backup is a copy of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tables {
    /// The route's first start on each life.
    pub starts: [Option<Starts>; LIVES],
    /// The ledger's row of each life.
    pub ledger: [Option<LedgerRow>; LIVES],
    /// Stored rows.
    pub rows: [Offsets; LIVES],
    /// Those of the second definition.
    pub redefined: [Offsets; LIVES],
    /// Stored dead letters for both databases.
    pub dead_letters: [Offsets; LIVES],
    /// Stored dead letters for one database alone: PostgreSQL, ClickHouse.
    pub refused: [[Offsets; 2]; LIVES],
    /// Gaps noted for PostgreSQL's and for ClickHouse's rows.
    pub gaps: [[Offsets; 2]; LIVES],
}

/// A statement whose client has given it up, but which may still reach the server; its `life` is the source it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "what a statement carries is what its function in `ledger` takes")]
pub enum Late {
    /// The first start.
    Starts { life: usize, starts: Starts },
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
    /// By which definition.
    pub definition: Fingerprint,
    /// The dead letters it copies.
    pub dead_letters: Offsets,
    /// The dead letters for PostgreSQL alone that it copies: found by halving, in the transaction.
    pub refused: Offsets,
}

/// PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Postgres {
    /// What it holds.
    pub tables: Tables,
    /// The copy that a restore puts back; the first one is empty.
    pub backup: Box<Tables>,
    /// Statements on their way without a client.
    pub late: Vec<Late>,
    /// Which cluster it is: another one where it was put back to nothing.
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

/// An insert on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Insert {
    /// Which consumer waits for its answer.
    pub by: Option<usize>,
    /// Its token; none when that guard is removed.
    pub token: Option<Token>,
    /// The life whose rows it carries.
    pub life: usize,
    /// The range it belongs to.
    pub range: Range,
    /// The cluster whose ledger is in its query id.
    pub cluster: usize,
    /// By which definition its rows are.
    pub definition: Fingerprint,
    /// Its rows, as far as their parts have not landed.
    pub left: Offsets,
    /// Nothing of its block has reached the server: no query runs under its id.
    pub unseen: bool,
}

/// ClickHouse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClickHouse {
    /// Stored rows.
    pub rows: [Offsets; LIVES],
    /// Those of the second definition.
    pub redefined: [Offsets; LIVES],
    /// Tokens remembered for each table partition, in order.
    pub tokens: [Vec<Token>; PARTS],
    /// Inserts on their way, the oldest first.
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
