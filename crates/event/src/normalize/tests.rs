//! What becomes an instant, and what never does. The oracles are slow and work in another way: chrono's calendar for the date and
//! time, a comparison of shapes for the grammar, and for zones a search of the UTC seconds that show a local time.

use chrono::{FixedOffset, NaiveDate};
use proptest::prelude::*;

use super::*;

fn utc(text: &str) -> Result<i64, Why> {
    instant_of_text(text, Zone::UTC)
}

fn in_zone(text: &str, zone: &str) -> Result<i64, Why> {
    instant_of_text(text, zone.parse().unwrap())
}

#[test]
fn every_spelling_of_an_instant_is_the_same_instant() {
    let expected = Ok(1_714_979_289_123_000);
    for text in [
        "2024-05-06T07:08:09.123Z",
        "2024-05-06t07:08:09.123z",
        "2024-05-06 07:08:09.123Z",
        "2024-05-06T07:08:09.123",
        "2024-05-06T16:08:09.123+09:00",
        "2024-05-06T16:08:09.123+0900",
        "2024-05-06T03:38:09.123-03:30",
        "2024-05-06T03:38:09.123000999-0330",
        "2024-05-06T07:08:09.123-00:00",
        "2024-05-07T07:07:09.1230+23:59",
    ] {
        assert_eq!(utc(text), expected, "{text}");
    }
}

#[test]
fn fractions_are_truncated_to_the_microsecond_also_before_1970() {
    for (text, expected) in [
        ("2024-05-06T07:08:09Z", 1_714_979_289_000_000),
        ("2024-05-06T07:08:09.0Z", 1_714_979_289_000_000),
        ("2024-05-06T07:08:09.5Z", 1_714_979_289_500_000),
        ("2024-05-06T07:08:09.000001Z", 1_714_979_289_000_001),
        ("2024-05-06T07:08:09.0000019Z", 1_714_979_289_000_001),
        ("2024-05-06T07:08:09.999999999Z", 1_714_979_289_999_999),
        // the written digits are cut, and not the number: one microsecond before 1970, not two
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("1969-12-31T23:59:59.9Z", -100_000),
    ] {
        assert_eq!(utc(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_time_is_refused_and_told_why() {
    for (why, texts) in [
        (
            NOT_A_TIME,
            [
                "",
                "yesterday",
                "2024-05-06",
                "2024-05-06T07:08Z",
                "24-05-06T07:08:09Z",
                "+2024-05-06T07:08:09Z",
                "02024-05-06T07:08:09Z",
                "2024-5-6T07:08:09Z",
                "2024/05/06T07:08:09Z",
                "2024-05-06_07:08:09Z",
                "2024-05-06T07.08.09Z",
                " 2024-05-06T07:08:09Z",
                "2024-05-06  07:08:09Z",
                "1714979289",
                "-024-05-06T07:08:09Z",
                "２024-05-06T07:08:09Z",
                "2024-05-06T07:08:+9Z",
                "20240506T070809Z",
            ]
            .as_slice(),
        ),
        (
            NO_SUCH_DATE,
            &[
                "2024-02-30T00:00:00Z",
                "2023-02-29T00:00:00Z",
                "1900-02-29T00:00:00Z",
                "2024-13-01T00:00:00Z",
                "2024-00-01T00:00:00Z",
                "2024-01-00T00:00:00Z",
                "2024-04-31T00:00:00Z",
                "2024-01-32T00:00:00Z",
            ],
        ),
        (
            NO_SUCH_TIME,
            &["2024-05-06T24:00:00Z", "2024-05-06T23:60:00Z", "2016-12-31T23:59:60Z", "2024-05-06T99:99:99Z"],
        ),
        (
            BAD_FRACTION,
            &[
                "2024-05-06T07:08:09.Z",
                "2024-05-06T07:08:09.",
                "2024-05-06T07:08:09.+09:00",
                "2024-05-06T07:08:09.1234567890Z",
            ],
        ),
        (NO_SUCH_OFFSET, &["2024-05-06T07:08:09+99:00", "2024-05-06T07:08:09+24:00", "2024-05-06T07:08:09-0960"]),
        (
            BAD_OFFSET,
            &[
                "2024-05-06T07:08:09ZZ",
                "2024-05-06T07:08:09Z ",
                "2024-05-06T07:08:09 Z",
                "2024-05-06T07:08:09+09",
                "2024-05-06T07:08:09+9:00",
                "2024-05-06T07:08:09+090",
                "2024-05-06T07:08:09+09:00:00",
                "2024-05-06T07:08:09,5Z",
                "2024-05-06T07:08:09 09:00",
                "2024-05-06T07:08:09\u{2212}09:00",
                "2024-05-06T07:08:09.5UTC",
                "2024-05-06T07:08:09\0",
                "2024-05-06T07:08:09+0a:00",
            ],
        ),
        (
            OUT_OF_RANGE,
            &[
                "0000-01-01T00:00:00Z",
                "0001-01-01T00:00:00Z",
                "1899-12-31T23:59:59.999999Z",
                "1900-01-01T00:00:00+00:01",
                "2300-01-01T00:00:00Z",
                "2299-12-31T23:59:59-0001",
                "9999-12-31T23:59:59Z",
            ],
        ),
    ] {
        for text in texts {
            assert_eq!(utc(text), Err(why), "{text}");
            assert!(instant_of_text_with_offset(text).is_err(), "{text}");
        }
    }
}

#[test]
fn the_bounds_are_those_of_both_databases() {
    assert_eq!(utc("1900-01-01T00:00:00Z"), Ok(INSTANT_MIN_US));
    assert_eq!(utc("1900-01-01T09:00:00+09:00"), Ok(INSTANT_MIN_US));
    assert_eq!(utc("2299-12-31T23:59:59.9999999Z"), Ok(INSTANT_MAX_US));
    assert_eq!(utc("2300-01-01T08:59:59.999999+09:00"), Ok(INSTANT_MAX_US));
    assert_eq!((INSTANT_MIN_US, INSTANT_MAX_US), (-2_208_988_800_000_000, 10_413_791_999_999_999));
}

#[test]
fn an_integer_is_epoch_time_by_its_magnitude() {
    for (epoch, expected) in [
        (0, Ok(0)),
        (1, Ok(1_000_000)),
        (-1, Ok(-1_000_000)),
        (1_714_979_289, Ok(1_714_979_289_000_000)),
        (1_714_979_289_123, Ok(1_714_979_289_123_000)),
        (1_714_979_289_123_456, Ok(1_714_979_289_123_456)),
        (-2_208_988_800, Ok(INSTANT_MIN_US)),
        (-2_208_988_801, Err(OUT_OF_RANGE)),
        (10_413_791_999, Ok(INSTANT_MAX_US - 999_999)),
        (10_413_792_000, Err(OUT_OF_RANGE)),
        // the last second by magnitude is in the year 5138, the first millisecond in 1973
        (99_999_999_999, Err(OUT_OF_RANGE)),
        (100_000_000_000, Ok(100_000_000_000_000)),
        (-100_000_000_000, Ok(-100_000_000_000_000)),
        (10_413_791_999_999, Ok(INSTANT_MAX_US - 999)),
        (99_999_999_999_999, Err(OUT_OF_RANGE)),
        (100_000_000_000_000, Ok(100_000_000_000_000)),
        (INSTANT_MAX_US, Ok(INSTANT_MAX_US)),
        (INSTANT_MAX_US + 1, Err(OUT_OF_RANGE)),
        (INSTANT_MIN_US, Ok(INSTANT_MIN_US)),
        (INSTANT_MIN_US - 1, Err(OUT_OF_RANGE)),
        (i64::MAX, Err(OUT_OF_RANGE)),
        (i64::MIN, Err(OUT_OF_RANGE)),
    ] {
        assert_eq!(instant_of_integer(epoch), expected, "{epoch}");
    }
}

#[test]
fn kafkas_timestamp_never_costs_an_event() {
    for (timestamp_ms, expected) in [
        (1_714_979_289_123, 1_714_979_289_123_000),
        (0, 0),
        (-1, 0),
        (i64::MIN, 0),
        (10_413_791_999_999, INSTANT_MAX_US - 999),
        (i64::MAX, INSTANT_MAX_US - 999),
    ] {
        assert_eq!(received_at_us(timestamp_ms), expected, "{timestamp_ms}");
    }
}

#[test]
fn a_text_without_an_offset_is_in_the_routes_zone() {
    let same = utc("2024-05-06T07:08:09.5Z");
    assert_eq!(in_zone("2024-05-06T16:08:09.5", "Asia/Seoul"), same);
    assert_eq!(in_zone("2024-05-06T03:08:09.5", "America/New_York"), same);
    // an offset wins over the zone
    assert_eq!(in_zone("2024-05-06T07:08:09.5Z", "Asia/Seoul"), same);
    // Seoul kept summer time in 1988: clocks showed UTC+10
    assert_eq!(in_zone("1988-07-01T10:00:00", "Asia/Seoul"), utc("1988-07-01T00:00:00Z"));
    // and local mean time before 1908: +08:27:52
    assert_eq!(in_zone("1905-01-01T08:27:52", "Asia/Seoul"), utc("1905-01-01T00:00:00Z"));
    assert_eq!(instant_of_text_with_offset("2024-05-06T16:08:09.5"), Err(NO_OFFSET));
    assert_eq!(in_zone("1900-01-01T00:00:00", "Asia/Seoul"), Err(OUT_OF_RANGE));
}

#[test]
fn a_skipped_hour_is_refused_and_of_a_repeated_one_the_earlier_is_meant() {
    for (zone, text, expected) in [
        ("America/New_York", "2024-03-10T01:59:59", Ok("2024-03-10T06:59:59Z")),
        ("America/New_York", "2024-03-10T02:00:00", Err(SKIPPED)),
        ("America/New_York", "2024-03-10T02:59:59.999999", Err(SKIPPED)),
        ("America/New_York", "2024-03-10T03:00:00", Ok("2024-03-10T07:00:00Z")),
        ("America/New_York", "2024-11-03T00:59:59", Ok("2024-11-03T04:59:59Z")),
        ("America/New_York", "2024-11-03T01:00:00", Ok("2024-11-03T05:00:00Z")),
        ("America/New_York", "2024-11-03T01:59:59.5", Ok("2024-11-03T05:59:59.5Z")),
        ("America/New_York", "2024-11-03T02:00:00", Ok("2024-11-03T07:00:00Z")),
        // Lord Howe moves by half an hour
        ("Australia/Lord_Howe", "2024-10-06T01:59:59", Ok("2024-10-05T15:29:59Z")),
        ("Australia/Lord_Howe", "2024-10-06T02:00:00", Err(SKIPPED)),
        ("Australia/Lord_Howe", "2024-10-06T02:29:59", Err(SKIPPED)),
        ("Australia/Lord_Howe", "2024-10-06T02:30:00", Ok("2024-10-05T15:30:00Z")),
        ("Australia/Lord_Howe", "2024-04-07T01:30:00", Ok("2024-04-06T14:30:00Z")),
        ("Australia/Lord_Howe", "2024-04-07T01:59:59", Ok("2024-04-06T14:59:59Z")),
        ("Australia/Lord_Howe", "2024-04-07T02:00:00", Ok("2024-04-06T15:30:00Z")),
        ("Asia/Seoul", "1988-05-08T02:30:00", Err(SKIPPED)),
        // Samoa skipped a whole day
        ("Pacific/Apia", "2011-12-30T12:00:00", Err(SKIPPED)),
    ] {
        assert_eq!(in_zone(text, zone), expected.map(|text| utc(text).unwrap()), "{text} in {zone}");
    }
}

/// The earliest UTC second that shows `local_s` on the zone's clocks. It asks only for the offset at an instant.
fn slow_utc_of_local(zone: Tz, local_s: i64) -> Option<i64> {
    let offset_at = |utc_s: i64| {
        let instant = DateTime::from_timestamp(utc_s, 0).unwrap().naive_utc();
        i64::from(zone.offset_from_utc_datetime(&instant).fix().local_minus_utc())
    };
    let nearby = (-30..=30).map(|hour| offset_at(local_s + hour * 3_600));
    nearby.map(|offset_s| local_s - offset_s).filter(|&utc_s| utc_s + offset_at(utc_s) == local_s).min()
}

#[test]
fn around_every_change_of_the_clocks_the_zone_agrees_with_the_oracle() {
    let zones =
        ["America/New_York", "Asia/Seoul", "Australia/Lord_Howe", "Pacific/Apia", "Europe/Dublin", "Africa/Monrovia"];
    for name in zones {
        let zone: Zone = name.parse().unwrap();
        let (mut changes, mut last) = (0, None);
        let (first_day, last_day) = (days_from_civil(1900, 1, 2), days_from_civil(2050, 1, 1));
        for day in first_day..last_day {
            let instant = DateTime::from_timestamp(day * DAY_S, 0).unwrap().naive_utc();
            let offset = zone.0.offset_from_utc_datetime(&instant).fix();
            if last.is_some_and(|last| last != offset) {
                changes += 1;
                // every 15 minutes and the seconds next to them, for the two days around the change
                for quarter in -2 * 96..2 * 96 {
                    for beside in [-1, 0, 1] {
                        let local_s = day * DAY_S + quarter * 900 + beside;
                        let expected = slow_utc_of_local(zone.0, local_s).ok_or(SKIPPED);
                        assert_eq!(zone.utc_of_local(local_s), expected, "{local_s} in {name}");
                    }
                }
            }
            last = Some(offset);
        }
        assert!(changes >= 2, "{name}: {changes}");
    }
}

/// What the grammar allows, with `d` for a digit.
fn has_shape(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { 'd' } else { c }).collect();
    let fractions = (0..=9).map(|digits| if digits == 0 { String::new() } else { format!(".{}", "d".repeat(digits)) });
    let offsets = ["", "Z", "z", "+dd:dd", "-dd:dd", "+dddd", "-dddd"];
    fractions.into_iter().any(|fraction| {
        ["T", "t", " "].iter().any(|separator| {
            offsets.iter().any(|offset| shape == format!("dddd-dd-dd{separator}dd:dd:dd{fraction}{offset}"))
        })
    })
}

/// The instant of a text, slowly and by chrono. A text without an offset is UTC.
fn oracle(text: &str) -> Option<i64> {
    if !has_shape(text) {
        return None;
    }
    let part = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap();
    let fraction: String =
        text[19..].strip_prefix('.').unwrap_or("").chars().take_while(char::is_ascii_digit).collect();
    let offset = text[19..].trim_start_matches(['.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    let micros = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}")[..6].parse().unwrap() };
    let local = NaiveDate::from_ymd_opt(part(0, 4) as i32, part(5, 7), part(8, 10))?.and_hms_micro_opt(
        part(11, 13),
        part(14, 16),
        part(17, 19),
        micros,
    )?;
    let offset = match offset.replace(':', "") {
        zulu if zulu.len() < 2 => FixedOffset::east_opt(0)?,
        signed => {
            let (hours, minutes) = (signed[1..3].parse::<i32>().unwrap(), signed[3..5].parse::<i32>().unwrap());
            let seconds = (minutes < 60).then_some(hours * 3_600 + minutes * 60)?;
            if signed.starts_with('+') { FixedOffset::east_opt(seconds)? } else { FixedOffset::west_opt(seconds)? }
        }
    };
    let instant_us = local.and_local_timezone(offset).single()?.timestamp_micros();
    (INSTANT_MIN_US..=INSTANT_MAX_US).contains(&instant_us).then_some(instant_us)
}

/// Any text of the grammar's shape. Most of them are not a time at all.
fn shaped() -> impl Strategy<Value = String> {
    "((19|20|21|22)[0-9]{2}|[0-9]{4})-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|z|[+-][0-2][0-9]:?[0-6][0-9])?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn an_instant_written_in_any_spelling_is_read_back(
        instant_us in INSTANT_MIN_US + DAY_S * SECOND_US..=INSTANT_MAX_US - DAY_S * SECOND_US,
        offset_minutes in -1_439..=1_439_i32,
        separator in prop::sample::select(vec!["T", "t", " "]),
        colon in prop::sample::select(vec![":", ""]),
        digits in 0..=9_usize,
    ) {
        let offset = FixedOffset::east_opt(offset_minutes * 60).unwrap();
        let local = DateTime::from_timestamp_micros(instant_us).unwrap().with_timezone(&offset);
        let nanos = format!("{:09}", local.timestamp_subsec_nanos());
        let dot = if digits == 0 { "" } else { "." };
        let date_time = local.format("%Y-%m-%dT%H:%M:%S").to_string().replace('T', separator);
        let sign = if offset_minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
        let text = format!("{date_time}{dot}{}{sign}{hours:02}{colon}{minutes:02}", &nanos[..digits]);
        let kept_us = if digits >= 6 { 1 } else { 10_i64.pow(6 - digits as u32) };
        prop_assert_eq!(utc(&text), Ok(instant_us.div_euclid(kept_us) * kept_us), "{}", text);
        prop_assert_eq!(instant_of_text_with_offset(&text), utc(&text));
    }

    #[test]
    fn a_text_of_the_right_shape_is_accepted_when_the_oracle_accepts_it(text in shaped()) {
        prop_assert_eq!(utc(&text).ok(), oracle(&text), "{}", text);
    }

    #[test]
    fn a_spoilt_text_is_accepted_when_the_oracle_accepts_it(
        text in shaped(),
        place in 0..32_usize,
        spoiler in prop::sample::select("0123456789TtZz+-:., \0é".chars().collect::<Vec<_>>()),
        how in 0..3,
    ) {
        let mut spoilt: Vec<char> = text.chars().collect();
        let place = place.min(spoilt.len() - 1);
        match how {
            0 => spoilt[place] = spoiler,
            1 => spoilt.insert(place, spoiler),
            _ => drop(spoilt.remove(place)),
        }
        let spoilt: String = spoilt.into_iter().collect();
        prop_assert_eq!(utc(&spoilt).ok(), oracle(&spoilt), "{}", spoilt);
    }

    #[test]
    fn no_text_at_all_makes_it_panic(text in any::<String>()) {
        prop_assert_eq!(utc(&text).ok(), oracle(&text));
    }

    #[test]
    fn a_local_time_of_any_zone_is_what_the_oracle_says(
        local_s in (INSTANT_MIN_US / SECOND_US)..=(INSTANT_MAX_US / SECOND_US),
        zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
    ) {
        prop_assert_eq!(Zone(zone).utc_of_local(local_s), slow_utc_of_local(zone, local_s).ok_or(SKIPPED));
    }
}
