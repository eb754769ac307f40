//! The months in which Kafka received a batch's records. ClickHouse's table is partitioned by that month. So one insert makes one
//! part for each month, and ClickHouse syncs each part separately. Producers set these times, and their clocks may say anything.
//! Pure.

use std::ops::Range;

use footprint_event::normalize::received_at_us;

const DAY_MS: i64 = 86_400_000;
/// Days of 400 years, after which the calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;

/// The distinct months of a batch.
#[derive(Debug, Default)]
pub(super) struct Months {
    /// Months since the year 0, rising.
    seen: Vec<i32>,
    /// The month of the last record, milliseconds since the epoch.
    current: Range<i64>,
}

impl Months {
    /// Notes the month of a record. False: the month is new, the batch has `max` months already, and nothing was noted.
    pub(super) fn note(&mut self, timestamp_ms: i64, max: usize) -> bool {
        if self.current.contains(&timestamp_ms) {
            return true;
        }
        let month = Month::of(received_at_us(timestamp_ms) / 1_000);
        if let Err(place) = self.seen.binary_search(&month.number) {
            if self.seen.len() >= max {
                return false;
            }
            self.seen.insert(place, month.number);
        }
        self.current = month.span_ms;
        true
    }

    /// Starts a new batch, without any month.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
        self.current = 0..0;
    }
}

struct Month {
    number: i32,
    span_ms: Range<i64>,
}

impl Month {
    /// The month in UTC. `time_ms` is not before the epoch.
    fn of(time_ms: i64) -> Self {
        // the calendar is counted from 1 March of the year 0, so that the leap day is the last day of a year
        let day = time_ms / DAY_MS + 719_468;
        let (era, of_era) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day_of_month = of_year - (153 * march_month + 2) / 5;
        // March is 0: months 10 and 11 are January and February of the next year
        let number = (era * 400 + year_of_era) * 12 + march_month;
        let start = (time_ms / DAY_MS - day_of_month) * DAY_MS;
        // every month has 28 days; a later day is computed again
        Self { number: number as i32, span_ms: start..start + 28 * DAY_MS }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike as _};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// chrono says which month it is.
        #[test]
        fn a_time_is_in_the_month_that_the_calendar_says(time_ms in 0..10_413_791_999_999_i64) {
            let month = Month::of(time_ms);
            let of = |time_ms| DateTime::from_timestamp_millis(time_ms).unwrap();
            let number = |time_ms| of(time_ms).year() * 12 + of(time_ms).month0() as i32 - 2;
            prop_assert_eq!(month.number, number(time_ms));
            prop_assert_eq!(number(month.span_ms.start), month.number);
            prop_assert_eq!(number(month.span_ms.end - 1), month.number);
            prop_assert_eq!(of(month.span_ms.start).day(), 1);
        }
    }

    #[test]
    fn no_month_past_the_limit_is_taken_and_those_seen_are() {
        let month_ms = 31 * DAY_MS;
        let mut months = Months::default();
        for number in [0, 1, 0, 1, 1] {
            assert!(months.note(number * month_ms, 2));
        }
        assert!(!months.note(2 * month_ms, 2));
        assert!(months.note(month_ms + 1, 2), "a month that is there already");
        assert!(months.note(-1, 2), "a record without a time is in the epoch's month");
        months.clear();
        assert!(months.note(2 * month_ms, 1) && !months.note(0, 1));
    }
}
