//! Partitions from which Kafka returns no record and no error, although the log holds more. If a length in the broker's log is damaged,
//! librdkafka silently drops what it has fetched. Such a partition looks like one that waits for its turn in a large backlog, so it is only
//! reported. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::offset::{Offset, Partition};

/// The partitions from which nothing comes: where each one is, and since when.
#[derive(Debug, Default)]
pub struct Silence(BTreeMap<Partition, Place>);

#[derive(Debug)]
struct Place {
    /// The epoch, and the offset below which everything is stored.
    at: (i64, Offset),
    since: Instant,
    is_reported: bool,
}

impl Silence {
    /// Observes a partition. `at` is its epoch, and the offset below which everything is stored. `is_waiting` says that the log holds
    /// more, that there is room for it, and that nothing of the partition is in flight. If the partition has been at the same place for
    /// `after` or longer, returns for how long. It does this once until the partition moves.
    pub fn observe(
        &mut self,
        partition: Partition,
        at: (i64, Offset),
        is_waiting: bool,
        after: Duration,
        now: Instant,
    ) -> Option<Duration> {
        if !is_waiting {
            self.0.remove(&partition);
            return None;
        }
        let place = self.0.entry(partition).or_insert(Place { at, since: now, is_reported: false });
        if place.at != at {
            *place = Place { at, since: now, is_reported: false };
        }
        let silent_for = now - place.since;
        let reports = silent_for >= after && !place.is_reported;
        place.is_reported |= reports;
        reports.then_some(silent_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_silent_is_reported_once_until_it_moves() {
        const AFTER: Duration = Duration::from_secs(60);
        let (mut silence, start) = (Silence::default(), Instant::now());
        let mut observe_at =
            |at, is_waiting, second| silence.observe(3, at, is_waiting, AFTER, start + Duration::from_secs(second));
        let mut observe = |next, is_waiting, second| observe_at((1, next), is_waiting, second);
        assert_eq!(observe(7, true, 0), None);
        assert_eq!(observe(7, true, 59), None);
        assert_eq!(observe(7, true, 65), Some(Duration::from_secs(65)));
        assert_eq!(observe(7, true, 130), None, "said already");
        assert_eq!(observe(9, true, 131), None, "it has moved");
        assert_eq!(observe(9, true, 191), Some(AFTER));
        assert_eq!(observe(9, false, 192), None);
        assert_eq!(observe(9, true, 300), None, "it had not to wait meanwhile");
        assert_eq!(observe_at((2, 9), true, 400), None, "it was somebody else's meanwhile");
        assert_eq!(observe_at((2, 9), true, 460), Some(AFTER));
    }
}
