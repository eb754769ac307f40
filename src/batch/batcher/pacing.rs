//! When incomplete batches go on. They are cut one at a time and no faster than the pace, so that the databases see few large
//! writes instead of many small ones; where the log holds more for a batch, it also waits in proportion to what went on before
//! it. So with a backlog the first batch is small and soon with the databases, and those after it grow until they are full.
//! Pure.

use std::time::{Duration, Instant};

/// Full batches put an incomplete one off by so much at most, and growth no longer than that after its first record.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// What a row that went on puts the next incomplete batch off by, where the log holds more for that: about twice as long as a
/// database takes to store it, so that each batch is larger than the one before also where the reader is not much faster.
const ROW_TIME: Duration = Duration::from_micros(2);
/// What a batch of a backlog that went on puts the next one off by at least: fewer and larger ones cost ClickHouse less than it
/// costs to let it wait.
const GROWTH_MIN: Duration = Duration::from_millis(200);

/// What incomplete batches have to heed beside their linger.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The time between two cuts: with many partitions the linger grows, and with it the batches.
    pub interval: Duration,
    /// What the writers have use for.
    pub room: Room,
}

/// What the writers have use for beside full batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: batches enough are on their way.
    None,
    /// A batch that holds all there is. Rows enough are on their way, so one that the log holds more for had better grow.
    Rest,
    /// Any batch.
    Any,
}

/// What went on lately.
#[derive(Default)]
pub(super) struct Pacing {
    /// Full batches put an incomplete one off until then.
    full_until: Option<Instant>,
    /// None that the log holds more for is cut before, either.
    grow_until: Option<Instant>,
    /// When the last incomplete one was cut, or the first one could have been.
    cut_at: Option<Instant>,
}

impl Pacing {
    /// When a batch may be cut that waits since `since`; `grows`: the log holds more for it. The interval is the present one:
    /// that of the last cut was another, where fewer partitions were ours.
    pub(super) fn due(&self, since: Instant, linger: Duration, interval: Duration, grows: bool) -> Instant {
        let grown = self.grow_until.filter(|_| grows).map(|until| until.min(since + DELAY_MAX));
        let paced = self.cut_at.map(|at| at + interval);
        [paced, self.full_until, grown].into_iter().flatten().fold(since + linger, Instant::max)
    }

    /// A full batch went on: the next incomplete one waits a little longer, but no longer than a second.
    pub(super) fn note_full(&mut self, rows: usize, pace: Pace, now: Instant) {
        let paced = self.cut_at.map(|at| at + pace.interval);
        let latest = *self.cut_at.get_or_insert(now) + DELAY_MAX;
        let before = [paced, self.full_until].into_iter().flatten().fold(now, Instant::max);
        self.full_until = Some((before + pace.interval).min(latest));
        self.note_rows(rows, GROWTH_MIN, now);
    }

    /// An incomplete batch was cut; `grows`: the log holds more of its partition.
    pub(super) fn note_cut(&mut self, rows: usize, grows: bool, now: Instant) {
        self.cut_at = Some(now);
        self.full_until = None;
        self.note_rows(rows, if grows { GROWTH_MIN } else { Duration::ZERO }, now);
    }

    fn note_rows(&mut self, rows: usize, least: Duration, now: Instant) {
        let until = now + least.max(ROW_TIME * u32::try_from(rows).unwrap_or(u32::MAX));
        self.grow_until = self.grow_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(10);
    const PACE: Pace = Pace { interval: Duration::from_millis(50), room: Room::Any };

    #[test]
    fn a_batch_that_grows_waits_for_two_microseconds_a_row_that_went_on() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        assert_eq!(pacing.due(now, LINGER, PACE.interval, true), now + LINGER, "nothing went on yet");
        pacing.note_cut(80_000, true, now);
        assert_eq!(pacing.due(now, LINGER, PACE.interval, true), now + GROWTH_MIN, "at least");
        pacing.note_cut(300_000, true, now);
        assert_eq!(pacing.due(now, LINGER, PACE.interval, true), now + Duration::from_millis(600));
        assert_eq!(pacing.due(now, LINGER, PACE.interval, false), now + PACE.interval, "it holds all there is");
        pacing.note_cut(10, true, now);
        assert_eq!(
            pacing.due(now, LINGER, PACE.interval, true),
            now + Duration::from_millis(600),
            "a small one shortens nothing"
        );
    }

    /// The story: when a consumer joined, those partitions that were a little behind waited a second for the company of others,
    /// whose complete batches went on all the time.
    #[test]
    fn what_holds_all_there_is_puts_a_batch_that_grows_off_by_its_rows_alone() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        pacing.note_cut(1_000, false, now);
        assert_eq!(
            pacing.due(now, Duration::ZERO, PACE.interval, true),
            now + PACE.interval,
            "2 ms for its rows are less"
        );
    }

    /// The story: of 200 partitions one was taken over first, and its first batch cut at the pace of whoever has one of 200: the
    /// others, which came a moment later, waited for ten seconds.
    #[test]
    fn the_pace_is_the_present_one() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        pacing.note_cut(10, false, now);
        for interval in [Duration::from_secs(10), PACE.interval] {
            assert_eq!(pacing.due(now, LINGER, interval, false), now + interval);
        }
    }

    #[test]
    fn growth_ends_a_second_after_the_first_record() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        for _ in 0..100 {
            pacing.note_full(usize::MAX, PACE, now);
        }
        assert_eq!(pacing.due(now, LINGER, PACE.interval, true), now + DELAY_MAX);
    }
}
