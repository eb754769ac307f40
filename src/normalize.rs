//! A timestamp, RFC 3339 text or an integer -> UTC microseconds, or why not. Pure: the zone of a text without an offset is a
//! parameter, and nothing is guessed. The one thing cut off are fraction digits beyond the microsecond.
//!
//! | text                                   | is                                                           |
//! |----------------------------------------|--------------------------------------------------------------|
//! | `2024-05-06T07:08:09Z`                 | the instant; `t`, `z` and a space for `T` are the same       |
//! | `2024-05-06T07:08:09.123456789+09:00`  | the instant, fraction truncated to the microsecond           |
//! | `2024-05-06T07:08:09-0330`             | the instant; offsets are below 24:00, with or without colon  |
//! | `2024-05-06T07:08:09`                  | that time of day in the route's zone                         |
//! | anything else                          | refused                                                      |
//!
//! | integer `x`           | is epoch time in |
//! |-----------------------|------------------|
//! | \|x\| below 1e11      | seconds          |
//! | \|x\| below 1e14      | milliseconds     |
//! | larger                | microseconds     |
//!
//! The magnitude rule holds for both signs, so `-86400` is 1969-12-31. Its price: milliseconds between 1966-10-31 and
//! 1973-03-03 look like seconds, and microseconds like milliseconds. Most of them then lie outside [`INSTANT_MIN_US`] ..=
//! [`INSTANT_MAX_US`] and are refused; those within four months of 1970 are read as seconds, as the contract says.

use std::str::FromStr;

use chrono::{DateTime, MappedLocalTime, Offset, TimeZone};
use chrono_tz::Tz;

const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

/// The first instant both databases hold: 1900-01-01 00:00:00 UTC, ClickHouse's bound for `DateTime64(6)`. PostgreSQL
/// reaches from 4713 BC to 294276 AD.
pub const INSTANT_MIN_US: i64 = days_from_civil(1900, 1, 1) * DAY_S * SECOND_US;
/// The last instant both databases hold: 2299-12-31 23:59:59.999999 UTC.
pub const INSTANT_MAX_US: i64 = days_from_civil(2300, 1, 1) * DAY_S * SECOND_US - 1;

/// Integers below this, either sign, are seconds.
const SECONDS_BELOW: u64 = 100_000_000_000;
/// Integers below this, either sign, are milliseconds; others are microseconds.
const MILLISECONDS_BELOW: u64 = 100_000_000_000_000;

/// Why a timestamp is refused: the end of a sentence that starts with the field.
pub type Why = &'static str;

const NOT_A_TIME: Why = "is not RFC 3339 text such as 2024-05-06T07:08:09.123Z";
const NO_SUCH_DATE: Why = "names a date that does not exist";
const NO_SUCH_TIME: Why = "names a time of day that does not exist; hours end at 23, minutes and seconds at 59";
const NO_SUCH_OFFSET: Why = "names an offset that does not exist; offsets are below 24:00";
const BAD_FRACTION: Why = "has a fraction of no or more than 9 digits";
const BAD_OFFSET: Why = "has something after the time that is no offset; write Z, +09:00 or +0900";
const NO_OFFSET: Why = "has no offset";
const SKIPPED: Why = "names a local time that the clocks of the route's zone skipped";
const OUT_OF_RANGE: Why = "is outside 1900-01-01 to 2299-12-31, which is what both databases hold";

/// The zone of texts without an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Tz::UTC);

    /// The UTC second at which the zone's clocks show `local_s` (seconds since 1970-01-01 00:00:00 on those clocks): of two,
    /// the earlier.
    fn utc_of_local(self, local_s: i64) -> Result<i64, Why> {
        if self.0 == Tz::UTC {
            return Ok(local_s);
        }
        let local = DateTime::from_timestamp(local_s, 0).ok_or(OUT_OF_RANGE)?.naive_utc();
        match self.0.offset_from_local_datetime(&local) {
            MappedLocalTime::Single(offset) => Ok(local_s - i64::from(offset.fix().local_minus_utc())),
            MappedLocalTime::Ambiguous(one, other) => {
                let later_clock = one.fix().local_minus_utc().max(other.fix().local_minus_utc());
                Ok(local_s - i64::from(later_clock))
            }
            MappedLocalTime::None => Err(SKIPPED),
        }
    }
}

impl FromStr for Zone {
    type Err = chrono_tz::ParseError;

    /// A zone by its IANA name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.parse().map(Self)
    }
}

/// UTC microseconds of RFC 3339 text, or of the same without an offset in `zone`.
///
/// # Errors
/// Why the text is no instant, or none that both databases hold.
pub fn instant_of_text(text: impl AsRef<[u8]>, zone: Zone) -> Result<i64, Why> {
    let clock = Clock::read(text.as_ref())?;
    let utc_s = match clock.offset_s {
        Some(offset_s) => clock.local_s - offset_s,
        None => zone.utc_of_local(clock.local_s)?,
    };
    in_range(utc_s * SECOND_US + clock.fraction_us)
}

/// UTC microseconds of RFC 3339 text, which must carry its offset.
///
/// # Errors
/// Why the text is no instant, or none that both databases hold.
pub fn instant_of_text_with_offset(text: &str) -> Result<i64, Why> {
    let clock = Clock::read(text.as_bytes())?;
    let offset_s = clock.offset_s.ok_or(NO_OFFSET)?;
    in_range((clock.local_s - offset_s) * SECOND_US + clock.fraction_us)
}

/// UTC microseconds of an integer: epoch time, its unit by its magnitude.
///
/// # Errors
/// When one of the databases cannot hold the instant.
pub fn instant_of_integer(epoch: i64) -> Result<i64, Why> {
    let unit_us = match epoch.unsigned_abs() {
        0..SECONDS_BELOW => SECOND_US,
        SECONDS_BELOW..MILLISECONDS_BELOW => 1_000,
        MILLISECONDS_BELOW.. => 1,
    };
    in_range(epoch * unit_us)
}

/// When Kafka received a record, UTC microseconds, of its timestamp in milliseconds. A producer may set any timestamp, and a
/// bad one must not cost a good event: a negative one (-1 means none) becomes the epoch, one past [`INSTANT_MAX_US`] that.
pub fn received_at_us(timestamp_ms: i64) -> i64 {
    timestamp_ms.clamp(0, INSTANT_MAX_US / 1_000).saturating_mul(1_000)
}

fn in_range(instant_us: i64) -> Result<i64, Why> {
    if (INSTANT_MIN_US..=INSTANT_MAX_US).contains(&instant_us) { Ok(instant_us) } else { Err(OUT_OF_RANGE) }
}

/// What a text says, before anybody asks where on Earth.
struct Clock {
    /// Seconds from 1970-01-01 00:00:00 to the written date and time, as if it were UTC.
    local_s: i64,
    /// The written fraction, truncated. It counts forward also before 1970.
    fraction_us: i64,
    /// The written offset, east positive.
    offset_s: Option<i64>,
}

impl Clock {
    fn read(text: &[u8]) -> Result<Self, Why> {
        let (date_time, rest) = text.split_first_chunk::<19>().ok_or(NOT_A_TIME)?;
        let &[y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, b'T' | b't' | b' ', h0, h1, b':', m0, m1, b':', s0, s1] =
            date_time
        else {
            return Err(NOT_A_TIME);
        };
        let two = |tens, ones| number([tens, ones]).ok_or(NOT_A_TIME);
        let year = number([y0, y1, y2, y3]).ok_or(NOT_A_TIME)?;
        let (month, day) = (two(mo0, mo1)?, two(d0, d1)?);
        let (hour, minute, second) = (two(h0, h1)?, two(m0, m1)?, two(s0, s1)?);
        if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
            return Err(NO_SUCH_DATE);
        }
        if hour > 23 || minute > 59 || second > 59 {
            return Err(NO_SUCH_TIME);
        }
        let local_s = days_from_civil(year, month, day) * DAY_S + hour * 3_600 + minute * 60 + second;
        let (fraction_us, rest) = read_fraction(rest)?;
        Ok(Self { local_s, fraction_us, offset_s: read_offset(rest)? })
    }
}

/// `.` and 1 to 9 digits, or nothing: microseconds, and what follows.
fn read_fraction(text: &[u8]) -> Result<(i64, &[u8]), Why> {
    let Some((b'.', digits)) = text.split_first() else {
        return Ok((0, text));
    };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return Err(BAD_FRACTION);
    }
    let (digits, rest) = digits.split_at(length);
    let mut fraction_us = 0;
    for place in 0..6 {
        fraction_us = fraction_us * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    }
    Ok((fraction_us, rest))
}

/// `Z`, `+hh:mm`, `+hhmm`, or nothing: seconds east.
fn read_offset(text: &[u8]) -> Result<Option<i64>, Why> {
    let (sign, h0, h1, m0, m1) = match *text {
        [] => return Ok(None),
        [b'Z' | b'z'] => return Ok(Some(0)),
        [sign, h0, h1, b':', m0, m1] | [sign, h0, h1, m0, m1] => (sign, h0, h1, m0, m1),
        _ => return Err(BAD_OFFSET),
    };
    let hours = number([h0, h1]).ok_or(BAD_OFFSET)?;
    let minutes = number([m0, m1]).ok_or(BAD_OFFSET)?;
    if hours > 23 || minutes > 59 {
        return Err(NO_SUCH_OFFSET);
    }
    let east_s = hours * 3_600 + minutes * 60;
    match sign {
        b'+' => Ok(Some(east_s)),
        b'-' => Ok(Some(-east_s)),
        _ => Err(BAD_OFFSET),
    }
}

/// The number that ASCII digits write; none when one is no digit.
fn number<const LENGTH: usize>(digits: [u8; LENGTH]) -> Option<i64> {
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(value)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    /// Days from 0001-01-01 to 1970-01-01.
    const EPOCH: i64 = 719_162;
    let past = year - 1;
    let days_before_year = past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    let leap_day = (month > 2 && is_leap(year)) as i64;
    days_before_year + DAYS_BEFORE_MONTH[(month - 1) as usize] + leap_day + (day - 1) - EPOCH
}

#[cfg(test)]
mod tests;
