//! A partition's share of a transaction, and how it moves the frontiers in the ledger.

use std::sync::Arc;

use footprint_protocol::offset::{Offset, Range};

use crate::batch::Batch;
use crate::ledger::ownership::Ownership;
use crate::ledger::statements::Fence;
use crate::ledger::statements::advance::Advance;

/// A partition's share of a transaction: consecutive batches, all of which move the same frontiers.
pub(super) struct Share<'a> {
    pub(super) ownership: &'a Ownership,
    pub(super) range: Range,
    pub(super) rows: bool,
    pub(super) dead_letters: bool,
}

impl Share<'_> {
    /// Whether PostgreSQL holds the whole share already.
    pub(super) fn is_done(&self) -> bool {
        !self.rows && !self.dead_letters
    }

    fn dead_letters_move(&self) -> (Offset, Offset) {
        let still = self.ownership.plan.frontiers.dead_letters;
        if self.dead_letters { (self.range.start, self.range.end) } else { (still, still) }
    }

    /// The frontiers that the share's compare-and-set compares and sets.
    pub(super) fn advance(&self) -> Advance {
        Advance {
            fence: Fence::from(self.ownership),
            range_end: self.range.end,
            dead_letters: self.dead_letters_move(),
            rows: self.postgres_move(),
        }
    }

    fn postgres_move(&self) -> Option<(Offset, Offset)> {
        let still = self.ownership.plan.frontiers.postgres?;
        Some(if self.rows { (self.range.start, self.range.end) } else { (still, still) })
    }
}

pub(super) fn share_of(batch: &Batch) -> Share<'_> {
    let plan = &batch.ownership.plan;
    Share {
        ownership: &batch.ownership,
        range: batch.range,
        rows: plan.postgres_wants_rows(batch.range),
        dead_letters: plan.wants_dead_letters(batch.range),
    }
}

/// The shares of a group, one for each partition. The batches of one partition must be consecutive.
pub(super) fn shares(group: &[Arc<Batch>]) -> Vec<Share<'_>> {
    let mut shares: Vec<Share<'_>> = Vec::new();
    for batch in group {
        let next = share_of(batch);
        match shares.iter_mut().find(|share| std::ptr::eq(share.ownership, next.ownership)) {
            Some(share) => {
                assert!(share.range.end == next.range.start, "batches of a partition are consecutive");
                share.range = Range::new(share.range.start, next.range.end);
            }
            None => shares.push(next),
        }
    }
    shares
}

/// The frontiers that the compare-and-set of a transaction compares and sets.
pub(super) fn advances(shares: &[Share<'_>]) -> Vec<Advance> {
    shares.iter().map(Share::advance).collect()
}
