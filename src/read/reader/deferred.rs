//! Partitions that wait to be read. A partition with claims of earlier owners is a replay. Its claimed ranges cannot be cut in another way,
//! so each may need a whole batch's share of the byte budget, and only [`REPLAYS_MAX`] replays are read at a time. If nothing comes from a
//! replay, it gives its place to the next one, and waits itself. So records that cannot be read hold up no other partition. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use footprint_protocol::offset::Partition;

use super::readings::{ReadFrom, Readings};
use crate::ledger::ownership::Ownership;
use crate::limits::REPLAYS_MAX;

/// The partitions that wait, in the order in which they get their turn.
#[derive(Default)]
pub(super) struct Deferred(VecDeque<ReadFrom>);

/// What to do when a waiting partition gets its turn.
pub(super) struct Turn {
    /// A replay that has given up its place. Stop fetching it for now.
    pub(super) paused: Option<Partition>,
    /// The partition to read now.
    pub(super) next: ReadFrom,
}

impl Deferred {
    /// Adds a partition that was just taken over.
    pub(super) fn add(&mut self, ownership: Arc<Ownership>) {
        let from = ownership.plan.read_from;
        self.0.push_back(ReadFrom { ownership, from });
    }

    /// Removes partitions that nobody wants to read any more.
    pub(super) fn remove(&mut self, partitions: &[Partition]) {
        self.0.retain(|read_from| !partitions.contains(&read_from.ownership.partition));
    }

    /// Removes all partitions.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The number of partitions that wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Looks at the partition that has waited longest. It gets its turn, or goes behind the others, or is dropped if its ownership has
    /// ended.
    pub(super) fn turn(&mut self, readings: &mut Readings) -> Option<Turn> {
        let next = self.0.pop_front().filter(|read_from| !read_from.ownership.has_ended())?;
        let is_replay = next.ownership.plan.claimed > next.from;
        if !is_replay || readings.replaying() < REPLAYS_MAX {
            return Some(Turn { paused: None, next });
        }
        let Some(stalled) = readings.stop_stalled() else {
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

    use super::*;
    use crate::read::reader::readings::STALLED_AFTER;
    use crate::read::tests::ownership;

    /// The partitions that get their turn now. They are read from now on.
    fn turns(deferred: &mut Deferred, readings: &mut Readings) -> Vec<Partition> {
        let mut read = Vec::new();
        for _ in 0..deferred.len() {
            if let Some(Turn { next, .. }) = deferred.turn(readings) {
                read.push(next.ownership.partition);
                readings.start(next);
            }
        }
        read
    }

    /// The story: see `it/unreadable.rs`.
    #[test]
    fn replays_that_stall_take_turns_with_those_that_wait() {
        let (mut readings, mut deferred) = (Readings::default(), Deferred::default());
        let places = Partition::try_from(REPLAYS_MAX).unwrap();
        for partition in 0..places + 2 {
            deferred.add(ownership(partition, 100));
        }
        deferred.add(ownership(places + 2, 0));
        assert_eq!(turns(&mut deferred, &mut readings), [0, 1, 2, 3, 6], "a partition without claims waits for nobody");
        assert!(turns(&mut deferred, &mut readings).is_empty(), "every place is taken");
        readings.pass(STALLED_AFTER);
        readings.position(1, 50);
        assert_eq!(turns(&mut deferred, &mut readings), [4, 5], "two have stalled");
        readings.pass(STALLED_AFTER);
        readings.position(1, 90);
        assert_eq!(turns(&mut deferred, &mut readings), [0, 2], "and have their turn again");
        readings.position(1, 100);
        readings.pass(Duration::from_millis(1));
        assert_eq!(turns(&mut deferred, &mut readings), [3, 4], "a place that is free, and that of the last to stall");
        assert_eq!(deferred.len(), 1);
    }

    #[test]
    fn a_replay_goes_on_where_it_has_got_to() {
        let mut readings = Readings::default();
        readings.start(ReadFrom { ownership: ownership(1, 100), from: 0 });
        readings.position(1, 40);
        assert!(readings.stop_stalled().is_none(), "something came");
        readings.pass(STALLED_AFTER);
        assert_eq!(readings.stop_stalled().map(|read_from| read_from.from), Some(40));
        assert!(readings.is_empty());
    }
}
