//! A consumer's memory: what a process knows of the partition, and what it is in the midst of.

use footprint_protocol::first_start::{FirstStart, Starts};
use footprint_protocol::ledger::{Row, SinkName};
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::take_over::{Plan, Settled};
use footprint_protocol::tracker::Tracker;
use footprint_protocol::write::Repair;

use crate::ledger::Fence;
use crate::servers::{Fingerprint, Offsets};

/// What the consumer believes of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    /// It has no partition.
    Out,
    /// It has the partition.
    In,
    /// The group asked for the partition back and waits.
    Leaving,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// It runs.
    pub up: bool,
    /// The route's definition, as it was when it started.
    pub definition: Fingerprint,
    /// What it believes of the group.
    pub seat: Seat,
    /// What it is in the midst of.
    pub phase: Phase,
    /// A take-over whose assignment has passed, and which goes on beside.
    pub stray: Option<TakeOver>,
    /// Its ledger connection is dead, and it does not know.
    pub broken: bool,
}

impl Consumer {
    /// A process that does not run.
    pub fn down() -> Self {
        Self { up: false, definition: 0, seat: Seat::Out, phase: Phase::Idle, stray: None, broken: false }
    }

    /// Its ownership.
    pub fn owning(&self) -> Option<&Owning> {
        match &self.phase {
            Phase::Owning(owning) => Some(owning),
            _ => None,
        }
    }

    /// Its ownership, to change.
    pub fn owning_mut(&mut self) -> Option<&mut Owning> {
        match &mut self.phase {
            Phase::Owning(owning) => Some(owning),
            _ => None,
        }
    }
}

/// What a consumer does with the partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// It takes it over.
    TakingOver(TakeOver),
    /// It owns it, as it believes.
    Owning(Box<Owning>),
}

/// A take-over's next step. It is of one `life` of the topic. `starts`: the first start to write down; `known`: the ledger had
/// a row; `start`: where a row that is made begins, and whether it replaces a `lost` one; `row`: as the statement returned it,
/// under `fence`; `gone_back`: it was settled under another PostgreSQL; `another`: older inserts may have gone under other ids;
/// `sighted`: no break since the statement was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "told above, once for all steps")]
pub enum TakeOver {
    /// Look at Kafka, the ledger and ClickHouse.
    Look,
    /// Write the first start down.
    Starts { life: usize, starts: Starts },
    /// Send the statement.
    Take { life: usize, start: FirstStart, known: bool },
    /// Drain, ask ClickHouse, look at the topic again, decide.
    Ask {
        life: usize,
        fence: Fence,
        row: Box<Row>,
        gone_back: bool,
        another: bool,
        known: bool,
        lost: bool,
        sighted: bool,
    },
    /// Send what was decided.
    Settle { life: usize, fence: Fence, settled: Box<Settled>, sighted: bool },
}

/// A batch in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// What it covers.
    pub range: Range,
    /// Of which life of the topic its records are.
    pub content: usize,
    /// By which definition its records are decoded.
    pub definition: Fingerprint,
    /// The topic's id was seen after its last record.
    pub described: bool,
}

/// What an owner knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owning {
    /// The source.
    pub life: usize,
    /// The cluster whose ledger gave the right: it is in the query id of every insert.
    pub cluster: usize,
    /// Its right.
    pub fence: Fence,
    /// What the take-over decided.
    pub plan: Plan,
    /// Its progress.
    pub tracker: Tracker,
    /// The next offset to read.
    pub position: Offset,
    /// Read, not claimed.
    pub ready: Vec<Batch>,
    /// Claimed, not acknowledged by both.
    pub queue: Vec<Batch>,
    /// How many of the queue PostgreSQL has.
    pub postgres_done: usize,
    /// How many of the queue ClickHouse has.
    pub clickhouse_done: usize,
    /// So many batches' transaction may have landed.
    pub postgres_uncertain: usize,
    /// What ClickHouse's writer is in the midst of.
    pub clickhouse: Writer,
    /// The latest proof of ownership is good.
    pub proof: bool,
    /// Records that ClickHouse lacks for good, as the take-over has read them, and those left out since.
    pub left_out: Offsets,
}

/// What ClickHouse's writer does with the first batch that it has not stored. `sighted`: the sighting of the repair is
/// good; none before there is one. `rows` are missing and go under the token of `level`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "told above, once for all states")]
pub enum Writer {
    /// Nothing yet.
    Idle,
    /// A first write is on its way; `doubtful`: it is read back even after an OK.
    Inserting { doubtful: bool },
    /// A repair's next step is to read back.
    Reading { repair: Repair, sighted: Option<bool> },
    /// A repair's next step is to wait until no older insert of the range runs.
    WaitingOut { repair: Repair, sighted: bool },
    /// A repair's next step is to insert what is missing.
    Missing { repair: Repair, rows: Offsets, level: u32, sighted: bool },
    /// An insert was refused for this record, and nothing of it written: its dead letter comes next.
    LeavingOut { offset: Offset },
    /// A repair's insert is on its way.
    Repairing { repair: Repair, sighted: bool },
}

impl Writer {
    /// Every sighting is void.
    pub fn void(&mut self) {
        match self {
            Self::Idle | Self::Inserting { .. } | Self::LeavingOut { .. } => {}
            Self::Reading { sighted, .. } => *sighted = sighted.map(|_| false),
            Self::WaitingOut { sighted, .. } | Self::Missing { sighted, .. } | Self::Repairing { sighted, .. } => {
                *sighted = false;
            }
        }
    }
}

impl Owning {
    /// As the take-over leaves it.
    pub fn new(life: usize, cluster: usize, fence: Fence, plan: Plan, proof: bool) -> Self {
        Self {
            life,
            cluster,
            fence,
            tracker: Tracker::new(&plan),
            position: plan.read_from,
            ready: Vec::new(),
            queue: Vec::new(),
            postgres_done: 0,
            clickhouse_done: 0,
            postgres_uncertain: 0,
            clickhouse: Writer::Idle,
            proof,
            left_out: Offsets::default(),
            plan,
        }
    }

    /// The batch that ClickHouse's writer is to store.
    pub fn for_clickhouse(&self) -> Option<Batch> {
        self.queue.get(self.clickhouse_done).copied()
    }

    /// A sink has stored the next `count` batches of its queue.
    pub fn acknowledge(&mut self, sink: SinkName, count: usize) {
        let done = match sink {
            SinkName::Postgres => &mut self.postgres_done,
            SinkName::ClickHouse => &mut self.clickhouse_done,
        };
        let from = *done;
        *done += count;
        for batch in &self.queue[from..from + count] {
            self.tracker.acknowledged(sink, batch.range);
        }
        let both = self.postgres_done.min(self.clickhouse_done);
        self.queue.drain(..both);
        self.postgres_done -= both;
        self.clickhouse_done -= both;
    }

    /// Every proof and sighting is void.
    pub fn void(&mut self) {
        self.proof = false;
        self.clickhouse.void();
    }
}
