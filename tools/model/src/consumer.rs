//! A consumer's memory: what a process knows about the partition, and what it is doing.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use footprint_protocol::ledger::SinkName;
use footprint_protocol::offset::{Offset, Range};
use footprint_protocol::partition::{self, CutBatch, Right};
use footprint_protocol::take_over::Plan;
use footprint_protocol::take_over::steps::TakeOver;
use footprint_protocol::tracker::Tracker;
use footprint_protocol::write::Repair;

use crate::config::Config;
use crate::guard::Guard;
use crate::ledger::Fence;
use crate::servers::{Fingerprint, Offsets};

/// What the consumer believes about the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    /// It has no partition.
    Out,
    /// It has the partition.
    In,
    /// The group has revoked the partition and waits.
    Leaving,
}

/// A moment. Nothing in the model waits by the clock, so every moment is this one, or [`later`].
pub fn now() -> Instant {
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    *NOW
}

/// A moment at which every deadline has passed.
pub fn later() -> Instant {
    now() + Duration::from_secs(3_600)
}

/// The program's machine for the partition.
pub type Machine = partition::Machine<Box<Owning>, Batch>;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// It runs.
    pub up: bool,
    /// The route's definition, as it was when it started.
    pub definition: Fingerprint,
    /// What it believes about the group.
    pub seat: Seat,
    /// The partition, from its assignment to its release.
    pub machine: Option<Machine>,
    /// A take-over under way. If its assignment has ended, it continues beside a new one.
    pub taking: Option<Taking>,
    /// Its ledger connection is dead, but it does not know.
    pub broken: bool,
}

impl Consumer {
    /// A process that does not run.
    pub fn down() -> Self {
        Self { up: false, definition: 0, seat: Seat::Out, machine: None, taking: None, broken: false }
    }

    /// Its ownership.
    pub fn owning(&self) -> Option<&Owning> {
        self.machine.as_ref()?.right().map(|owning| &**owning)
    }

    /// Its ownership, mutable.
    pub fn owning_mut(&mut self) -> Option<&mut Owning> {
        self.machine.as_mut()?.right_mut().map(|owning| &mut **owning)
    }

    /// The progress of its partition.
    pub fn tracker(&self) -> Option<&Tracker> {
        self.machine.as_ref()?.tracker()
    }

    /// Whether it takes the partition over, or is about to.
    pub fn is_taking_over(&self) -> bool {
        self.machine.as_ref().is_some_and(Machine::is_taking_over)
    }

    /// Whether a take-over must start.
    pub fn wants_take_over(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.wants_take_over(now()))
    }

    /// Whether the take-over under way is still wanted.
    pub fn is_attempt_wanted(&self) -> bool {
        self.machine.as_ref().is_some_and(Machine::is_attempt_wanted)
    }

    /// Batches that wait for their claim, or for room.
    pub fn ready_count(&self) -> usize {
        self.machine.as_ref().map_or(0, Machine::ready_count)
    }

    /// Whether its next batch may go to the writers without a claim.
    pub fn may_send(&self, config: &Config) -> bool {
        let Some(machine) = &self.machine else { return false };
        let unclaimed =
            !config.guards.hold(Guard::Claim) && machine.ready_count() > 0 && !machine.waits_for_topic_check();
        machine.wants_to_send() || unclaimed
    }

    /// Whether its next batch can be claimed.
    pub fn may_claim(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.to_claim(now()).is_some())
    }

    /// A sink has stored the next `count` batches of its queue.
    pub fn acknowledge(&mut self, sink: SinkName, count: usize) {
        let Some(owning) = self.owning_mut() else { return };
        let ranges = owning.acknowledge(sink, count);
        if let Some(machine) = &mut self.machine {
            for range in ranges {
                machine.stored(sink, range);
            }
        }
    }
}

/// A take-over under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taking {
    /// The life of the topic.
    pub life: usize,
    /// The program's steps.
    pub steps: TakeOver,
    /// The right that the statement took.
    pub fence: Option<Fence>,
    /// No connection has broken since the statement was sent.
    pub sighted: bool,
}

/// A batch in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The offsets that it covers.
    pub range: Range,
    /// The life of the topic that its records belong to.
    pub content: usize,
    /// The definition that decodes its records.
    pub definition: Fingerprint,
}

impl CutBatch for Batch {
    fn range(&self) -> Range {
        self.range
    }
}

/// What an owner knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owning {
    /// The source.
    pub life: usize,
    /// The cluster whose ledger gave the right. It is in the query id of every insert.
    pub cluster: usize,
    /// Its right.
    pub fence: Fence,
    /// What the take-over decided.
    pub plan: Plan,
    /// The next offset to read.
    pub position: Offset,
    /// Batches that are claimed, but not acknowledged by both sinks.
    pub queue: Vec<Batch>,
    /// How many batches of the queue PostgreSQL has stored.
    pub postgres_done: usize,
    /// How many batches of the queue ClickHouse has stored.
    pub clickhouse_done: usize,
    /// The number of batches whose transaction may have landed.
    pub postgres_uncertain: usize,
    /// What ClickHouse's writer is doing.
    pub clickhouse: Writer,
    /// The latest proof of ownership is good.
    pub proof: bool,
    /// Records that ClickHouse lacks for good: those that the take-over has read, and those left out since.
    pub left_out: Offsets,
}

/// What ClickHouse's writer does with the first batch that it has not stored. `sighted`: whether the sighting of the repair is
/// good; none if there is none yet. `rows` are missing and go under the token of `level`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "explained above, once for all states")]
pub enum Writer {
    /// Nothing yet.
    Idle,
    /// A first write is in flight. `doubtful`: it is read back even after an OK.
    Inserting { doubtful: bool },
    /// A repair's next step is to read back.
    Reading { repair: Repair, sighted: Option<bool> },
    /// A repair's next step is to wait until no older insert of the range runs.
    WaitingOut { repair: Repair, sighted: bool },
    /// A repair's next step is to insert what is missing.
    Missing { repair: Repair, rows: Offsets, level: u32, sighted: bool },
    /// An insert was refused because of this record, and none of it was written. Its dead letter comes next.
    LeavingOut { offset: Offset },
    /// A repair's insert is in flight.
    Repairing { repair: Repair, sighted: bool },
}

impl Writer {
    /// Voids every sighting.
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

impl Right for Owning {
    fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Owning {
    /// The state after the take-over.
    pub fn new(life: usize, cluster: usize, fence: Fence, plan: Plan, proof: bool) -> Self {
        Self {
            life,
            cluster,
            fence,
            position: plan.read_from,
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

    /// The next batch for ClickHouse's writer.
    pub fn for_clickhouse(&self) -> Option<Batch> {
        self.queue.get(self.clickhouse_done).copied()
    }

    /// A sink has stored the next `count` batches of its queue. Returns their ranges.
    fn acknowledge(&mut self, sink: SinkName, count: usize) -> Vec<Range> {
        let done = match sink {
            SinkName::Postgres => &mut self.postgres_done,
            SinkName::ClickHouse => &mut self.clickhouse_done,
        };
        let from = *done;
        *done += count;
        let ranges = self.queue[from..from + count].iter().map(|batch| batch.range).collect();
        let both = self.postgres_done.min(self.clickhouse_done);
        self.queue.drain(..both);
        self.postgres_done -= both;
        self.clickhouse_done -= both;
        ranges
    }

    /// Voids every proof and sighting.
    pub fn void(&mut self) {
        self.proof = false;
        self.clickhouse.void();
    }
}
