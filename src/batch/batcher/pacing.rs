//! When incomplete batches are cut. They are cut one at a time and no faster than the pace, so that the databases get few large
//! writes instead of many small ones. If the log holds more records for a batch, it also waits in proportion to the rows of the
//! previous batches. So the first batch of a backlog is small and is stored soon, and the later ones grow until they are full.
//! Pure.

use std::time::{Duration, Instant};

/// Full batches delay an incomplete one by this long at most. Growth also ends this long after its first record.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// During a backlog, an incomplete batch waits this long for each row of the previous batch. It is about twice as long as a
/// database takes to store the row, so that each batch is larger than the previous one even if the reader is not much faster.
const ROW_TIME: Duration = Duration::from_micros(2);
/// During a backlog, an incomplete batch waits at least this long after the previous one. ClickHouse saves more with fewer and
/// larger batches than the wait costs.
const GROWTH_MIN: Duration = Duration::from_millis(200);

/// What decides, besides the linger, when an incomplete batch is cut.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The time between two cuts. With many partitions it grows, and so do the batches.
    pub interval: Duration,
    /// Which batches the writers can use.
    pub room: Room,
}

/// Which incomplete batches the writers can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// None: enough batches are under way.
    None,
    /// Only a batch that holds all records that the log has. Enough rows are under way, so a batch should grow while the log
    /// holds more for it.
    Rest,
    /// Any batch.
    Any,
}

/// The times that follow from the last batches.
#[derive(Default)]
pub(super) struct Pacing {
    /// Full batches delay every incomplete one until then.
    full_until: Option<Instant>,
    /// A batch for which the log holds more is not cut before then either.
    grow_until: Option<Instant>,
    /// When the last incomplete batch was cut, or the first could have been.
    cut_at: Option<Instant>,
}

impl Pacing {
    /// When a batch may be cut that has waited since `since`. `grows`: the log holds more for it. `interval` is the present pace.
    /// It was different at the last cut if fewer partitions were ours then.
    pub(super) fn due(&self, since: Instant, linger: Duration, interval: Duration, grows: bool) -> Instant {
        let grown = self.grow_until.filter(|_| grows).map(|until| until.min(since + DELAY_MAX));
        let paced = self.cut_at.map(|at| at + interval);
        [paced, self.full_until, grown].into_iter().flatten().fold(since + linger, Instant::max)
    }

    /// A full batch was sent on. The next incomplete one waits a little longer, but at most a second.
    pub(super) fn note_full(&mut self, rows: usize, pace: Pace, now: Instant) {
        let paced = self.cut_at.map(|at| at + pace.interval);
        let latest = *self.cut_at.get_or_insert(now) + DELAY_MAX;
        let before = [paced, self.full_until].into_iter().flatten().fold(now, Instant::max);
        self.full_until = Some((before + pace.interval).min(latest));
        self.note_rows(rows, GROWTH_MIN, now);
    }

    /// An incomplete batch was cut. `grows`: the log holds more of its partition.
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
        assert_eq!(pacing.due(now, LINGER, PACE.interval, true), now + LINGER, "no batch was sent on yet");
        pacing.note_cut(80_000, true, now);
        assert_eq!(pacing.due(now, LINGER, PACE.interval, true), now + GROWTH_MIN, "at least");
        pacing.note_cut(300_000, true, now);
        assert_eq!(pacing.due(now, LINGER, PACE.interval, true), now + Duration::from_millis(600));
        assert_eq!(
            pacing.due(now, LINGER, PACE.interval, false),
            now + PACE.interval,
            "it holds all records of the log"
        );
        pacing.note_cut(10, true, now);
        assert_eq!(
            pacing.due(now, LINGER, PACE.interval, true),
            now + Duration::from_millis(600),
            "a small batch does not shorten the wait"
        );
    }

    /// The story: when a consumer joined, the partitions that were a little behind waited for a second, because complete batches
    /// of other partitions were sent on all the time.
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

    /// The story: of 200 partitions one was taken over first. Its first batch was cut at the pace of a consumer with one of 200
    /// partitions. The others came a moment later and waited for ten seconds.
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
