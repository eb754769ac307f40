//! As much of the protocol's proof as every test run can afford: each scenario's nearest states, each guard's effect, and some
//! thousands of random histories. `cargo model` does all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue panics")]
#![allow(unreachable_pub, reason = "nothing else uses it")]

use footprint_model::check::check;
use footprint_model::guard::{Guard, Guards};
use footprint_model::simulate::walk_many;
use footprint_model::{scenario, teeth};

/// Steps looked at in each scenario. Most scenarios are finished by then. `cargo model check` finishes the rest.
const STEPS_MAX: usize = 400_000;
/// Random histories. `cargo model simulate` walks any number.
const SEEDS: u64 = 5_000;

#[test]
fn no_scenario_loses_doubles_or_sticks() {
    let (mut states, mut whole) = (0, 0);
    for scenario in scenario::all() {
        let outcome = check(&scenario.config, 1, STEPS_MAX);
        println!("{:20} {} states, depth {}, whole: {}", scenario.name, outcome.states, outcome.depth, outcome.whole);
        assert!(outcome.broken.is_none(), "{}: {:?}", scenario.name, outcome.broken);
        states += outcome.states;
        whole += usize::from(outcome.whole);
    }
    println!("{states} states; {whole} scenarios whole");
    assert!(states > 1_000_000, "the model has shrunk to {states} states");
}

#[test]
fn every_guard_has_a_tooth() {
    let teeth = teeth::all();
    for &guard in Guard::ALL {
        let bites = teeth.iter().any(|tooth| tooth.breaks && tooth.removed.contains(&guard));
        // nothing breaks without this one; docs/protocol.md says why it is kept
        assert!(bites || guard == Guard::RevokeOrder, "{guard} is never taken out");
    }
    for tooth in teeth {
        let outcome = tooth.bite(1);
        println!("without {:?} in {}: {}", tooth.removed, tooth.scenario, teeth::tell(&outcome));
        assert_eq!(outcome.broken.is_some(), tooth.breaks, "without {:?} in {}", tooth.removed, tooth.scenario);
    }
}

#[test]
fn random_histories_store_everything_once() {
    let walked = walk_many(1, SEEDS, 1, Guards::all());
    println!("{} histories, {} steps, {} faults", walked.seeds, walked.steps, walked.faults);
    if let Some(failure) = walked.failure {
        let steps: Vec<String> = failure.steps.iter().map(|step| format!("{step:?}")).collect();
        panic!("seed {}: {:?} after\n{}", failure.seed, failure.broken, steps.join("\n"));
    }
    assert!(walked.faults > SEEDS * 10, "only {} faults struck", walked.faults);
}

#[test]
fn random_histories_notice_a_missing_guard() {
    for guard in [Guard::CompareAndSet, Guard::ReadBackAtTakeOver, Guard::HighestOffset, Guard::ClaimEnds] {
        let walked = walk_many(1, SEEDS, 1, Guards::all().without(guard));
        assert!(walked.failure.is_some(), "{guard} was not missed in {} histories", walked.seeds);
    }
}
