//! Partitions that wait to be read. One with claims of earlier owners is a replay: its ranges cannot be cut, so each may need a
//! whole batch's share of the byte budget, and only [`REPLAYS_MAX`] are read at a time. A replay of which nothing comes gives its
//! place to the next one that waits, and waits itself: records that cannot be read hold up no other partition.

use std::collections::VecDeque;
use std::sync::Arc;

use footprint_protocol::offset::Partition;

use super::intake::{Intake, Place};
use crate::ledger::ownership::Ownership;
use crate::limits::REPLAYS_MAX;

/// Those that wait, first come first served.
#[derive(Default)]
pub(super) struct Deferred(VecDeque<Place>);

/// What is to be done for one that waited.
pub(super) struct Turn {
    /// A replay that has given up its place: it is fetched no more for now.
    pub(super) paused: Option<Partition>,
    /// Read this.
    pub(super) next: Place,
}

impl Deferred {
    /// One more waits: a partition that was just taken over.
    pub(super) fn add(&mut self, ownership: Arc<Ownership>) {
        let from = ownership.plan.read_from;
        self.0.push_back(Place { ownership, from });
    }

    /// These are no longer wanted.
    pub(super) fn remove(&mut self, is_unwanted: impl Fn(Partition) -> bool) {
        self.0.retain(|place| !is_unwanted(place.ownership.partition));
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Looks at the one that has waited longest: it has its turn, or goes on waiting behind the others.
    pub(super) fn turn(&mut self, intake: &mut Intake) -> Option<Turn> {
        let next = self.0.pop_front().filter(|place| !place.ownership.has_ended())?;
        let is_replay = next.ownership.plan.claimed > next.from;
        if !is_replay || intake.replaying() < REPLAYS_MAX {
            return Some(Turn { paused: None, next });
        }
        let Some(stalled) = intake.stop_stalled() else {
            self.0.push_back(next);
            return None;
        };
        let paused = Some(stalled.ownership.partition);
        self.0.push_back(stalled);
        Some(Turn { paused, next })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::batch::budget::Budget;
    use crate::batch::under_way::UnderWay;
    use crate::read::reader::intake::STALLED_AFTER;
    use crate::read::tests::ownership;

    /// Each partition that has its turn now, and is read from then on.
    fn turns(deferred: &mut Deferred, intake: &mut Intake) -> Vec<Partition> {
        let mut read = Vec::new();
        for _ in 0..deferred.len() {
            if let Some(Turn { next, .. }) = deferred.turn(intake) {
                read.push(next.ownership.partition);
                intake.start(next.ownership, next.from);
            }
        }
        read
    }

    /// The story: see `it/unreadable.rs`.
    #[test]
    fn replays_that_stall_take_turns_with_those_that_wait() {
        let (chunks, _received) = mpsc::channel(100);
        let mut intake = Intake::new(chunks, &Budget::new(1 << 20), &UnderWay::default());
        let mut deferred = Deferred::default();
        let places = Partition::try_from(REPLAYS_MAX).unwrap();
        for partition in 0..places + 2 {
            deferred.add(ownership(partition, 100));
        }
        deferred.add(ownership(places + 2, 0));
        assert_eq!(turns(&mut deferred, &mut intake), [0, 1, 2, 3, 6], "a partition without claims waits for nobody");
        assert!(turns(&mut deferred, &mut intake).is_empty(), "every place is taken");
        intake.took(STALLED_AFTER);
        intake.note_position(1, 50);
        assert_eq!(turns(&mut deferred, &mut intake), [4, 5], "two stand still");
        intake.took(STALLED_AFTER);
        intake.note_position(1, 90);
        assert_eq!(turns(&mut deferred, &mut intake), [0, 2], "and have their turn again");
        intake.note_position(1, 100);
        intake.took(Duration::from_millis(1));
        assert_eq!(
            turns(&mut deferred, &mut intake),
            [3, 4],
            "a place that is free, and that of the last to stand still"
        );
        assert_eq!(deferred.len(), 1);
    }

    #[test]
    fn a_replay_goes_on_where_it_has_got_to() {
        let (chunks, _received) = mpsc::channel(100);
        let mut intake = Intake::new(chunks, &Budget::new(1 << 20), &UnderWay::default());
        intake.start(ownership(1, 100), 0);
        intake.note_position(1, 40);
        assert!(intake.stop_stalled().is_none(), "something came");
        intake.took(STALLED_AFTER);
        assert_eq!(intake.stop_stalled().map(|place| place.from), Some(40));
        assert!(!intake.is_reading());
    }
}
