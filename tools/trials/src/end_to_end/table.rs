//! What a scenario prints: plain text tables of at most 100 columns, and the median of several rounds.

use std::time::Duration;

/// The most characters on a line.
const WIDTH_MAX: usize = 100;

/// A table. Its first column is text, aligned to the left. The others are numbers, aligned to the right.
pub(super) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A table with a line of headings; `\n` in a heading starts its next line.
    pub(super) fn new(headings: &[&str]) -> Self {
        let height = headings.iter().map(|heading| heading.lines().count()).max().unwrap_or(1);
        let line = |index: usize| -> Vec<String> {
            // headings are aligned to the bottom
            let cell = |heading: &&str| {
                let missing = height - heading.lines().count();
                index.checked_sub(missing).and_then(|at| heading.lines().nth(at)).unwrap_or("").to_owned()
            };
            headings.iter().map(cell).collect()
        };
        Self { lines: (0..height).map(line).collect() }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, cells: Vec<String>) {
        self.lines.push(cells);
    }

    /// Prints the table.
    ///
    /// # Panics
    /// A line is too wide: the scenario asks for too many columns.
    pub(super) fn print(&self) {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let cell_width = |column: usize, line: &Vec<String>| line.get(column).map_or(0, |cell| cell.chars().count());
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.lines.iter().map(|line| cell_width(column, line)).max().unwrap_or(0))
            .collect();
        for line in &self.lines {
            let mut text = String::new();
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                text += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            assert!(text.chars().count() <= WIDTH_MAX, "a line of {} characters: {text}", text.chars().count());
            println!("{}", text.trim_end());
        }
    }
}

/// The median of some values, with the least and the greatest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// The median.
    pub(super) median: f64,
    /// The least.
    pub(super) min: f64,
    /// The greatest.
    pub(super) max: f64,
}

impl Spread {
    /// The spread of `values`. NaN if there are none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        // if there are two values in the middle, the median lies half-way between them
        let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
        let median = f64::midpoint(lower, share(&values, 0.5));
        Self { median, min: share(&values, 0.0), max: share(&values, 1.0) }
    }

    /// Median, least and greatest as three cells.
    pub(super) fn cells(self, digits: usize) -> [String; 3] {
        [self.median, self.min, self.max].map(|value| format!("{value:.digits$}"))
    }
}

/// The value below which `part` of the sorted `values` lie. Between two values, the upper one counts. NaN if there are none.
pub(super) fn share(values: &[f64], part: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    let place = (part * last as f64).ceil() as usize;
    values.get(place.min(last)).copied().unwrap_or(f64::NAN)
}

/// Seconds with two digits.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

/// Thousands a second.
pub(super) fn thousands_per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64() / 1_000.0
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    crate::trial::grouped(number)
}
