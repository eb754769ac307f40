//! What the log and the tables hold of one window: a count and a content number for each offset. Pure.

use std::collections::BTreeMap;

use footprint_protocol::offset::{Offset, Range};

/// What one place holds of a window: how often each offset is there, and the content of one copy.
#[derive(Debug)]
pub(in crate::upkeep) struct Tally {
    pub(super) base: Offset,
    pub(super) counts: Vec<u8>,
    pub(super) numbers: Vec<u64>,
    pub(super) rows: u64,
}

impl Tally {
    /// An empty tally of `offsets` offsets from `base`.
    pub(in crate::upkeep) fn new(base: Offset, offsets: usize) -> Self {
        Self { base, counts: vec![0; offsets], numbers: vec![0; offsets], rows: 0 }
    }

    /// Empties it for the window from `base`.
    pub(in crate::upkeep) fn reset(&mut self, base: Offset) {
        (self.base, self.rows) = (base, 0);
        self.counts.fill(0);
    }

    /// Adds one row.
    ///
    /// # Panics
    /// If `offset` is not in the window: the query asked for nothing else.
    pub(in crate::upkeep) fn add(&mut self, offset: Offset, number: u64) {
        let index = (offset - self.base) as usize;
        assert!(offset >= self.base && index < self.counts.len(), "offset {offset} is not in the window");
        if self.counts[index] == 0 {
            self.numbers[index] = number;
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        self.rows += 1;
    }

    /// Rows added.
    pub(in crate::upkeep) fn rows(&self) -> u64 {
        self.rows
    }
}

/// Dead letters of one window for one database alone: how often each offset is there, and the content of one copy. They are few.
#[derive(Debug, Default)]
pub(in crate::upkeep) struct Refused(pub(super) BTreeMap<Offset, (u8, u64)>);

impl Refused {
    /// Adds one.
    pub(in crate::upkeep) fn add(&mut self, offset: Offset, number: u64) {
        let (count, _) = self.0.entry(offset).or_insert((0, number));
        *count = count.saturating_add(1);
    }

    /// Offsets that have one, rising.
    pub(in crate::upkeep) fn offsets(&self) -> impl Iterator<Item = Offset> + '_ {
        self.0.keys().copied()
    }

    /// Dead letters added.
    pub(in crate::upkeep) fn rows(&self) -> u64 {
        self.0.values().map(|(count, _)| u64::from(*count)).sum()
    }
}

/// What the log says about an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upkeep) enum Logged {
    /// The log does not reach so far (any more), or does not exist.
    Unknown,
    /// The log reaches so far and holds no committed record there.
    Nothing,
    /// A record that is a row of this content.
    Good(u64),
    /// A record that is a dead letter of this content.
    Bad(u64),
}

/// What the log holds of a window.
#[derive(Debug)]
pub(in crate::upkeep) struct LogTally {
    pub(super) base: Offset,
    pub(super) known: Option<Range>,
    /// Ranges that are not read, in rising order: the ledger says that nobody needs them.
    pub(super) holes: Vec<Range>,
    pub(super) states: Vec<u8>,
    pub(super) numbers: Vec<u64>,
    pub(super) records: u64,
    /// The lowest and highest time of arrival of its records, microseconds.
    received_at_us: Option<(i64, i64)>,
    /// The content as a dead letter of those good records that a database refused.
    pub(super) letters: BTreeMap<Offset, Option<u64>>,
}

impl LogTally {
    /// An empty tally of `offsets` offsets from `base`, of which nothing is known.
    pub(in crate::upkeep) fn new(base: Offset, offsets: usize) -> Self {
        Self {
            base,
            known: None,
            holes: Vec::new(),
            states: vec![0; offsets],
            numbers: vec![0; offsets],
            records: 0,
            received_at_us: None,
            letters: BTreeMap::new(),
        }
    }

    /// These ranges are not read, so nothing is known of them. They rise, and no two of them meet.
    pub(in crate::upkeep::verify) fn leave_out(&mut self, holes: &[Range]) {
        self.holes = holes.to_vec();
    }

    /// The records at these offsets are also read as dead letters.
    pub(in crate::upkeep) fn want_letters(&mut self, offsets: impl Iterator<Item = Offset>) {
        self.letters = offsets.map(|offset| (offset, None)).collect();
    }

    /// Whether a good record's content as a dead letter is wanted.
    pub(in crate::upkeep) fn wants_letter(&self, offset: Offset) -> bool {
        self.letters.contains_key(&offset)
    }

    /// Adds the content of a good record as a dead letter.
    pub(in crate::upkeep) fn add_letter(&mut self, offset: Offset, number: u64) {
        self.letters.insert(offset, Some(number));
    }

    /// Empties it for the window from `base`. `known` is the range of the log that is read next.
    pub(in crate::upkeep) fn reset(&mut self, base: Offset, known: Option<Range>) {
        (self.base, self.known, self.records) = (base, known, 0);
        self.received_at_us = None;
        self.letters.clear();
        self.states.fill(0);
    }

    /// The log turned out to begin only at `start`.
    pub(in crate::upkeep) fn shorten(&mut self, start: Offset) {
        self.known =
            self.known.filter(|known| known.end > start).map(|known| Range::new(start.max(known.start), known.end));
        for offset in self.base..start.min(self.base.saturating_add(self.states.len() as i64)) {
            let state = &mut self.states[(offset - self.base) as usize];
            self.records -= u64::from(*state != 0);
            *state = 0;
        }
    }

    /// The range of the log that is known.
    pub(in crate::upkeep) fn known(&self) -> Option<Range> {
        self.known
    }

    /// Adds a record that is a row.
    pub(in crate::upkeep) fn add_good(&mut self, offset: Offset, number: u64) {
        self.add(offset, 1, number);
    }

    /// Adds a record that is a dead letter.
    pub(in crate::upkeep) fn add_bad(&mut self, offset: Offset, number: u64) {
        self.add(offset, 2, number);
    }

    fn add(&mut self, offset: Offset, state: u8, number: u64) {
        debug_assert!(self.known.is_some_and(|known| known.contains(offset)), "offset {offset} was not asked for");
        let index = (offset - self.base) as usize;
        self.records += u64::from(self.states[index] == 0);
        self.states[index] = state;
        self.numbers[index] = number;
    }

    /// A record was received at this time, microseconds.
    pub(in crate::upkeep) fn received(&mut self, at_us: i64) {
        let (first, last) = self.received_at_us.unwrap_or((at_us, at_us));
        self.received_at_us = Some((first.min(at_us), last.max(at_us)));
    }

    /// The lowest and highest time of arrival of its records, microseconds. None: it has no record.
    pub(in crate::upkeep) fn received_at_us(&self) -> Option<(i64, i64)> {
        self.received_at_us
    }

    /// Records added.
    pub(in crate::upkeep) fn records(&self) -> u64 {
        self.records
    }

    fn is_hole(&self, offset: Offset) -> bool {
        let next = self.holes.partition_point(|hole| hole.end <= offset);
        self.holes.get(next).is_some_and(|hole| hole.contains(offset))
    }

    pub(super) fn at(&self, offset: Offset) -> Logged {
        let index = (offset - self.base) as usize;
        match self.states[index] {
            1 => Logged::Good(self.numbers[index]),
            2 => Logged::Bad(self.numbers[index]),
            _ if self.known.is_some_and(|known| known.contains(offset)) && !self.is_hole(offset) => Logged::Nothing,
            _ => Logged::Unknown,
        }
    }
}
