//! Counts of the rounds: how often a program was killed, stopped or lost an answer at each place, and the report.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::member::Protocol;

/// Counts by place and protocol.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<(usize, Protocol), Counts>,
    places: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    hit: u32,
    missed: u32,
}

impl Tally {
    /// A tally of `places`, with nothing counted yet. A place that is never hit is a fault in the end.
    pub fn new(places: Vec<&'static str>) -> Self {
        Self { counts: BTreeMap::new(), places }
    }

    fn counts(&mut self, place: &'static str, protocol: Protocol) -> &mut Counts {
        let index = self.places.iter().position(|known| *known == place).unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        });
        self.counts.entry((index, protocol)).or_default()
    }

    /// Counts a round in which it happened at `place`.
    pub(super) fn hit(&mut self, place: &'static str, protocol: Protocol) {
        self.counts(place, protocol).hit += 1;
    }

    /// Counts a round in which it did not happen at `place`.
    pub(super) fn missed(&mut self, place: &'static str, protocol: Protocol) {
        self.counts(place, protocol).missed += 1;
    }

    /// How often it happened anywhere.
    pub fn hits(&self) -> u32 {
        self.counts.values().map(|counts| counts.hit).sum()
    }

    fn at(&self, index: usize) -> [Counts; 2] {
        Protocol::ALL.map(|protocol| self.counts.get(&(index, protocol)).copied().unwrap_or_default())
    }

    /// Places where it never happened.
    pub fn never(&self) -> Vec<&'static str> {
        let never = |index: &usize| self.at(*index).iter().all(|counts| counts.hit == 0);
        (0..self.places.len()).filter(never).map(|index| self.places[index]).collect()
    }

    /// The counts as text, one line for each place.
    pub fn table(&self, what: &str) -> String {
        let mut table = format!("{what:<24} {:>8} {:>8} {:>8}\n", "classic", "consumer", "missed");
        for (index, place) in self.places.iter().enumerate() {
            let [classic, consumer] = self.at(index);
            let missed = classic.missed + consumer.missed;
            let _ = writeln!(table, "{place:<24} {:>8} {:>8} {missed:>8}", classic.hit, consumer.hit);
        }
        table
    }
}
