//! Places in a partition. An offset means "next to read". A range is half open. A frontier moves only over a range that starts at it.

use std::fmt;

/// An offset of a partition: the next record to read. Kafka's offsets are never negative.
pub type Offset = i64;

/// A partition's number within its topic.
pub type Partition = i32;

/// Consecutive offsets `[start, end)` of one partition; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// The first offset in the range.
    pub start: Offset,
    /// The first offset past the range.
    pub end: Offset,
}

impl Range {
    /// The range `[start, end)`.
    ///
    /// # Panics
    /// If the range would be empty or negative: a programming error.
    pub fn new(start: Offset, end: Offset) -> Self {
        assert!(0 <= start && start < end, "not a range: [{start}, {end})");
        Self { start, end }
    }

    /// The number of offsets in the range.
    pub fn len(self) -> u64 {
        self.end.abs_diff(self.start)
    }

    /// Always false: an empty range cannot be made.
    pub fn is_empty(self) -> bool {
        false
    }

    /// Whether `offset` is in the range.
    pub fn contains(self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// The offset below which everything is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontier(Offset);

impl Frontier {
    /// A frontier at `next`.
    pub fn at(next: Offset) -> Self {
        assert!(next >= 0, "a frontier below zero: {next}");
        Self(next)
    }

    /// The next offset that is not acknowledged.
    pub fn next(self) -> Offset {
        self.0
    }

    /// Moves to the end of `range`, which must start at the frontier.
    ///
    /// # Panics
    /// If the range does not start at the frontier: the move would skip or repeat records.
    pub fn advance(&mut self, range: Range) {
        assert!(range.start == self.0, "frontier at {} cannot advance over {range}", self.0);
        self.0 = range.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_start_and_not_its_end() {
        let range = Range::new(3, 7);
        assert_eq!((range.len(), range.is_empty(), range.to_string().as_str()), (4, false, "[3, 7)"));
        let held: Vec<Offset> = (0..10).filter(|&offset| range.contains(offset)).collect();
        assert_eq!(held, [3, 4, 5, 6]);
    }

    #[test]
    fn a_frontier_moves_over_what_touches_it() {
        let mut frontier = Frontier::at(5);
        frontier.advance(Range::new(5, 9));
        assert_eq!(frontier.next(), 9);
    }

    #[test]
    #[should_panic(expected = "cannot advance")]
    fn a_frontier_refuses_a_gap() {
        Frontier::at(5).advance(Range::new(6, 9));
    }

    #[test]
    #[should_panic(expected = "not a range")]
    fn a_range_is_never_empty() {
        Range::new(3, 3);
    }
}
