//! An ownership: the right of one process to write one partition, from a take-over until it ends, and what the take-over
//! found.

use std::collections::BTreeSet;
use std::sync::Arc;

use footprint_event::definition::Definition;
use footprint_protocol::ledger::{LedgerId, OwnerId, SinkName, SourceId};
use footprint_protocol::offset::{Offset, Partition, Range};
use footprint_protocol::partition::Right;
use footprint_protocol::take_over::Plan;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::ledger::proof::Proof;

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
    pub owner: OwnerId,
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

impl Right for Ownership {
    fn plan(&self) -> &Plan {
        &self.plan
    }
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
