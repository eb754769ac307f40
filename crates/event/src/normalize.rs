//! Turns a timestamp, RFC 3339 text or an integer, into UTC microseconds, or says why not. Pure: the zone of a text without an
//! offset is a parameter, and nothing is guessed. Only fraction digits beyond the microsecond are cut off.
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
//! The magnitude rule holds for both signs, so `-86400` is 1969-12-31. It has a price: milliseconds between 1966-10-31 and
//! 1973-03-03 look like seconds, and microseconds look like milliseconds. Most of them are then outside `INSTANT_MIN_US` ..=
//! [`INSTANT_MAX_US`] and are refused. Those within four months of 1970 are read as seconds, as the contract says.

use std::str::FromStr;

use chrono::{DateTime, MappedLocalTime, Offset, TimeZone};
use chrono_tz::Tz;

const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

/// The first instant that both databases hold: 1900-01-01 00:00:00 UTC, ClickHouse's bound for `DateTime64(6)`. PostgreSQL holds
/// 4713 BC to 294276 AD.
pub(crate) const INSTANT_MIN_US: i64 = days_from_civil(1900, 1, 1) * DAY_S * SECOND_US;
/// The last instant that both databases hold: 2299-12-31 23:59:59.999999 UTC.
pub const INSTANT_MAX_US: i64 = days_from_civil(2300, 1, 1) * DAY_S * SECOND_US - 1;

/// Integers with a magnitude below this are seconds.
const SECONDS_BELOW: u64 = 100_000_000_000;
/// Integers with a magnitude below this are milliseconds. Others are microseconds.
const MILLISECONDS_BELOW: u64 = 100_000_000_000_000;

/// Why a timestamp is refused, as the end of a sentence that starts with the field.
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

    /// The UTC second at which the zone's clocks show `local_s` (seconds since 1970-01-01 00:00:00 on those clocks). If there are
    /// two, the earlier one.
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
/// Why the text is not an instant that both databases hold.
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
/// Why the text is not an instant that both databases hold.
pub fn instant_of_text_with_offset(text: &str) -> Result<i64, Why> {
    let clock = Clock::read(text.as_bytes())?;
    let offset_s = clock.offset_s.ok_or(NO_OFFSET)?;
    in_range((clock.local_s - offset_s) * SECOND_US + clock.fraction_us)
}

/// UTC microseconds of an integer: epoch time, with the unit by its magnitude.
///
/// # Errors
/// One of the databases cannot hold the instant.
pub fn instant_of_integer(epoch: i64) -> Result<i64, Why> {
    let unit_us = match epoch.unsigned_abs() {
        0..SECONDS_BELOW => SECOND_US,
        SECONDS_BELOW..MILLISECONDS_BELOW => 1_000,
        MILLISECONDS_BELOW.. => 1,
    };
    in_range(epoch * unit_us)
}

/// When Kafka received a record, in UTC microseconds, from its timestamp in milliseconds. A producer may set any timestamp, and a
/// bad one must not reject a good event. A negative timestamp (-1 means none) becomes the epoch, and one past [`INSTANT_MAX_US`]
/// becomes that.
pub fn received_at_us(timestamp_ms: i64) -> i64 {
    timestamp_ms.clamp(0, INSTANT_MAX_US / 1_000).saturating_mul(1_000)
}

fn in_range(instant_us: i64) -> Result<i64, Why> {
    if (INSTANT_MIN_US..=INSTANT_MAX_US).contains(&instant_us) { Ok(instant_us) } else { Err(OUT_OF_RANGE) }
}

/// The content of a text, before its zone is known.
struct Clock {
    /// Seconds from 1970-01-01 00:00:00 to the written date and time, as if it were UTC.
    local_s: i64,
    /// The written fraction, truncated. It counts forward even before 1970.
    fraction_us: i64,
    /// The written offset, east positive.
    offset_s: Option<i64>,
}

impl Clock {
    fn read(text: &[u8]) -> Result<Self, Why> {
        let (year_and_month, text) = text.split_first_chunk().ok_or(NOT_A_TIME)?;
        let (&[day_tens, day_ones, b'T' | b't' | b' '], text) = text.split_first_chunk().ok_or(NOT_A_TIME)? else {
            return Err(NOT_A_TIME);
        };
        let (time, rest) = text.split_first_chunk().ok_or(NOT_A_TIME)?;
        let [century, _, year, _, _, month, ..] = numbers(*year_and_month, *b"0000-00-").ok_or(NOT_A_TIME)?;
        let (year, day) = (century * 100 + year, number([day_tens, day_ones]).ok_or(NOT_A_TIME)?);
        let [hour, _, _, minute, _, _, second, _] = numbers(*time, *b"00:00:00").ok_or(NOT_A_TIME)?;
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

/// Reads eight characters: digits where `layout` has a zero, and `layout`'s own characters elsewhere. Returns, for each place,
/// the number of the two digits that start there. All eight are read at once, each in a lane of one number.
#[inline]
fn numbers(text: [u8; 8], layout: [u8; 8]) -> Option<[i64; 8]> {
    // a digit sets no upper bit, not even with six added, where 10 to 15 would; other characters must set no bit at all
    let (mut bits, mut six) = ([0xff; 8], [0; 8]);
    for (place, _) in layout.iter().enumerate().filter(|&(_, &byte)| byte == b'0') {
        (bits[place], six[place]) = (0xf0, 6);
    }
    let digits = u64::from_le_bytes(text) ^ u64::from_le_bytes(layout);
    if (digits | digits.wrapping_add(u64::from_le_bytes(six))) & u64::from_le_bytes(bits) != 0 {
        return None;
    }
    Some((digits * 10 + (digits >> 8)).to_le_bytes().map(i64::from))
}

/// Digits of a fraction, at most.
const NANOSECOND_DIGITS: usize = 9;

/// `.` and 1 to 9 digits, or nothing. Returns microseconds, and the rest of the text.
fn read_fraction(text: &[u8]) -> Result<(i64, &[u8]), Why> {
    let Some((b'.', digits)) = text.split_first() else {
        return Ok((0, text));
    };
    let (mut value, mut length) = (0_u32, 0);
    while let Some(digit) = digits.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit <= 9) {
        if length == NANOSECOND_DIGITS {
            return Err(BAD_FRACTION);
        }
        value = value * 10 + u32::from(digit);
        length += 1;
    }
    if length == 0 {
        return Err(BAD_FRACTION);
    }
    let nanoseconds = value * 10_u32.pow((NANOSECOND_DIGITS - length) as u32);
    Ok((i64::from(nanoseconds / 1_000), &digits[length..]))
}

/// `Z`, `+hh:mm`, `+hhmm`, or nothing. Returns seconds east.
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

/// The number in ASCII digits. None: one of them is not a digit.
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
    let year = year as u32;
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Years are 0 to 9999.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    /// The calendar repeats after this number of years.
    const CYCLE: u32 = 400;
    /// Days from the first of January of the year 1, a cycle earlier, to 1970-01-01.
    const EPOCH: i64 = 719_162 + 146_097;
    // one more cycle, so that no number is negative: such divisions are cheap
    let past = year as u32 + CYCLE - 1;
    let days_before_year = past * 365 + past / 4 - past / 100 + past / 400;
    let leap_day = (month > 2 && is_leap(year)) as i64;
    days_before_year as i64 + DAYS_BEFORE_MONTH[(month - 1) as usize] + leap_day + (day - 1) - EPOCH
}

#[cfg(test)]
mod tests;
