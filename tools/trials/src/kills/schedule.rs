//! The order of the rounds: every point equally often, under each protocol, in an order that depends on the seed.

use super::arrangement::Arrangement;
use super::member::Protocol;
use super::point::Point;
use crate::trial::Dice;

/// One round to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The point of the round.
    pub point: Point,
    /// The group protocol of the round.
    pub protocol: Protocol,
}

/// Rounds to do: those on a running program, and those at a start, which need the death of another program first.
#[derive(Debug)]
pub struct Schedule {
    running: Vec<Entry>,
    starting: Vec<Entry>,
}

impl Schedule {
    /// `rounds` rounds spread over `points` and `protocols`.
    pub fn new(points: &[Point], protocols: &[Protocol], rounds: usize, dice: &mut Dice) -> Self {
        // point by point, then the same with the next protocol, so that even a few rounds reach many points
        let mut entries: Vec<Entry> = Vec::with_capacity(rounds);
        let all = (0..).flat_map(|turn: usize| {
            points
                .iter()
                .enumerate()
                .map(move |(index, &point)| Entry { point, protocol: protocols[(index + turn) % protocols.len()] })
        });
        entries.extend(all.take(if points.is_empty() || protocols.is_empty() { 0 } else { rounds }));
        dice.shuffle(&mut entries);
        let (starting, running) =
            entries.into_iter().partition(|entry| Arrangement::of(entry.point).begins_with_a_start());
        Self { running, starting }
    }

    /// The number of rounds left.
    pub fn left(&self) -> usize {
        self.running.len() + self.starting.len()
    }

    /// The next round on a running program.
    pub(super) fn next_running(&mut self) -> Option<Entry> {
        self.running.pop()
    }

    /// The next round at a start, in proportion to those on running programs.
    pub(super) fn next_starting(&mut self, dice: &mut Dice) -> Option<Entry> {
        let share = self.starting.len() as f64 / (self.running.len() + 1) as f64;
        if dice.chance(share) { self.starting.pop() } else { None }
    }
}

/// The place and the protocol of a round. The rounds go through all places again and again, and each time a place comes, it gets the next
/// protocol. None if there is no place or no protocol.
pub(super) fn in_turn<T: Copy>(places: &[T], protocols: &[Protocol], round: usize) -> Option<(T, Protocol)> {
    let (index, turn) = (round % places.len().max(1), round / places.len().max(1));
    Some((*places.get(index)?, *protocols.get((index + turn) % protocols.len().max(1))?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_point_comes_as_often_as_every_other_under_both_protocols() {
        let protocols = [Protocol::Classic, Protocol::Consumer];
        let count = Point::ALL.len() * 4;
        let mut dice = Dice::new(1);
        let mut schedule = Schedule::new(Point::ALL, &protocols, count, &mut dice);
        let mut counts: BTreeMap<(Point, Protocol), usize> = BTreeMap::new();
        while schedule.left() > 0 {
            let running = schedule.next_running();
            for entry in running.into_iter().chain(schedule.next_starting(&mut dice)) {
                *counts.entry((entry.point, entry.protocol)).or_default() += 1;
            }
        }
        assert_eq!(counts.len(), Point::ALL.len() * 2);
        assert!(counts.values().all(|&count| count == 2), "{counts:?}");
    }

    /// The story: with an odd number of places, each came under one protocol alone.
    #[test]
    fn a_place_comes_under_each_protocol_in_turn_whatever_their_number() {
        for count in 1..6 {
            let places: Vec<usize> = (0..count).collect();
            let protocol = |round| in_turn(&places, &Protocol::ALL, round).unwrap();
            for round in 0..20 {
                let ((place, first), (again, second)) = (protocol(round), protocol(round + count));
                assert!(place == again && first != second, "{count} places, round {round}");
            }
        }
        assert_eq!(in_turn::<usize>(&[], &Protocol::ALL, 3), None);
    }
}
