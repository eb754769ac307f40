use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::upkeep::verify::report::Finding;

const SIZE: usize = 64;

/// A window as a healthy pipeline leaves it, and the changes made to it.
struct World {
    base: Offset,
    log: LogTally,
    tallies: [Tally; 3],
    promises: [Promise; 3],
    refused: [Refused; 3],
}

const POSTGRES: usize = 0;
const CLICKHOUSE: usize = 1;
const DEAD: usize = 2;
const PLACES: [Place; 3] = [Place::Postgres, Place::Clickhouse, Place::DeadLetters];

/// The content of a record, different for any two offsets.
fn number(offset: Offset) -> u64 {
    (offset as u64).wrapping_mul(31).wrapping_add(7)
}

impl World {
    /// The log is known in `known`. Offsets divisible by 11 hold nothing, those divisible by 7 a bad record, and the rest good
    /// ones.
    fn healthy(base: Offset, known: Option<Range>, postgres_next: Offset, clickhouse_next: Offset) -> Self {
        let promise = |next, claimed| Promise { none_below: 0, due_below: next, none_from: claimed, gaps: Vec::new() };
        let claimed = postgres_next.max(clickhouse_next) + 5;
        let mut world = Self {
            base,
            log: LogTally::new(base, SIZE),
            tallies: [(); 3].map(|()| Tally::new(base, SIZE)),
            promises: [
                promise(postgres_next, postgres_next),
                promise(clickhouse_next, claimed),
                promise(postgres_next, postgres_next),
            ],
            refused: [(); 3].map(|()| Refused::default()),
        };
        world.log.reset(base, known);
        for offset in base..base + SIZE as i64 {
            if offset % 11 == 0 {
                continue;
            }
            let bad = offset % 7 == 0;
            if known.is_some_and(|known| known.contains(offset)) {
                if bad {
                    world.log.add_bad(offset, number(offset));
                } else {
                    world.log.add_good(offset, number(offset));
                }
            }
            if bad && offset < postgres_next {
                world.tallies[DEAD].add(offset, number(offset));
            }
            if !bad && offset < postgres_next {
                world.tallies[POSTGRES].add(offset, number(offset));
            }
            // every third of the claimed rows beyond the frontier has landed already
            if !bad && (offset < clickhouse_next || (offset < claimed && offset % 3 == 0)) {
                world.tallies[CLICKHOUSE].add(offset, number(offset));
            }
        }
        world
    }

    fn all_known(base: Offset) -> Self {
        let end = base + SIZE as i64;
        Self::healthy(base, Some(Range::new(base, end)), end, end)
    }

    fn remove(&mut self, place: usize, offset: Offset) {
        let index = (offset - self.base) as usize;
        self.tallies[place].counts[index] = 0;
    }

    fn put(&mut self, place: usize, offset: Offset, content: u64) {
        self.remove(place, offset);
        self.tallies[place].add(offset, content);
    }

    fn found(&self) -> Vec<(FindingKind, Place, Offset)> {
        let mut findings = Findings::new(10_000);
        findings.begin(1, 0);
        let side = |index: usize| Side {
            tally: &self.tallies[index],
            promise: &self.promises[index],
            refused: &self.refused[index],
        };
        let window =
            Window { log: &self.log, postgres: side(POSTGRES), clickhouse: side(CLICKHOUSE), dead_letters: side(DEAD) };
        window.compare(&mut findings);
        let named = findings.into_named();
        named.into_iter().map(|Finding { kind, place, offset, .. }| (kind, place, offset)).collect()
    }
}

#[test]
fn a_healthy_window_is_clean_but_for_what_the_log_lacks() {
    assert_eq!(World::all_known(0).found(), []);
    assert_eq!(World::healthy(64, None, 200, 200).found(), []);
    assert_eq!(World::healthy(0, Some(Range::new(20, 40)), 40, 30).found(), []);
}

#[test]
fn rows_between_frontier_and_claim_are_in_flight_and_past_the_claim_they_are_not() {
    let mut world = World::healthy(0, Some(Range::new(0, 40)), 40, 30);
    assert_eq!(world.promises[CLICKHOUSE].none_from, 45);
    world.put(CLICKHOUSE, 44, 0);
    assert_eq!(world.found(), []);
    world.put(CLICKHOUSE, 45, number(45));
    // PostgreSQL's rows and frontier are committed together, so the frontier is the bound
    world.put(POSTGRES, 40, number(40));
    assert_eq!(
        world.found(),
        [(FindingKind::Unexpected, Place::Postgres, 40), (FindingKind::Unexpected, Place::Clickhouse, 45)]
    );
}

#[test]
fn a_row_at_a_negative_offset_is_unexpected() {
    let mut world = World::healthy(-64, None, 100, 100);
    for tally in &mut world.tallies {
        tally.reset(-64);
    }
    world.tallies[CLICKHOUSE].add(-3, 1);
    assert_eq!(world.found(), [(FindingKind::Unexpected, Place::Clickhouse, -3)]);
}

#[test]
fn a_switched_off_sink_is_compared_below_where_it_stopped_only() {
    let mut world = World::all_known(0);
    world.promises[CLICKHOUSE] = Promise { none_below: 0, due_below: 20, none_from: Offset::MAX, gaps: Vec::new() };
    for offset in (20..64).step_by(2) {
        world.remove(CLICKHOUSE, offset);
    }
    assert_eq!(world.found(), []);
    world.remove(CLICKHOUSE, 19);
    assert_eq!(world.found(), [(FindingKind::Missing, Place::Clickhouse, 19)]);
}

#[test]
fn a_recorded_gap_is_not_missed_but_its_copies_are_counted() {
    let mut world = World::all_known(0);
    world.promises[CLICKHOUSE].gaps = vec![Range::new(10, 20)];
    for offset in 10..18 {
        world.remove(CLICKHOUSE, offset);
    }
    world.tallies[CLICKHOUSE].add(19, number(19));
    assert_eq!(world.found(), [(FindingKind::Doubled, Place::Clickhouse, 19)]);
}

#[test]
fn another_decoder_is_a_warning_while_both_databases_agree() {
    let mut world = World::all_known(0);
    // a good record with another content in both
    world.put(POSTGRES, 1, 5);
    world.put(CLICKHOUSE, 1, 5);
    // a good record that was a dead letter when it was stored
    world.remove(POSTGRES, 2);
    world.remove(CLICKHOUSE, 2);
    world.put(DEAD, 2, 5);
    // a bad record that was a row when it was stored
    world.remove(DEAD, 7);
    world.put(POSTGRES, 7, 5);
    world.put(CLICKHOUSE, 7, 5);
    assert_eq!(world.found(), [1, 2, 7].map(|offset| (FindingKind::DecodedOtherwise, Place::Log, offset)));
}

#[test]
fn a_bad_record_that_only_one_database_took_for_a_row_is_a_fault() {
    let mut world = World::all_known(0);
    world.remove(DEAD, 7);
    world.put(CLICKHOUSE, 7, 5);
    assert_eq!(
        world.found(),
        [(FindingKind::Missing, Place::DeadLetters, 7), (FindingKind::Unexpected, Place::Clickhouse, 7)]
    );
}

#[test]
fn both_databases_wrong_in_two_ways_are_both_named() {
    let mut world = World::all_known(0);
    world.put(POSTGRES, 1, 5);
    world.put(CLICKHOUSE, 1, 6);
    assert_eq!(
        world.found(),
        [(FindingKind::Differing, Place::Postgres, 1), (FindingKind::Differing, Place::Clickhouse, 1)]
    );
}

#[test]
fn a_row_that_the_log_lacks_is_a_warning_and_still_compared() {
    let mut world = World::all_known(0);
    world.put(POSTGRES, 11, 5);
    world.put(CLICKHOUSE, 11, 5);
    world.put(POSTGRES, 22, 5);
    assert_eq!(
        world.found(),
        [
            (FindingKind::Missing, Place::Clickhouse, 22),
            (FindingKind::NotInLog, Place::Log, 11),
            (FindingKind::NotInLog, Place::Log, 22)
        ]
    );
}

#[test]
fn a_log_that_was_shortened_meanwhile_leaves_the_databases_to_compare() {
    let mut world = World::all_known(0);
    world.log.shorten(32);
    assert_eq!(world.log.known(), Some(Range::new(32, 64)));
    assert_eq!(world.log.records(), (32..64).filter(|offset| offset % 11 != 0).count() as u64);
    world.put(CLICKHOUSE, 3, 5);
    world.put(CLICKHOUSE, 33 + 1, 5);
    assert_eq!(
        world.found(),
        [(FindingKind::Differing, Place::Clickhouse, 34), (FindingKind::Differing, Place::Either, 3)]
    );
    world.log.shorten(100);
    assert_eq!((world.log.known(), world.log.records()), (None, 0));
}

/// The changes that may be made to one offset.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Remove(usize),
    Double(usize),
    Change(usize),
    Bury,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (0..2_usize).prop_map(Harm::Remove),
        (0..2_usize).prop_map(Harm::Double),
        (0..2_usize).prop_map(Harm::Change),
        Just(Harm::Bury),
    ]
}

/// Damages `offset` and returns what must be found.
fn do_harm(world: &mut World, harm: Harm, offset: Offset) -> (FindingKind, Place, Offset) {
    let bad = offset % 7 == 0;
    let logged = world.log.at(offset) != Logged::Unknown;
    match harm {
        // a bad record is in one place only, and without the log nobody would miss its dead letter
        Harm::Remove(_) if bad && logged => {
            world.remove(DEAD, offset);
            (FindingKind::Missing, Place::DeadLetters, offset)
        }
        Harm::Change(_) if bad && logged => {
            world.put(DEAD, offset, 1);
            (FindingKind::Differing, Place::DeadLetters, offset)
        }
        Harm::Bury if bad => {
            world.put(POSTGRES, offset, 1);
            let place = if logged { Place::Postgres } else { Place::DeadLetters };
            (FindingKind::Unexpected, place, offset)
        }
        _ if bad => {
            world.tallies[DEAD].add(offset, number(offset));
            (FindingKind::Doubled, Place::DeadLetters, offset)
        }
        Harm::Remove(place) => {
            world.remove(place, offset);
            (FindingKind::Missing, PLACES[place], offset)
        }
        Harm::Double(place) => {
            world.tallies[place].add(offset, number(offset));
            (FindingKind::Doubled, PLACES[place], offset)
        }
        Harm::Change(place) => {
            world.put(place, offset, 1);
            (FindingKind::Differing, if logged { PLACES[place] } else { Place::Either }, offset)
        }
        Harm::Bury => {
            world.put(DEAD, offset, 1);
            (FindingKind::Unexpected, Place::DeadLetters, offset)
        }
    }
}

proptest! {
    /// Every damage below the frontiers of a healthy window is found, exactly that, and nothing else.
    #[test]
    fn every_harm_is_named_and_nothing_else(
        base in prop::sample::select(vec![0_i64, 64, 1 << 20, (1 << 40) + 64]),
        log_start in 0_i64..64,
        harms in prop::collection::btree_map(0_i64..60, harm(), 0..20),
        postgres_lag in 0_i64..4,
        clickhouse_lag in 0_i64..4,
    ) {
        let end = base + SIZE as i64;
        let known = Range::new(base + log_start, end);
        let mut world = World::healthy(base, Some(known), end - postgres_lag, end - clickhouse_lag);
        let harms: BTreeMap<Offset, Harm> =
            harms.into_iter().map(|(offset, harm)| (base + offset, harm)).filter(|(offset, _)| offset % 11 != 0).collect();
        let mut expected: Vec<_> =
            harms.into_iter().map(|(offset, harm)| do_harm(&mut world, harm, offset)).collect();
        expected.sort();
        prop_assert_eq!(world.found(), expected);
    }
}

/// A good record that one database refused: its row is missing there, and a dead letter for that database alone says why.
fn refused(place: usize, offset: Offset) -> World {
    let mut world = World::all_known(0);
    world.remove(place, offset);
    world.refused[place].add(offset, 77);
    world.log.want_letters(std::iter::once(offset));
    world.log.add_letter(offset, 77);
    world
}

#[test]
fn a_dead_letter_for_one_database_stands_in_its_rows_place() {
    assert_eq!(refused(POSTGRES, 9).found(), []);
    let mut both = refused(CLICKHOUSE, 9);
    assert_eq!(both.found(), []);
    both.remove(POSTGRES, 9);
    assert_eq!(both.found(), [(FindingKind::Missing, Place::Postgres, 9)], "the other database must have it");
    both.refused[POSTGRES].add(9, 77);
    assert_eq!(both.found(), [], "refused by both");
}

#[test]
fn a_dead_letter_for_a_database_that_has_the_row_is_unexpected() {
    let mut world = refused(POSTGRES, 9);
    world.put(POSTGRES, 9, number(9));
    assert_eq!(world.found(), [(FindingKind::Unexpected, Place::DeadLetters, 9)]);
    let mut world = refused(POSTGRES, 9);
    world.put(DEAD, 9, 77);
    assert!(world.found().contains(&(FindingKind::Unexpected, Place::DeadLetters, 9)), "for both and for one");
}

#[test]
fn a_dead_letter_for_one_database_is_compared_and_counted() {
    let mut world = refused(CLICKHOUSE, 9);
    world.refused[CLICKHOUSE].add(9, 77);
    assert_eq!(world.found(), [(FindingKind::Doubled, Place::DeadLetters, 9)]);
    let mut world = refused(CLICKHOUSE, 9);
    world.log.add_letter(9, 78);
    assert_eq!(world.found(), [(FindingKind::Differing, Place::DeadLetters, 9)]);
}

#[test]
fn where_the_log_is_gone_the_other_database_must_still_have_a_refused_row() {
    let mut world = World::healthy(0, None, 200, 200);
    for place in [POSTGRES, CLICKHOUSE] {
        world.remove(place, 9);
    }
    world.refused[POSTGRES].add(9, 77);
    assert_eq!(world.found(), [(FindingKind::Missing, Place::Clickhouse, 9)]);
}
