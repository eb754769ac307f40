//! Partitions from which Kafka returns no record and no error, although the log holds more. There are two known causes. If a length in the
//! broker's log is damaged, librdkafka silently drops what it has fetched. If a topic is deleted and created again, librdkafka may keep the
//! leader epoch of the previous life, and every broker refuses to serve it. A new client cures the second, and costs a rebalance. Such a
//! partition looks like one that waits for its turn in a large backlog, so new clients are made at growing intervals. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::offset::{Offset, Partition};

/// How long a partition must be silent before a new client is made for it. The interval to the next one is double the last.
pub const NEW_CLIENT_AFTER: Duration = Duration::from_secs(10);
/// How often the interval is doubled at most: it ends at 640 seconds.
const DOUBLINGS_MAX: u32 = 6;

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

    /// How long a partition has been silent, as it was last observed.
    pub fn silent_for(&self, partition: Partition, now: Instant) -> Option<Duration> {
        self.0.get(&partition).map(|place| now - place.since)
    }
}

/// The new clients that were made because a partition was silent.
#[derive(Debug, Default)]
pub struct NewClients {
    /// How many there were. A long pause starts the count again.
    count: u32,
    last_at: Option<Instant>,
}

impl NewClients {
    /// Whether a partition that has been silent for `silent_for` is worth a new client.
    pub fn may_make(&self, silent_for: Duration, now: Instant) -> bool {
        silent_for >= NEW_CLIENT_AFTER && self.last_at.is_none_or(|last_at| now >= last_at + interval(self.count))
    }

    /// A new client was made.
    pub fn made(&mut self, now: Instant) {
        if self.last_at.is_some_and(|last_at| now >= last_at + 2 * interval(DOUBLINGS_MAX)) {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last_at = Some(now);
    }
}

fn interval(count: u32) -> Duration {
    NEW_CLIENT_AFTER * 2_u32.pow(count.min(DOUBLINGS_MAX))
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

    #[test]
    fn new_clients_are_made_at_growing_intervals() {
        let (mut clients, mut silence, start) = (NewClients::default(), Silence::default(), Instant::now());
        let (mut epoch, mut made_at) = (1, Vec::new());
        // the partition stays silent, and each new client takes it over again
        for second in 0..2_600 {
            let now = start + Duration::from_secs(second);
            silence.observe(3, (epoch, 7), true, NEW_CLIENT_AFTER, now);
            let silent_for = silence.silent_for(3, now).unwrap();
            if clients.may_make(silent_for, now) {
                clients.made(now);
                (epoch, made_at) = (epoch + 1, [made_at, vec![second]].concat());
            }
        }
        assert_eq!(made_at, [10, 30, 70, 150, 310, 630, 1_270, 1_910, 2_550]);
        let later = start + Duration::from_secs(2_550) + 2 * interval(DOUBLINGS_MAX);
        clients.made(later);
        assert!(!clients.may_make(NEW_CLIENT_AFTER, later + NEW_CLIENT_AFTER));
        assert!(clients.may_make(NEW_CLIENT_AFTER, later + 2 * NEW_CLIENT_AFTER), "the count began again");
        assert_eq!(silence.silent_for(4, later), None);
    }
}
