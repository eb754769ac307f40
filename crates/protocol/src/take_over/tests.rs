use proptest::prelude::*;

use super::*;
use crate::ledger::OwnerId;
use crate::write::*;

const ON: Switches = Switches {
    postgres: Some(WhenSwitchedOn::Fill),
    clickhouse: Some(WhenSwitchedOn::Fill),
    on_lost_records: OnLostRecords::Stop,
};

fn row(postgres: Offset, clickhouse: Offset, ends: &[Offset], claimed: Offset) -> Row {
    Row {
        epoch: 3,
        owner: OwnerId(0),
        claimed,
        frontiers: Frontiers { dead_letters: postgres, postgres: Some(postgres), clickhouse: Some(clickhouse) },
        postgres_stopped: None,
        clickhouse_stopped: None,
        claims: ends.iter().map(|&end| Claim { end, fingerprint: 7 }).collect(),
        doubtful_below: None,
        birth: 0,
        first_offset: Some(0),
        format: FORMAT,
    }
}

fn seen(log_end: Offset) -> Observed {
    Observed { log_start: 0, log_end, may_have_gone_back: false, clickhouse_highest: None, ledger_lost: false }
}

#[test]
fn a_claim_of_another_definition_reaches_from_the_claim_before_it() {
    let mut found = row(10, 10, &[20, 30, 40], 40);
    found.claims[1].fingerprint = 1;
    let plan = settle(found, &seen(100), &ON).unwrap().plan;
    assert_eq!(plan.claims_of_others(1), [(Range::new(10, 20), 7), (Range::new(30, 40), 7)]);
    assert_eq!(plan.claims_of_others(7), [(Range::new(20, 30), 1)]);
}

#[test]
fn pending_claims_are_replayed_as_they_were_cut() {
    let settled = settle(row(20, 10, &[20, 30], 30), &seen(100), &ON).unwrap();
    let plan = settled.plan;
    assert_eq!((plan.start, plan.read_from, plan.claimed), (10, 10, 30));
    assert_eq!(plan.cuts, [20, 30]);
    assert_eq!(plan.clickhouse_delivery(Range::new(10, 20)), Delivery::ReadBackFirst);
    assert!(!plan.postgres_wants_rows(Range::new(10, 20)) && plan.postgres_wants_rows(Range::new(20, 30)));
    assert_eq!(plan.clickhouse_delivery(Range::new(30, 40)), Delivery::Insert);
}

#[test]
fn a_frontier_inside_a_claim_is_corruption() {
    let error = settle(row(15, 10, &[20], 20), &seen(100), &ON).unwrap_err();
    assert!(matches!(error, Corrupt::InsideClaim { next: 15, .. }), "{error}");
}

#[test]
fn claims_that_do_not_rise_to_claimed_are_corruption() {
    for (ends, claimed) in [(vec![30, 20], 30), (vec![20], 30), (vec![], 30), (vec![10], 10)] {
        let result = settle(row(10, 10, &ends, claimed), &seen(100), &ON);
        assert!(matches!(result, Err(Corrupt::Claims(..))), "{ends:?} {claimed}: {result:?}");
    }
}

#[test]
fn after_a_restart_everything_below_the_logs_end_is_read_back() {
    let observed = Observed { may_have_gone_back: true, ..seen(100) };
    let settled = settle(row(10, 10, &[], 10), &observed, &ON).unwrap();
    assert_eq!(settled.row.doubtful_below, Some(100));
    assert_eq!(settled.plan.clickhouse_delivery(Range::new(99, 120)), Delivery::InsertThenReadBack);
    assert_eq!(settled.plan.clickhouse_delivery(Range::new(100, 120)), Delivery::Insert);
}

#[test]
fn what_clickhouse_holds_above_the_ledger_makes_new_claims_uncertain() {
    let observed = Observed { clickhouse_highest: Some(50), ..seen(100) };
    let plan = settle(row(10, 10, &[], 10), &observed, &ON).unwrap().plan;
    assert_eq!(plan.clickhouse_delivery(Range::new(50, 60)), Delivery::ReadBackFirst);
    assert_eq!(plan.clickhouse_delivery(Range::new(51, 60)), Delivery::InsertThenReadBack);
    assert_eq!(plan.clickhouse_delivery(Range::new(100, 110)), Delivery::Insert);
}

#[test]
fn h_is_kept_until_it_is_passed() {
    let mut doubtful = row(10, 10, &[], 10);
    doubtful.doubtful_below = Some(40);
    assert_eq!(settle(doubtful.clone(), &seen(100), &ON).unwrap().row.doubtful_below, Some(40));
    doubtful.frontiers = Frontiers { dead_letters: 40, postgres: Some(40), clickhouse: Some(40) };
    doubtful.claimed = 40;
    assert_eq!(settle(doubtful, &seen(100), &ON).unwrap().row.doubtful_below, None);
}

#[test]
fn records_lost_to_retention_stop_or_leave_a_gap() {
    let observed = Observed { log_start: 25, ..seen(100) };
    let stopped = settle(row(10, 10, &[], 10), &observed, &ON);
    assert_eq!(stopped.unwrap_err(), Corrupt::Lost { range: Range::new(10, 25) });
    let skip = Switches { on_lost_records: OnLostRecords::Skip, ..ON };
    let settled = settle(row(10, 10, &[20], 20), &observed, &skip).unwrap();
    assert_eq!((settled.plan.start, settled.plan.read_from), (10, 25));
    assert_eq!(settled.gaps[0].range, Range::new(10, 25));
}

#[test]
fn a_log_that_ends_below_the_ledger_stops() {
    let error = settle(row(10, 10, &[], 10), &seen(9), &ON).unwrap_err();
    assert_eq!(error, Corrupt::LogWentBack { log_end: 9, claimed: 10 });
}

#[test]
fn a_newer_row_is_refused() {
    let mut newer = row(10, 10, &[], 10);
    newer.format = FORMAT + 1;
    assert_eq!(settle(newer, &seen(100), &ON).unwrap_err(), Corrupt::NewerFormat(FORMAT + 1));
}

#[test]
fn a_sink_that_is_off_remembers_where_it_stopped_and_is_filled_from_there() {
    let off = Switches { clickhouse: None, ..ON };
    let (stopped, gaps) = switch(row(30, 10, &[20, 30], 30), &off);
    assert_eq!((stopped.frontiers.clickhouse, stopped.clickhouse_stopped), (None, Some(10)));
    assert!(gaps.is_empty());
    let mut later = stopped;
    (later.frontiers.postgres, later.frontiers.dead_letters, later.claimed) = (Some(90), 90, 90);
    later.claims.clear();

    let (filled, gaps) = switch(later.clone(), &ON);
    assert_eq!((filled.claimed, filled.frontiers.clickhouse, filled.clickhouse_stopped), (10, Some(10), None));
    assert!(gaps.is_empty() && filled.claims.is_empty());
    assert_eq!(question_from(&filled), 10, "inserts that landed by half are found");
    let plan = settle(filled, &seen(100), &ON).unwrap().plan;
    assert_eq!(
        (plan.start, plan.cuts.as_slice()),
        (10, [90].as_slice()),
        "no batch reaches over postgresql's frontier"
    );
    assert!(!plan.postgres_wants_rows(Range::new(10, 90)) && !plan.wants_dead_letters(Range::new(10, 90)));

    let skip = Switches { clickhouse: Some(WhenSwitchedOn::Skip), ..ON };
    let (skipped, gaps) = switch(later, &skip);
    assert_eq!((skipped.frontiers.clickhouse, skipped.claimed), (Some(90), 90));
    assert_eq!((gaps[0].sink, gaps[0].range), (Some(SinkName::ClickHouse), Range::new(10, 90)));
}

#[test]
fn a_lost_answer_is_what_the_row_says() {
    let range = Range::new(10, 20);
    assert_eq!(resolve(true, Some(20), range), Resolution::Landed);
    assert_eq!(resolve(true, Some(10), range), Resolution::SendAgain);
    assert_eq!(resolve(true, Some(30), range), Resolution::TakeOver);
    assert_eq!(resolve(false, Some(20), range), Resolution::TakeOver);
    assert_eq!(resolve(true, None, range), Resolution::TakeOver);
}

#[test]
fn a_token_that_lies_is_left_only_after_older_attempts_were_waited_out() {
    let mut repair = Repair::new();
    assert_eq!(repair.read_back(3), Step::WaitOut, "what ran while it was read back may have landed since");
    assert_eq!(repair.read_back(3), Step::Insert { level: 0 });
    assert_eq!(repair.refused(), Step::ReadBack);
    assert_eq!(repair.read_back(3), Step::WaitOut, "another one runs");
    assert_eq!(repair.read_back(3), Step::Insert { level: 0 });
    assert_eq!(repair.inserted(false), Step::ReadBack);
    assert_eq!(repair.read_back(3), Step::WaitOut, "it may still run");
    assert_eq!(repair.read_back(3), Step::Insert { level: 0 }, "after an error the level stays");
    assert_eq!(repair.inserted(true), Step::ReadBack);
    assert_eq!(repair.read_back(3), Step::WaitOut);
    assert_eq!(repair.read_back(3), Step::Insert { level: 1 });
    assert_eq!(repair.inserted(true), Step::ReadBack);
    let mut hidden = repair;
    assert_eq!(repair.read_back(0), Step::Done);
    assert_eq!(hidden.read_back(3), Step::WaitOut);
    assert_eq!(hidden.read_back(3), Step::Contradicted, "two tokens do not lie");
}

proptest! {
    /// For all frontiers: no batch of a plan has a frontier inside it, and the plan starts at the lowest frontier.
    #[test]
    fn no_frontier_lies_inside_a_batch_cut_by_the_plan(
        steps in prop::collection::vec(1_i64..50, 1..10), postgres in 0_usize..10, clickhouse in 0_usize..10
    ) {
        let ends: Vec<Offset> = steps.iter().scan(0, |end, step| { *end += step; Some(*end) }).collect();
        let at = |index: usize| if index == 0 { 0 } else { ends[(index - 1).min(ends.len() - 1)] };
        let (postgres, clickhouse) = (at(postgres), at(clickhouse));
        let claimed = *ends.last().unwrap();
        let pending: Vec<Offset> = ends.iter().copied().filter(|&end| end > postgres.min(clickhouse)).collect();
        let plan = settle(row(postgres, clickhouse, &pending, claimed), &seen(claimed), &ON).unwrap().plan;
        prop_assert_eq!(plan.start, postgres.min(clickhouse));
        let mut start = plan.start;
        for &cut in &plan.cuts {
            for next in [postgres, clickhouse] {
                prop_assert!(next <= start || next >= cut);
            }
            start = cut;
        }
        prop_assert!(start == claimed || plan.cuts.is_empty());
    }
}

#[test]
fn only_a_row_left_clean_under_this_server_needs_no_drain() {
    // The story: a row that was restored from before a claim looks as clean as one that never had the claim. An insert of the lost claim
    // landed after the take-over, and its rows were doubled.
    let clean = row(10, 10, &[], 10);
    assert!(!must_drain(&clean, true, false));
    assert!(must_drain(&clean, true, true), "the ledger may have gone back");
    assert!(must_drain(&clean, false, false), "the row was made again");
    assert!(must_drain(&row(10, 10, &[20], 20), true, false), "a claim is pending");
    // a row forgets its claims when a sink is switched off; after ClickHouse was on again, an earlier insert was still in flight
    let (off, _) = switch(row(20, 10, &[20], 20), &Switches { clickhouse: None, ..ON });
    assert!(off.claims.is_empty());
    assert!(must_drain(&off, true, false), "clickhouse was off");
}

#[test]
fn a_sink_that_is_filled_meets_old_tokens() {
    // The range is claimed again, perhaps with the same end. A server may have logged its token and crashed before the part was there.
    let (off, _) = switch(row(20, 10, &[30], 30), &Switches { postgres: None, ..ON });
    let (on, gaps) = switch(off, &ON);
    assert!(gaps.is_empty());
    let plan = settle(on, &seen(100), &ON).unwrap().plan;
    assert_eq!(plan.claimed, 10);
    assert_eq!(plan.clickhouse_delivery(Range::new(10, 30)), Delivery::InsertThenReadBack);
    assert_eq!(plan.clickhouse_delivery(Range::new(30, 40)), Delivery::Insert);
}

#[test]
fn a_sink_that_missed_nothing_leaves_no_gap() {
    let skip = Switches { clickhouse: Some(WhenSwitchedOn::Skip), ..ON };
    let mut off = row(20, 20, &[], 20);
    (off.frontiers.clickhouse, off.clickhouse_stopped) = (None, Some(20));
    let (on, gaps) = switch(off, &skip);
    assert_eq!((on.frontiers.clickhouse, gaps.len()), (Some(20), 0));
}

#[test]
fn a_row_below_zero_is_corruption() {
    let mut negative = row(0, 0, &[], -5);
    negative.frontiers = Frontiers { dead_letters: -5, postgres: Some(-5), clickhouse: Some(-5) };
    assert!(matches!(settle(negative, &seen(100), &ON), Err(Corrupt::Claims(..))));
    assert!(matches!(settle(row(0, 0, &[], -5), &seen(100), &ON), Err(Corrupt::Claims(..))), "claimed alone");
    assert!(matches!(settle(row(-5, -5, &[5], 5), &seen(100), &ON), Err(Corrupt::Claims(..))), "a frontier alone");
    let repeated = row(10, 10, &[20, 20], 20);
    assert!(matches!(settle(repeated, &seen(100), &ON), Err(Corrupt::Claims(..))), "the same claim twice");
}

#[test]
fn what_is_corrupt_says_what_to_do() {
    let range = Range::new(3, 7);
    for (corrupt, parts) in [
        (Corrupt::NewerFormat(9), ["format 9, this program knows 2", "run the newer footprint"]),
        (
            Corrupt::InsideClaim { sink: "clickhouse", next: 5, range },
            ["clickhouse's frontier 5 lies inside the claimed range [3, 7)", "run `footprint verify`"],
        ),
        (Corrupt::Claims(vec![4, 2], 9), ["claims [4, 2] do not rise to 9", "run `footprint verify`"]),
        (Corrupt::Lost { range }, ["retention deleted records [3, 7)", "kafka.on_lost_records = \"skip\""]),
        (Corrupt::LogWentBack { log_end: 3, claimed: 7 }, ["ends at 3, below the ledger's 7", "see what happened"]),
    ] {
        let text = corrupt.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
