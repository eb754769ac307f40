use std::collections::BTreeSet;

use super::*;

fn stored(parts: &[(Partition, Offset, Offset)]) -> Schedule {
    let mut schedule = Schedule::new(7);
    for &(partition, first, stored) in parts {
        schedule.partitions.insert(partition, Proven { stored, ..Proven::new(first, first, &[]) });
    }
    schedule
}

fn wrong(choice: Choice, first: Offset, lost: u64) -> Faulty {
    let faults = Faults { postgres: [lost, 0, 0], ..Faults::default() };
    Faulty { range: choice.range, first, faults, example: "lost".into() }
}

fn lost(count: u64) -> Faults {
    Faults { postgres: [count, 0, 0], ..Faults::default() }
}

#[test]
fn a_pass_visits_each_window_once_and_the_seed_decides_the_order() {
    let visits = |seed: u64| {
        let mut schedule = stored(&[(0, 100, 40_000), (3, 0, 5), (4, 9, 9), (7, 8_192, 20_000)]);
        schedule.pass.seed = seed;
        let now = Instant::now();
        let count = 10 + 1 + 3;
        (0..count).map(|_| schedule.scattered(now).unwrap()).map(|c| (c.partition, c.range)).collect::<Vec<_>>()
    };
    let first = visits(7);
    let distinct: BTreeSet<_> = first.iter().copied().collect();
    assert_eq!(distinct.len(), first.len());
    let length = |partition| {
        distinct.iter().filter(|(number, _)| *number == partition).map(|(_, range)| range.len()).sum::<u64>()
    };
    assert_eq!([length(0), length(3), length(4), length(7)], [39_900, 5, 0, 11_808]);
    assert_eq!(visits(7), first);
    assert_ne!(visits(8), first);
    assert!(first.windows(2).any(|pair| pair[1] < pair[0]), "no order from low to high");
}

#[test]
fn the_walk_in_order_reaches_the_frontier_and_takes_half_of_the_turns() {
    let mut schedule = stored(&[(0, 10, 30_000)]);
    let now = Instant::now();
    let mut in_order = Vec::new();
    for _ in 0..16 {
        let choice = schedule.choose(now).unwrap();
        if choice.walk == Walk::InOrder {
            in_order.push((choice.range.start, choice.range.end));
        }
        schedule.compared(choice, None, now);
    }
    assert_eq!(in_order[..3], [(10, 4_096), (4_096, 8_192), (8_192, 12_288)]);
    assert_eq!(in_order.last(), Some(&(28_672, 30_000)));
    assert_eq!((in_order.len(), schedule.partitions[&0].proven_below()), (8, 30_000));
    // a few new records wait for more, but not for long
    schedule.partitions.get_mut(&0).unwrap().stored = 30_010;
    assert_eq!(schedule.in_order(now), None);
    let range = schedule.in_order(now + TIP_WAIT).map(|choice| choice.range);
    assert_eq!(range, Some(Range::new(30_000, 30_010)));
}

#[test]
fn nothing_stored_is_nothing_to_prove() {
    assert_eq!(Schedule::new(1).choose(Instant::now()), None);
    assert_eq!(stored(&[(0, 5, 5)]).choose(Instant::now()), None);
}

#[test]
fn a_fault_is_new_once_holds_the_proven_offset_and_is_looked_at_again_until_it_is_mended() {
    let mut schedule = stored(&[(0, 0, 20_000)]);
    let now = Instant::now();
    let choice = Choice { partition: 0, range: Range::new(4_096, 8_192), walk: Walk::Scattered };
    for _ in 0..10 {
        let choice = schedule.choose(now).unwrap();
        schedule.compared(choice, None, now);
    }
    assert_eq!(schedule.partitions[&0].proven_below(), 20_000);
    assert_eq!(schedule.compared(choice, Some(wrong(choice, 5_000, 1)), now), lost(1));
    assert_eq!(schedule.compared(choice, Some(wrong(choice, 5_000, 1)), now), lost(0));
    assert_eq!(schedule.compared(choice, Some(wrong(choice, 4_999, 3)), now), lost(2));
    assert_eq!((schedule.partitions[&0].proven_below(), schedule.partitions[&0].faults()), (4_999, lost(3)));
    let again = (0..AGAIN_EVERY).filter_map(|_| schedule.choose(now)).find(|choice| choice.walk == Walk::Again);
    assert_eq!(again.map(|choice| choice.range), Some(choice.range));
    // a part of the window without the fault does not mend it
    let part = Choice { range: Range::new(6_000, 8_192), ..choice };
    schedule.compared(part, None, now);
    assert_eq!(schedule.partitions[&0].faulty.len(), 1);
    schedule.compared(choice, None, now);
    assert_eq!((schedule.partitions[&0].faulty.len(), schedule.partitions[&0].faults()), (0, lost(0)));
}

#[test]
fn after_a_restart_the_walk_goes_on_and_a_known_fault_comes_first() {
    let mut schedule = Schedule::new(3);
    schedule.partitions.insert(2, Proven { stored: 50_000, ..Proven::new(0, 40_960, &[9_000]) });
    let now = Instant::now();
    assert_eq!(schedule.partitions[&2].proven_below(), 9_000);
    let choices: Vec<Choice> = (0..4).filter_map(|_| schedule.choose(now)).collect();
    let range = |walk| choices.iter().find(|choice| choice.walk == walk).map(|choice| choice.range);
    assert_eq!(range(Walk::InOrder), Some(Range::new(40_960, 45_056)));
    assert_eq!(range(Walk::Again), Some(Range::new(8_192, 12_288)));
}
