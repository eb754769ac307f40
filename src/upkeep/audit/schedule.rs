//! What the audit proves next. Pure: time and the seed are parameters.
//!
//! There are three walks. One goes in order, from where everything is proven up to the frontier, so that this offset rises. One goes
//! over all that is stored in a scattered order. A pass of it visits each window exactly once, so a row that somebody changes is found
//! within two passes, wherever it is. The third looks again at ranges with a fault, and so notices when they are mended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use footprint_protocol::offset::{Offset, Partition, Range};

use crate::upkeep::verify::faults::Faults;

/// Offsets of a window. No range is longer, and none crosses the border of a window.
pub(super) const WINDOW: i64 = 4_096;
/// Windows of a partition with a fault that are known at a time, at most. The walk in order stops there.
const FAULTY_WINDOWS_MAX: usize = 64;
/// After a part of a window, the walk in order waits this long for more.
const TIP_WAIT: Duration = Duration::from_secs(10);
/// Of this number of turns, one looks again at a range with a fault.
const AGAIN_EVERY: u64 = 4;

/// What is wrong in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Faulty {
    /// The range.
    pub range: Range,
    /// The first offset that is wrong.
    pub first: Offset,
    /// What is wrong.
    pub faults: Faults,
    /// The first fault, in words.
    pub example: String,
}

/// What is known of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Proven {
    /// Where the partition starts.
    pub first: Offset,
    /// Where the walk in order goes on.
    pub below: Offset,
    /// What every sink has stored.
    pub stored: Offset,
    /// When a range was last proven.
    pub at: Option<Instant>,
    /// When the walk in order was last here.
    in_order_at: Option<Instant>,
    /// When it last took a part of a window, because no more was stored.
    part_at: Option<Instant>,
    /// Windows with a fault, by their number.
    pub faulty: BTreeMap<i64, Faulty>,
}

impl Proven {
    /// A partition in which everything from `first` up to `below` was proven, except windows with a fault at one of `faulty`.
    pub(super) fn new(first: Offset, below: Offset, faulty: &[Offset]) -> Self {
        let unknown = |&offset: &Offset| {
            let range = Range::new(offset, offset.saturating_add(1));
            (window_of(offset), Faulty { range, first: offset, faults: Faults::default(), example: String::new() })
        };
        let faulty = faulty.iter().filter(|&&offset| offset >= first).take(FAULTY_WINDOWS_MAX).map(unknown).collect();
        Self { first, below: below.max(first), faulty, ..Self::default() }
    }

    /// Everything below it is proven.
    pub(super) fn proven_below(&self) -> Offset {
        self.faulty.values().map(|faulty| faulty.first).fold(self.below, Offset::min)
    }

    /// All faults that are there.
    pub(super) fn faults(&self) -> Faults {
        self.faulty.values().fold(Faults::default(), |sum, faulty| sum.and(faulty.faults))
    }

    /// The next range of the walk in order.
    fn in_order(&self, now: Instant) -> Option<Range> {
        let end = window_end(self.below).min(self.stored);
        let waits = end < window_end(self.below) && self.part_at.is_some_and(|at| now < at + TIP_WAIT);
        let is_full = self.faulty.len() >= FAULTY_WINDOWS_MAX;
        (self.below < end && !waits && !is_full).then(|| Range::new(self.below, end))
    }
}

/// The number of an offset's window.
fn window_of(offset: Offset) -> i64 {
    offset.div_euclid(WINDOW)
}

/// The end of the window of an offset.
fn window_end(offset: Offset) -> Offset {
    (window_of(offset) + 1).saturating_mul(WINDOW)
}

/// Which walk a range belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// From where everything is proven.
    InOrder,
    /// Over everything, in a scattered order.
    Scattered,
    /// Ranges with a fault.
    Again,
}

/// What to prove next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub partition: Partition,
    pub range: Range,
    pub walk: Walk,
}

/// The state of the walks over one source.
#[derive(Debug)]
pub(super) struct Schedule {
    pub partitions: BTreeMap<Partition, Proven>,
    pass: Pass,
    turn: u64,
    /// The range with a fault that was looked at last.
    looked_again: (Partition, Offset),
}

impl Schedule {
    /// Without partitions. `seed` decides the scattered order.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            partitions: BTreeMap::new(),
            pass: Pass { seed, ..Pass::default() },
            turn: 0,
            looked_again: (Partition::MIN, 0),
        }
    }

    /// What to prove next. None: nothing is stored, or everything was proven just now.
    pub(super) fn choose(&mut self, now: Instant) -> Option<Choice> {
        self.turn += 1;
        if self.turn.is_multiple_of(AGAIN_EVERY)
            && let Some(choice) = self.again()
        {
            return Some(choice);
        }
        if self.turn.is_multiple_of(2) {
            self.in_order(now).or_else(|| self.scattered(now))
        } else {
            self.scattered(now).or_else(|| self.in_order(now))
        }
    }

    fn again(&mut self) -> Option<Choice> {
        let all = self.partitions.iter().flat_map(|(&partition, proven)| {
            let range = move |&window: &i64| Some((partition, window_range(proven, window)?));
            proven.faulty.keys().filter_map(range)
        });
        let all: Vec<(Partition, Range)> = all.collect();
        let later = all.iter().find(|(partition, range)| (*partition, range.start) > self.looked_again);
        let &(partition, range) = later.or(all.first())?;
        self.looked_again = (partition, range.start);
        Some(Choice { partition, range, walk: Walk::Again })
    }

    /// The partition where the walk in order was longest ago.
    fn in_order(&mut self, now: Instant) -> Option<Choice> {
        let due = self
            .partitions
            .iter()
            .filter_map(|(&partition, proven)| Some((proven.in_order_at, partition, proven.in_order(now)?)));
        let (_, partition, range) = due.min_by_key(|(at, partition, _)| (*at, *partition))?;
        Some(Choice { partition, range, walk: Walk::InOrder })
    }

    fn scattered(&mut self, now: Instant) -> Option<Choice> {
        // each window may have gone with its partition
        for _ in 0..=self.pass.windows {
            let Some((partition, window)) = self.pass.next() else { break };
            if let Some(range) = self.partitions.get(&partition).and_then(|proven| window_range(proven, window)) {
                return Some(Choice { partition, range, walk: Walk::Scattered });
            }
        }
        self.pass = self.pass.following(&self.partitions, now);
        let (partition, window) = self.pass.next()?;
        let range = self.partitions.get(&partition).and_then(|proven| window_range(proven, window))?;
        Some(Choice { partition, range, walk: Walk::Scattered })
    }

    /// Notes that a range was compared, and what is wrong in it. Returns the faults that were not known before.
    pub(super) fn compared(&mut self, choice: Choice, faulty: Option<Faulty>, now: Instant) -> Faults {
        let Some(proven) = self.partitions.get_mut(&choice.partition) else { return Faults::default() };
        let Range { start, end } = choice.range;
        let window = window_of(start);
        proven.at = Some(now);
        if choice.walk == Walk::InOrder {
            (proven.below, proven.in_order_at) = (end, Some(now));
            proven.part_at = if end < window_end(start) { Some(now) } else { proven.part_at };
        }
        let known = proven.faulty.get(&window);
        // a part of a window says nothing of the fault in its other part
        let is_whole = start <= window.saturating_mul(WINDOW).max(proven.first)
            && known.is_none_or(|known| known.range.end <= end);
        let Some(faulty) = faulty else {
            if is_whole {
                proven.faulty.remove(&window);
            }
            return Faults::default();
        };
        let new = faulty.faults.beyond(known.map(|known| known.faults).unwrap_or_default());
        if known.is_none() && proven.faulty.len() >= FAULTY_WINDOWS_MAX {
            proven.below = proven.below.min(faulty.first);
        } else if known.is_none() || is_whole {
            proven.faulty.insert(window, faulty);
        }
        new
    }

    /// The estimated time of the present pass, or the time of the last one if it has just begun. None: not known yet.
    pub(super) fn pass_time(&self, now: Instant) -> Option<Duration> {
        let Pass { windows, visited, began, last, .. } = self.pass;
        let spent = now.saturating_duration_since(began?);
        if visited > 1 { Some(spent.mul_f64(windows as f64 / visited as f64)) } else { last }
    }
}

/// The stored part of a window. None: nothing of it is stored.
fn window_range(proven: &Proven, window: i64) -> Option<Range> {
    let start = window.saturating_mul(WINDOW).max(proven.first);
    let end = (window + 1).saturating_mul(WINDOW).min(proven.stored);
    (start < end).then(|| Range::new(start, end))
}

/// One pass of the scattered walk. Window `(begin + i * stride) % windows` is the i-th. The stride has no divisor in common with the number
/// of windows, so each is visited once, and no list of them is needed.
#[derive(Clone, Debug, Default)]
struct Pass {
    seed: u64,
    /// Each partition's first window, and how many it has.
    parts: Vec<(Partition, i64, u64)>,
    windows: u64,
    begin: u64,
    stride: u64,
    visited: u64,
    began: Option<Instant>,
    /// The time of the pass before.
    last: Option<Duration>,
}

impl Pass {
    /// The pass after this one, over what is stored now.
    fn following(&self, partitions: &BTreeMap<Partition, Proven>, now: Instant) -> Self {
        let part = |(&partition, proven): (&Partition, &Proven)| {
            let first = proven.first.div_euclid(WINDOW);
            let count = (proven.stored - 1).div_euclid(WINDOW) - first + 1;
            (proven.first < proven.stored).then(|| (partition, first, count.unsigned_abs()))
        };
        let parts: Vec<_> = partitions.iter().filter_map(part).collect();
        let windows = parts.iter().map(|(_, _, count)| count).sum::<u64>();
        let (one, other) = (mixed(self.seed), mixed(self.seed.wrapping_add(1)));
        let begin = one.checked_rem(windows).unwrap_or(0);
        let mut stride = other.checked_rem(windows).unwrap_or(0).max(1);
        while divisor(stride, windows) > 1 {
            stride += 1;
        }
        let last = self.began.map(|began| now.saturating_duration_since(began));
        Self { seed: other, parts, windows, begin, stride, visited: 0, began: Some(now), last }
    }

    fn next(&mut self) -> Option<(Partition, i64)> {
        if self.visited >= self.windows {
            return None;
        }
        let step = u128::from(self.visited) * u128::from(self.stride) + u128::from(self.begin);
        let mut index = u64::try_from(step % u128::from(self.windows)).ok()?;
        self.visited += 1;
        for &(partition, first, count) in &self.parts {
            if index < count {
                return Some((partition, first.saturating_add_unsigned(index)));
            }
            index -= count;
        }
        None
    }
}

/// The greatest common divisor.
fn divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { divisor(other, one % other) }
}

/// SplitMix64: numbers without a visible order from numbers with one.
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
