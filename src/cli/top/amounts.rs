//! Numbers, sizes and times as a person reads them. A dash is what nobody knows. Pure.

use chrono::{DateTime, Utc};

/// What is not known.
pub(super) const UNKNOWN: &str = "-";

/// A text, or a dash.
pub(super) fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), text)
}

/// `12,345,678`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0`, `3.2`, `123`, `12.3 k`, `4.5 M`: for amounts each second.
pub(super) fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        small if small < 9.95 => format!("{small:.1}"),
        small if small < 999.5 => format!("{small:.0}"),
        middle if middle < 999_950.0 => format!("{:.1} k", middle / 1e3),
        large => format!("{:.1} M", large / 1e6),
    }
}

/// `512 B`, `1.5 MiB`.
pub(super) fn bytes(value: f64) -> String {
    let mut scaled = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled < 1023.5 {
            let digits = usize::from(unit != "B" && scaled < 99.95);
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} TiB")
}

/// `3 ms`, `0.4 s`, `32 s`, `3 m 20 s`, `4 h 10 m`, `3 d 4 h`.
pub(super) fn time(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3_600, whole / 86_400);
    match seconds {
        zero if zero <= 0.0 => "0 s".to_owned(),
        short if short < 0.0995 => format!("{:.0} ms", (short * 1e3).ceil()),
        short if short < 9.95 => format!("{short:.1} s"),
        _ if whole < 60 => format!("{whole} s"),
        _ if hours == 0 => format!("{minutes} m {} s", whole % 60),
        _ if days == 0 => format!("{hours} h {} m", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

fn utc(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// The time of day of an RFC 3339 text, with the date unless it is that of `now`.
pub(super) fn clock(text: &str, now: Option<&str>) -> String {
    let Some(time) = utc(text) else { return text.to_owned() };
    let today = now.and_then(utc).map(|now| now.date_naive());
    let form = if today == Some(time.date_naive()) { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    time.format(form).to_string()
}

/// The time from one RFC 3339 text to another.
pub(super) fn between(from: &str, to: &str) -> Option<String> {
    let passed = utc(to)?.signed_duration_since(utc(from)?);
    Some(time(passed.num_seconds().max(0) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_or_three_digits_and_totals_all() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(count), ["0", "999", "1,000", "12,345,678"]);
        let rates = [0.0, 0.04, 9.94, 9.96, 999.4, 999.6, 12_345.0, 999_960.0, 5e9];
        assert_eq!(rates.map(rate), ["0", "0.0", "9.9", "10", "999", "1.0 k", "12.3 k", "1.0 M", "5000.0 M"]);
        let sizes = [0.0, 512.0, 1024.0, 1_572_864.0, 268_435_456.0, 1e15];
        assert_eq!(sizes.map(bytes), ["0 B", "512 B", "1.0 KiB", "1.5 MiB", "256 MiB", "909.5 TiB"]);
    }

    #[test]
    fn times_have_the_two_largest_units() {
        let seconds = [0.0, 0.0004, 0.012, 0.4, 32.0, 59.7, 200.0, 15_000.0, 273_600.0];
        let texts = ["0 s", "1 ms", "12 ms", "0.4 s", "32 s", "1 m 0 s", "3 m 20 s", "4 h 10 m", "3 d 4 h"];
        assert_eq!(seconds.map(time), texts);
    }

    #[test]
    fn a_clock_shows_the_date_only_of_another_day() {
        let then = "2026-02-03T04:05:06.789Z";
        assert_eq!(clock(then, Some("2026-02-03T23:00:00Z")), "04:05:06");
        assert_eq!(clock(then, Some("2026-02-04T00:00:00Z")), "2026-02-03 04:05:06");
        assert_eq!((clock(then, None), clock("x", None)), ("2026-02-03 04:05:06".into(), "x".into()));
        assert_eq!(between(then, "2026-02-03T04:06:07Z").as_deref(), Some("1 m 0 s"));
        assert_eq!(between("x", then), None);
    }
}
