//! What each sink still needs of a range.

use super::*;
use crate::ledger::{Claim, Frontiers};

/// An owner that found two claims of another definition, up to 30. PostgreSQL is at 20 and ClickHouse at 10.
fn plan() -> Plan {
    Plan {
        start: 10,
        read_from: 10,
        claimed: 30,
        cuts: vec![20, 30],
        claims: vec![Claim { end: 20, fingerprint: 2 }, Claim { end: 30, fingerprint: 2 }],
        frontiers: Frontiers { dead_letters: 20, postgres: Some(20), clickhouse: Some(10) },
        uncertain_through: None,
        doubtful_below: None,
        birth: 1,
    }
}

#[test]
fn clickhouse_gets_what_it_has_not_acknowledged() {
    let delivery = |frontiers: Frontiers, range| Plan { frontiers, ..plan() }.clickhouse_delivery(range);
    let frontiers = plan().frontiers;
    let new = Range::new(30, 40);
    assert_eq!(delivery(frontiers, new), Delivery::Insert);
    assert_eq!(delivery(Frontiers { clickhouse: None, ..frontiers }, new), Delivery::Skip, "it is off");
    assert_eq!(delivery(Frontiers { clickhouse: Some(40), ..frontiers }, new), Delivery::Skip, "it has it");
    assert_eq!(delivery(frontiers, Range::new(20, 30)), Delivery::ReadBackFirst, "it was claimed by another");
}

#[test]
fn rows_and_dead_letters_are_wanted_above_their_frontiers() {
    let plan = plan();
    assert!(!plan.wants_dead_letters(Range::new(10, 20)) && plan.wants_dead_letters(Range::new(20, 30)));
    assert!(!plan.postgres_wants_rows(Range::new(10, 20)) && plan.postgres_wants_rows(Range::new(20, 30)));
    let off = Plan { frontiers: Frontiers { postgres: None, ..plan.frontiers }, ..plan };
    assert!(!off.postgres_wants_rows(Range::new(20, 30)) && off.wants_dead_letters(Range::new(20, 30)));
}

/// If another definition claimed a range and PostgreSQL has stored it, ClickHouse gets the same rows.
#[test]
fn the_rows_of_another_definition_are_the_truth_where_postgresql_has_them() {
    let plan = plan();
    let (stored, open) = (Range::new(10, 20), Range::new(20, 30));
    assert!(plan.postgres_is_truth(stored, 1));
    assert!(!plan.postgres_is_truth(stored, 2), "it is our own definition");
    assert!(!plan.postgres_is_truth(open, 1), "postgresql does not have it");
    assert!(!plan.postgres_is_truth(Range::new(10, 15), 1), "no such claim");
    let off = Plan { frontiers: Frontiers { postgres: None, ..plan.frontiers }, ..plan };
    assert!(!off.postgres_is_truth(stored, 1), "postgresql is off, and has none");
}

#[test]
fn a_repair_after_an_ok_knows_of_the_ok() {
    // after an OK, and after older inserts were waited out, rows are missing: the token lied, and the next level is used
    let mut repair = Repair::after_ok();
    assert_eq!(repair.read_back(3), Step::WaitOut);
    assert_eq!(repair.read_back(3), Step::Insert { level: 1 });
    assert_eq!(Repair::default(), Repair::new());
}
