//! The tracker: one partition's progress, as its owner knows it. A sink's frontier moves only over a range that starts at it. The offset to
//! commit comes from the ledger's own answers, never from memory (R8).

use std::collections::VecDeque;

use crate::ledger::{Frontiers, Progress, SinkName};
use crate::offset::{Frontier, Offset, Range};
use crate::take_over::Plan;

/// The largest number of claims of one partition that not every sink has acknowledged (docs/protocol.md).
pub const CLAIMS_PENDING_MAX: usize = 64;

/// The ledger's row does not fit what its owner knows: another process writes it, or it went back in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unexpected;

/// Progress of one owned partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tracker {
    claimed: Offset,
    /// Ends of the claims that not every sink has acknowledged, in rising order.
    pending: VecDeque<Offset>,
    postgres: Option<Frontier>,
    dead_letters: Frontier,
    clickhouse: Option<Frontier>,
    /// The frontiers that the last fenced statement returned.
    recorded: Frontiers,
    committed: Option<Offset>,
}

impl Tracker {
    /// The progress after a take-over.
    pub fn new(plan: &Plan) -> Self {
        Self {
            claimed: plan.claimed,
            pending: plan.claims.iter().map(|claim| claim.end).collect(),
            postgres: plan.frontiers.postgres.map(Frontier::at),
            dead_letters: Frontier::at(plan.frontiers.dead_letters),
            clickhouse: plan.frontiers.clickhouse.map(Frontier::at),
            recorded: plan.frontiers,
            committed: None,
        }
    }

    /// The end of the claimed offsets.
    pub fn claimed(&self) -> Offset {
        self.claimed
    }

    /// Whether there may be one more claim, see [`CLAIMS_PENDING_MAX`].
    pub fn may_claim(&self) -> bool {
        self.pending.len() < CLAIMS_PENDING_MAX
    }

    /// The number of claims that not every sink has acknowledged.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// A claim is in the ledger.
    pub fn claimed_range(&mut self, range: Range) {
        assert!(range.start == self.claimed, "claim {range} at {}", self.claimed);
        self.claimed = range.end;
        self.pending.push_back(range.end);
    }

    /// A sink has stored a range. A range below the sink's frontier was stored before this take-over, and changes nothing.
    pub fn acknowledged(&mut self, sink: SinkName, range: Range) {
        match sink {
            SinkName::Postgres => {
                advance(&mut self.dead_letters, range);
                if let Some(frontier) = &mut self.postgres {
                    advance(frontier, range);
                }
            }
            SinkName::ClickHouse => {
                if let Some(frontier) = &mut self.clickhouse {
                    advance(frontier, range);
                }
            }
        }
        let lowest = self.frontiers().lowest();
        while self.pending.front().is_some_and(|&end| end <= lowest) {
            self.pending.pop_front();
        }
    }

    /// The frontiers, as this process knows them.
    pub fn frontiers(&self) -> Frontiers {
        Frontiers {
            dead_letters: self.dead_letters.next(),
            postgres: self.postgres.map(Frontier::next),
            clickhouse: self.clickhouse.map(Frontier::next),
        }
    }

    /// ClickHouse's frontier, which claims and heartbeats write to the ledger.
    pub fn clickhouse_next(&self) -> Option<Offset> {
        self.clickhouse.map(Frontier::next)
    }

    /// Whether the ledger's last answer differs from memory: the ledger does not know yet what ClickHouse acknowledged, or no fenced answer
    /// has shown yet what PostgreSQL's own transactions moved.
    pub fn is_unrecorded(&self) -> bool {
        self.recorded != self.frontiers()
    }

    /// A fenced statement has returned the row.
    ///
    /// # Errors
    /// [`Unexpected`] if the row is behind memory or has other sinks on.
    pub fn recorded(&mut self, progress: &Progress) -> Result<(), Unexpected> {
        let memory = self.frontiers();
        let behind = progress.claimed < self.claimed
            || progress.frontiers.dead_letters < memory.dead_letters
            || progress.frontiers.postgres < memory.postgres
            || progress.frontiers.postgres.is_some() != memory.postgres.is_some()
            || progress.frontiers.clickhouse.is_some() != memory.clickhouse.is_some();
        if behind {
            return Err(Unexpected);
        }
        self.recorded = progress.frontiers;
        Ok(())
    }

    /// The offset to commit to Kafka now, if it is not the last one that was committed.
    pub fn to_commit(&self) -> Option<Offset> {
        let lowest = self.recorded.lowest();
        (self.committed != Some(lowest)).then_some(lowest)
    }

    /// The frontiers as the ledger last returned them.
    pub fn recorded_frontiers(&self) -> Frontiers {
        self.recorded
    }

    /// Makes [`to_commit`](Self::to_commit) repeat the last offset, because a late commit of a previous owner may have moved it back.
    pub fn commit_again(&mut self) {
        self.committed = None;
    }

    /// A commit up to `offset` was sent to Kafka.
    pub fn committed(&mut self, offset: Offset) {
        self.committed = Some(offset);
    }
}

fn advance(frontier: &mut Frontier, range: Range) {
    if range.end > frontier.next() {
        frontier.advance(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(frontiers: Frontiers, claimed: Offset) -> Plan {
        Plan {
            start: frontiers.lowest(),
            read_from: frontiers.lowest(),
            claimed,
            cuts: Vec::new(),
            claims: Vec::new(),
            frontiers,
            uncertain_through: None,
            doubtful_below: None,
            birth: 0,
        }
    }

    fn at(next: Offset) -> Frontiers {
        Frontiers { dead_letters: next, postgres: Some(next), clickhouse: Some(next) }
    }

    #[test]
    fn only_what_the_ledger_returned_is_committed() {
        let mut tracker = Tracker::new(&plan(at(10), 10));
        tracker.claimed_range(Range::new(10, 20));
        tracker.acknowledged(SinkName::Postgres, Range::new(10, 20));
        tracker.acknowledged(SinkName::ClickHouse, Range::new(10, 20));
        assert_eq!(tracker.to_commit(), Some(10), "memory is not the ledger");
        assert!(tracker.is_unrecorded() && tracker.pending_count() == 0);
        let progress = Progress { partition: 0, claimed: 20, frontiers: at(20) };
        tracker.recorded(&progress).unwrap();
        assert_eq!(tracker.to_commit(), Some(20));
        tracker.committed(20);
        assert_eq!(tracker.to_commit(), None);
    }

    /// Each frontier is compared by itself: if another process moves one of them back, this is noticed whatever the others say.
    #[test]
    fn one_frontier_behind_memory_is_enough() {
        let stored = || {
            let mut tracker = Tracker::new(&plan(at(10), 10));
            tracker.claimed_range(Range::new(10, 20));
            tracker.acknowledged(SinkName::Postgres, Range::new(10, 20));
            tracker.acknowledged(SinkName::ClickHouse, Range::new(10, 20));
            tracker
        };
        let answered = |frontiers| stored().recorded(&Progress { partition: 0, claimed: 20, frontiers });
        assert_eq!(answered(at(20)), Ok(()));
        assert_eq!(
            answered(Frontiers { clickhouse: Some(10), ..at(20) }),
            Ok(()),
            "memory tells the ledger of clickhouse"
        );
        assert_eq!(answered(at(30)), Ok(()), "ahead of memory is no fault");
        for behind in [
            Frontiers { dead_letters: 10, ..at(20) },
            Frontiers { postgres: Some(10), ..at(20) },
            Frontiers { postgres: None, ..at(20) },
            Frontiers { clickhouse: None, ..at(20) },
        ] {
            assert_eq!(answered(behind), Err(Unexpected), "{behind:?}");
        }
        let mut recorded = stored();
        recorded.recorded(&Progress { partition: 0, claimed: 20, frontiers: at(20) }).unwrap();
        assert!(!recorded.is_unrecorded() && stored().is_unrecorded());
    }

    #[test]
    fn what_was_stored_before_the_take_over_is_acknowledged_again_without_moving_anything() {
        let mut tracker = Tracker::new(&plan(at(10), 20));
        tracker.acknowledged(SinkName::Postgres, Range::new(0, 10));
        assert_eq!(tracker.frontiers(), at(10));
    }

    #[test]
    fn no_more_claims_are_open_than_the_ledger_row_may_hold() {
        let mut tracker = Tracker::new(&plan(at(0), 0));
        for start in 0..CLAIMS_PENDING_MAX as Offset {
            assert!(tracker.may_claim(), "{start}");
            tracker.claimed_range(Range::new(start, start + 1));
        }
        assert!(!tracker.may_claim());
        for sink in [SinkName::Postgres, SinkName::ClickHouse] {
            tracker.acknowledged(sink, Range::new(0, 1));
        }
        assert!(tracker.may_claim());
    }

    #[test]
    fn a_ledger_behind_memory_is_unexpected() {
        let mut tracker = Tracker::new(&plan(at(10), 10));
        tracker.claimed_range(Range::new(10, 20));
        let progress = Progress { partition: 0, claimed: 10, frontiers: at(10) };
        assert_eq!(tracker.recorded(&progress), Err(Unexpected));
    }

    #[test]
    fn a_slow_sink_holds_the_commit_and_the_claim() {
        let mut tracker = Tracker::new(&plan(at(0), 0));
        tracker.claimed_range(Range::new(0, 5));
        tracker.acknowledged(SinkName::Postgres, Range::new(0, 5));
        assert_eq!(tracker.pending_count(), 1);
        let frontiers = Frontiers { clickhouse: Some(0), ..at(5) };
        tracker.recorded(&Progress { partition: 0, claimed: 5, frontiers }).unwrap();
        assert_eq!(tracker.to_commit(), Some(0));
    }
}
