//! Turns a text or an integer into an instant. The rules: it never panics, chrono reads the same instant, and a text without an
//! offset is the first time at which its zone's clocks showed it. The first byte chooses the zone.

use chrono::{DateTime, NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;
use footprint_event::normalize::{
    INSTANT_MAX_US, Why, Zone, instant_of_integer, instant_of_text, instant_of_text_with_offset,
};

use super::{Target, number};

const ZONES: [&str; 4] = ["UTC", "Asia/Seoul", "America/New_York", "Australia/Lord_Howe"];

pub(super) struct Timestamps;

impl Target for Timestamps {
    fn seeds(&self) -> Vec<Vec<u8>> {
        [
            "a2024-05-06T07:08:09Z",
            "b2024-05-06 07:08:09.123456789+09:00",
            "b2024-03-10t02:30:00",
            "b2024-11-03T01:30:00",
            "c2024-04-07T01:45:00.5",
            "d1900-01-01T00:00:00-0330",
            "a2299-12-31T23:59:59.999999z",
            "a1714979289",
            "a-62135596800000",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    fn tokens(&self) -> Vec<Vec<u8>> {
        let words = [
            "T",
            "Z",
            " ",
            ":60",
            ":59",
            "24:",
            "-02-29",
            "-02-30",
            "+00:00",
            "-23:59",
            "+2400",
            ".0",
            ".999999999",
            "9999",
            "1582",
            "99999999999",
            "100000000000000",
            "é",
        ];
        words.map(|word| word.as_bytes().to_vec()).to_vec()
    }

    fn read(&mut self, input: &[u8]) -> u64 {
        let Some((first, bytes)) = input.split_first() else { return 0 };
        let name = ZONES[usize::from(*first) % ZONES.len()];
        let (Ok(zone), Ok(tz)) = (name.parse::<Zone>(), name.parse::<Tz>()) else { panic!("{name} is a zone") };
        let outcome = instant_of_text(bytes, zone);
        let Ok(text) = std::str::from_utf8(bytes) else {
            assert!(outcome.is_err(), "no text is an instant");
            return 1;
        };
        if let Ok(epoch) = text.parse() {
            return number(integer(epoch));
        }
        let oracle = DateTime::parse_from_rfc3339(&plain(text)).ok().filter(|_| is_ours(text));
        match (outcome, instant_of_text_with_offset(text)) {
            (Ok(instant_us), Ok(same_us)) => {
                let read_us = oracle.map(|instant| instant.timestamp_micros());
                assert_eq!((Some(instant_us), instant_us), (read_us, same_us), "chrono reads {text:?} otherwise");
            }
            (Ok(instant_us), Err(_)) => {
                let clock = NaiveDateTime::parse_from_str(&plain(text), "%Y-%m-%dT%H:%M:%S%.f").ok();
                let shown = clock.and_then(|clock| tz.from_local_datetime(&clock).earliest());
                let shown_us = shown.map(|instant| instant.timestamp_micros());
                assert_eq!(Some(instant_us), shown_us, "that is not when the clocks of {name} first showed {text:?}");
            }
            (Err(_), Ok(_)) => panic!("{text:?} is refused only if a zone is given"),
            (Err(why), Err(_)) => {
                if let Some(instant) = oracle {
                    let instant_us = instant.timestamp_micros();
                    let held =
                        instant_of_integer(instant_us).is_ok() && instant_us.unsigned_abs() >= 100_000_000_000_000;
                    assert!(!held, "{text:?} is refused, but chrono reads it: {why}");
                }
            }
        }
        number((outcome.map(|_| ()), instant_of_text_with_offset(text).map(|_| ()), name))
    }
}

/// The spelling that chrono needs: `T`, `Z`, and a colon in the offset.
fn plain(text: &str) -> String {
    let mut plain: Vec<u8> = text.bytes().map(|byte| byte.to_ascii_uppercase()).collect();
    if plain.get(10) == Some(&b' ') {
        plain[10] = b'T';
    }
    let sign = plain.len().checked_sub(5);
    if let Some(sign) = sign.filter(|&sign| sign > 10 && matches!(plain[sign], b'+' | b'-')) {
        plain.insert(sign + 3, b':');
    }
    String::from_utf8(plain).unwrap_or_default()
}

/// Whether our grammar accepts it too. chrono's grammar also has leap seconds, and fractions of more than nine digits.
fn is_ours(text: &str) -> bool {
    let fraction = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    text.get(17..19) != Some("60") && fraction <= 9
}

/// An integer's magnitude decides its unit.
fn integer(epoch: i64) -> Result<(), Why> {
    let instant_us = instant_of_integer(epoch)?;
    let unit = [1_000_000, 1_000, 1].into_iter().find(|unit| epoch.checked_mul(*unit) == Some(instant_us));
    assert!(unit.is_some() && instant_us <= INSTANT_MAX_US, "{epoch} is {instant_us}, which fits no unit");
    Ok(())
}
