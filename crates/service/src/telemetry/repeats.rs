//! No line is logged more than once in ten seconds. The first is shown, and lines like it are counted. The count is shown with
//! the next such line, or by itself when the ten seconds are over and any other line is logged. Two warnings or errors are alike
//! if they differ only in numbers. Two other lines are alike if they are the same.
//!
//! It works where lines are written, so it covers every caller and librdkafka's own lines. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

/// How long a line is not repeated.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Different lines that are remembered, at most. All lines beyond that are shown.
const LINES_MAX: usize = 512;
/// Bytes of a repeated line that are shown with the count, at most.
const SHOWN_BYTES_MAX: usize = 160;

/// The lines of the last interval. Time is a parameter.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: HashMap<u64, Line>,
    /// When expired lines were last removed.
    swept_at: Option<Instant>,
}

/// A line that was shown.
#[derive(Debug)]
struct Line {
    shown_at: Instant,
    /// How often it came since then without being shown.
    hidden: u64,
    text: String,
}

/// The decision about a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is shown. The number of lines like it that were not.
    Show(u64),
    /// It was shown lately.
    Hide,
}

impl Repeats {
    /// Decides about a line.
    pub(super) fn meet(&mut self, text: &str, is_trouble: bool, now: Instant) -> Verdict {
        let key = key(text, is_trouble);
        if let Some(line) = self.lines.get_mut(&key) {
            if now < line.shown_at + INTERVAL {
                line.hidden += 1;
                return Verdict::Hide;
            }
            line.shown_at = now;
            return Verdict::Show(std::mem::take(&mut line.hidden));
        }
        if self.lines.len() < LINES_MAX {
            let mut end = text.len().min(SHOWN_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            self.lines.insert(key, Line { shown_at: now, hidden: 0, text: text[..end].to_owned() });
        }
        Verdict::Show(0)
    }

    /// Removes the expired lines, and returns those that were hidden meanwhile.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<(String, u64)> {
        if self.swept_at.is_some_and(|at| now < at + INTERVAL / 10) {
            return Vec::new();
        }
        self.swept_at = Some(now);
        let mut hidden = Vec::new();
        self.lines.retain(|_, line| {
            let may_be_dropped = now >= line.shown_at + INTERVAL;
            if may_be_dropped && line.hidden > 0 {
                hidden.push((std::mem::take(&mut line.text), line.hidden));
            }
            !may_be_dropped
        });
        hidden
    }
}

/// Lines with the same key are alike.
fn key(text: &str, is_trouble: bool) -> u64 {
    if !is_trouble {
        return xxh3_64(text.as_bytes());
    }
    let mut masked = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            other => masked.push(other),
        }
    }
    xxh3_64(masked.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_once_in_ten_seconds_with_its_count() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.meet("kafka: bad message at 400", true, start), Verdict::Show(0));
        for number in 0..10_000_u32 {
            let text = format!("kafka: bad message at {number}");
            assert_eq!(repeats.meet(&text, true, start + Duration::from_micros(u64::from(number))), Verdict::Hide);
        }
        assert_eq!(repeats.meet("kafka: another", true, start), Verdict::Show(0), "other lines are shown");
        assert_eq!(repeats.meet("kafka: bad message at 400", true, start + INTERVAL), Verdict::Show(10_000));
        assert_eq!(repeats.meet("kafka: bad message at 400", true, start + INTERVAL * 2), Verdict::Show(0));
    }

    #[test]
    fn a_change_of_state_is_no_repetition_of_another() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for partition in 0..200 {
            assert_eq!(repeats.meet(&format!("taken over partition={partition}"), false, now), Verdict::Show(0));
        }
        assert_eq!(repeats.meet("taken over partition=7", false, now), Verdict::Hide);
    }

    #[test]
    fn what_was_hidden_last_is_told_when_its_time_is_over() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for _ in 0..3 {
            repeats.meet("again", true, start);
        }
        assert_eq!(repeats.sweep(start), []);
        assert_eq!(repeats.sweep(start + INTERVAL), [("again".to_owned(), 2)]);
        assert_eq!(repeats.sweep(start + INTERVAL * 2), []);
        assert!(repeats.lines.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for number in 0..10 * LINES_MAX {
            let text = format!("{}{}", "é".repeat(SHOWN_BYTES_MAX), number);
            assert_eq!(repeats.meet(&text, false, now), Verdict::Show(0));
        }
        assert_eq!(repeats.lines.len(), LINES_MAX);
        assert!(repeats.lines.values().all(|line| line.text.len() <= SHOWN_BYTES_MAX));
    }
}
