//! An ownership: the right of one process to write one partition, from a take-over until it ends. It holds what the take-over found.

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

/// Records that one database never gets. Each has a dead letter for that database, which is written before the record enters this list. The
/// take-over reads the list after it has raised the epoch, so no earlier owner can add a record. From then on only this owner adds records,
/// each after the fenced statement that writes its dead letter.
#[derive(Debug, Default)]
pub struct LeftOut(Mutex<BTreeSet<(Offset, bool)>>);

impl LeftOut {
    /// The list that the take-over read.
    pub fn new(found: impl IntoIterator<Item = (SinkName, Offset)>) -> Self {
        let entry = |(sink, offset)| (offset, sink == SinkName::ClickHouse);
        Self(Mutex::new(found.into_iter().map(entry).collect()))
    }

    /// Adds a record.
    pub fn add(&self, sink: SinkName, offset: Offset) {
        self.0.lock().insert((offset, sink == SinkName::ClickHouse));
    }

    /// The records of a range that a database never gets, in rising order.
    pub fn of(&self, sink: SinkName, range: Range) -> Vec<Offset> {
        let held = self.0.lock();
        let of_sink = |&&(_, is_clickhouse): &&(Offset, bool)| is_clickhouse == (sink == SinkName::ClickHouse);
        held.range((range.start, false)..(range.end, false)).filter(of_sink).map(|&(offset, _)| offset).collect()
    }
}

/// A pending range that was claimed under an earlier definition of the route, and must be finished by it.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// The claimed range.
    pub range: Range,
    /// Decodes its records.
    pub definition: Arc<Definition>,
}

/// The right of one process to write one partition, from one take-over until it ends.
#[derive(Debug)]
pub struct Ownership {
    /// The ledger that records the ownership.
    pub ledger: LedgerId,
    /// The topic that the partition belongs to.
    pub source: SourceId,
    /// The partition's number in that topic.
    pub partition: Partition,
    /// Grows by one with each take-over. After a restore of PostgreSQL a number may come again.
    pub epoch: i64,
    /// New for each take-over.
    pub owner: OwnerId,
    /// What the take-over found and decided.
    pub plan: Plan,
    /// Pending claims under earlier definitions, in rising order.
    pub earlier: Vec<Earlier>,
    /// Records that Kafka cannot deliver and that are given up: they are noted as gaps and skipped.
    pub skips: Vec<Range>,
    /// Records that one database never gets.
    pub left_out: LeftOut,
    /// When the ownership was last confirmed.
    pub proof: Proof,
    /// Cancelled when the ownership has ended, whatever the reason. Its chunks and batches are then dropped.
    pub ended: CancellationToken,
}

impl Right for Ownership {
    fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Ownership {
    /// The earlier definition that decodes a range starting at `start`. None: the present definition decodes it.
    pub fn earlier_definition(&self, start: Offset) -> Option<&Arc<Definition>> {
        let holds = |earlier: &&Earlier| earlier.range.start <= start && start < earlier.range.end;
        self.earlier.iter().find(holds).map(|earlier| &earlier.definition)
    }

    /// Whether the ownership is over.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}
