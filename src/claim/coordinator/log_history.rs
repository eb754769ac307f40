//! What is known of one partition's log over time: when an offset was first seen in it, how fast its start moves, and since when there is
//! lag without progress. Metrics read it; nothing is decided by it. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use footprint_protocol::offset::Offset;

/// Samples that are kept, at most. When there are more, every second one is dropped, so the last hours fit with less detail.
const SAMPLES_MAX: usize = 64;

/// The log at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// The offset of its first record.
    pub(super) start: Offset,
    /// The offset behind its last record that may be read.
    pub(super) end: Offset,
    /// When it was asked.
    pub(super) at: Instant,
    /// The same, by the time of day.
    pub(super) time: SystemTime,
}

/// The log over time; see the top of this file.
#[derive(Debug, Default)]
pub(super) struct LogHistory {
    samples: VecDeque<Sample>,
    /// The lowest frontier, and since when there is lag and it has not moved.
    lowest: Offset,
    stuck_since: Option<Instant>,
}

impl LogHistory {
    /// The log was asked.
    pub(super) fn add(&mut self, sample: Sample) {
        if self.samples.len() >= SAMPLES_MAX {
            let mut index = 0;
            // the first stays: it is the oldest sight of what is still not stored
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.samples.push_back(sample);
    }

    /// The log's end when it was last asked.
    pub(super) fn end(&self) -> Option<Offset> {
        self.samples.back().map(|sample| sample.end)
    }

    /// Every sink has stored what is below `lowest`. Forgets samples that say nothing about later offsets.
    pub(super) fn stored_below(&mut self, lowest: Offset, now: Instant) {
        let has_moved = std::mem::replace(&mut self.lowest, lowest) != lowest;
        let has_lag = self.end().is_some_and(|end| end > lowest);
        match (has_lag, has_moved) {
            (false, _) => self.stuck_since = None,
            (true, true) => self.stuck_since = Some(now),
            (true, false) => drop(self.stuck_since.get_or_insert(now)),
        }
    }

    /// Since when there is lag and no progress.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.stuck_since
    }

    /// When an offset was first seen in the log.
    pub(super) fn seen_at(&self, offset: Offset) -> Option<SystemTime> {
        self.samples.iter().find(|sample| sample.end > offset).map(|sample| sample.time)
    }

    /// When Kafka is estimated to delete the oldest record that is not stored, which it received at `received`: when the record is as old
    /// as `retention`, or when the log's start, at its present speed, reaches it. The sooner counts. None: there is no lag, or nothing
    /// limits the log.
    pub(super) fn overtaken_at(
        &self,
        received: Option<SystemTime>,
        retention: Option<Duration>,
        now: Sample,
    ) -> Option<Instant> {
        self.end().filter(|&end| end > self.lowest)?;
        let by_age = received.zip(retention).map(|(received, retention)| {
            let age = now.time.duration_since(received).unwrap_or_default();
            now.at + retention.saturating_sub(age)
        });
        by_age.into_iter().chain(self.start_arrives_at(now)).min()
    }

    /// When the log's start reaches the lowest frontier, if it goes on as it did since the oldest sample.
    fn start_arrives_at(&self, now: Sample) -> Option<Instant> {
        let first = self.samples.front()?;
        let moved = now.start.saturating_sub(first.start);
        let took = now.at.saturating_duration_since(first.at);
        if moved <= 0 || took.is_zero() {
            return None;
        }
        let left = self.lowest.saturating_sub(now.start).max(0);
        let seconds = left as f64 * took.as_secs_f64() / moved as f64;
        Duration::try_from_secs_f64(seconds).ok().and_then(|left| now.at.checked_add(left))
    }

    /// The last sample.
    pub(super) fn last(&self) -> Option<Sample> {
        self.samples.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks() -> impl Fn(u64, Offset, Offset) -> Sample {
        let (at, time) = (Instant::now(), SystemTime::now());
        move |second, start, end| {
            let passed = Duration::from_secs(second);
            Sample { start, end, at: at + passed, time: time + passed }
        }
    }

    #[test]
    fn an_offset_is_as_old_as_the_first_sight_of_it() {
        let sample = clocks();
        let mut history = LogHistory::default();
        assert_eq!(history.seen_at(0), None);
        for (second, end) in [(0, 10), (5, 10), (10, 20)] {
            history.add(sample(second, 0, end));
        }
        assert_eq!(history.seen_at(9), Some(sample(0, 0, 0).time));
        assert_eq!(history.seen_at(10), Some(sample(10, 0, 0).time));
        assert_eq!(history.seen_at(20), None);
        for second in 11..10_000 {
            history.add(sample(second, 0, 20 + second as i64));
            assert!(history.samples.len() <= SAMPLES_MAX);
        }
        assert_eq!(history.seen_at(9), Some(sample(0, 0, 0).time), "the oldest sight stays");
    }

    #[test]
    fn lag_without_progress_has_an_age() {
        let sample = clocks();
        let mut history = LogHistory::default();
        let at = |second| sample(second, 0, 0).at;
        history.stored_below(10, at(0));
        assert_eq!(history.stuck_since(), None, "the end is not known");
        history.add(sample(1, 0, 20));
        history.stored_below(10, at(1));
        history.stored_below(10, at(2));
        assert_eq!(history.stuck_since(), Some(at(1)));
        history.stored_below(15, at(3));
        history.stored_below(15, at(4));
        assert_eq!(history.stuck_since(), Some(at(3)), "there was progress");
        history.stored_below(20, at(5));
        assert_eq!(history.stuck_since(), None, "there is no lag");
        history.stored_below(20, at(90));
        history.add(sample(90, 0, 30));
        history.stored_below(20, at(91));
        assert_eq!(history.stuck_since(), Some(at(91)), "the quiet time before does not count");
    }

    #[test]
    fn retention_overtakes_by_age_or_by_the_speed_of_the_start() {
        let sample = clocks();
        let mut history = LogHistory::default();
        history.add(sample(0, 100, 1_000));
        history.stored_below(600, sample(0, 0, 0).at);
        let (received, day) = (sample(0, 0, 0).time, Duration::from_secs(86_400));
        let now = sample(100, 100, 1_000);
        assert_eq!(history.overtaken_at(None, None, now), None);
        assert_eq!(history.overtaken_at(Some(received), Some(day), now), Some(sample(86_400, 0, 0).at));
        // 100 offsets in 100 seconds, and 400 are left
        let now = sample(100, 200, 1_000);
        assert_eq!(history.overtaken_at(Some(received), Some(day), now), Some(sample(500, 0, 0).at));
        history.stored_below(1_000, now.at);
        assert_eq!(history.overtaken_at(Some(received), Some(day), now), None, "no lag");
    }
}
