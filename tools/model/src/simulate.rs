//! Long random histories through a larger world: more records, longer batches, and every fault several times. A seed is a
//! history: the same seed replays it step by step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use footprint_protocol::offset::Offset;
use footprint_protocol::take_over::WhenSwitchedOn;
use parking_lot::Mutex;

use crate::config::{Budget, Config};
use crate::fair::Ends;
use crate::guard::Guards;
use crate::servers::Offsets;
use crate::world::{Broken, Step, World, print};

/// Steps of a history before the faults are over.
const STEPS_MAX: u64 = 600;

/// Draws numbers from a seed. They are the same in every version of this program.
#[derive(Clone, Debug)]
struct Draws {
    seed: u64,
    drawn: u64,
}

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        print(&(self.seed, self.drawn)) % bound.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A history that broke something.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What broke.
    pub broken: Broken,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

/// The totals of several histories.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Histories.
    pub seeds: u64,
    /// Steps of all of them, before the fair runs.
    pub steps: u64,
    /// Faults that struck.
    pub faults: u64,
    /// The first history that broke something, if there is one.
    pub failure: Option<Failure>,
}

fn config_of(draws: &mut Draws, guards: Guards) -> Config {
    let records = 6 + draws.below(7) as Offset;
    let mut upto = |most: u64| draws.below(most + 1) as u8;
    let budget = Budget {
        crashes: upto(5),
        moves: upto(5),
        retakes: upto(3),
        lost_answers: upto(4),
        late: upto(4),
        failures: upto(6),
        ages: upto(4),
        forgets: upto(2),
        clickhouse_crashes: upto(3),
        postgres_crashes: upto(2),
        backups: upto(2),
        restores: upto(2),
        replaces: upto(1),
        switches: upto(2),
        old_commits: upto(3),
        redefines: upto(1),
    };
    // after the ledger was lost, a partition is read from the log's start, wherever the route had started
    let is_kept = budget.restores == 0 && budget.replaces == 0;
    let budget = Budget { old_commits: if is_kept { budget.old_commits } else { 0 }, ..budget };
    // a range that is claimed again is decoded again
    let keeps_claims = budget.restores == 0 && budget.switches == 0;
    let budget = Budget { redefines: if keeps_claims { budget.redefines } else { 0 }, ..budget };
    Config {
        guards,
        consumers: 2,
        records,
        first_end: draws.below(records as u64 + 1) as Offset,
        bad: Offsets(draws.below(1 << records) as u32 & draws.below(1 << records) as u32),
        refused_by_postgres: some(draws, records),
        refused_by_clickhouse: some(draws, records),
        batch_max: 1 + draws.below(4) as Offset,
        queue_max: 1 + draws.below(3) as usize,
        budget,
        token_first: draws.one_in(2),
        when_switched_on: if draws.one_in(2) { WhenSwitchedOn::Fill } else { WhenSwitchedOn::Skip },
        slow_commits: draws.one_in(2),
        starts_at_end: is_kept && draws.one_in(4),
        switch_postgres: draws.one_in(2),
    }
}

/// A few records, or equally often none.
fn some(draws: &mut Draws, records: Offset) -> Offsets {
    let mut draw = || draws.below(1 << records) as u32;
    let few = Offsets(draw() & draw() & draw());
    if draws.one_in(2) { few } else { Offsets(0) }
}

/// Walks the history of one seed. Returns its steps and faults, or what broke.
pub fn walk(seed: u64, guards: Guards) -> Result<(u64, u64), Failure> {
    let mut draws = Draws { seed, drawn: 0 };
    let config = config_of(&mut draws, guards);
    // some histories are calm, some are not
    let calm = 3 + draws.below(15);
    let mut world = World::new(&config);
    let (mut taken, mut steps, mut faults) = (Vec::new(), Vec::new(), 0);
    for _ in 0..STEPS_MAX {
        steps.clear();
        world.steps(&config, &mut steps);
        let strikes = draws.one_in(calm);
        let (before, old) = (world.budget, world.clone());
        let mut fitting: Vec<&Step> = steps.iter().filter(|step| strikes == step.is_fault()).collect();
        if fitting.is_empty() {
            fitting = steps.iter().collect();
        }
        if fitting.is_empty() {
            break;
        }
        let step = fitting[draws.below(fitting.len() as u64) as usize].clone();
        world.apply(&config, &step);
        if world == old {
            continue; // a heartbeat that changes nothing is no step
        }
        taken.push(step);
        faults += u64::from(world.budget != before);
        if let Some(broken) = world.broken {
            return Err(Failure { seed, broken, steps: taken });
        }
    }
    let count = taken.len() as u64;
    match Ends::default().of(&config, &world) {
        Ok(()) => Ok((count, faults)),
        Err((broken, more)) => {
            taken.extend(more);
            Err(Failure { seed, broken, steps: taken })
        }
    }
}

/// Walks `count` histories from `first` on, on `threads` threads. Stops at the first that breaks something.
pub fn walk_many(first: u64, count: u64, threads: usize, guards: Guards) -> Walked {
    let next = AtomicU64::new(0);
    let walked = Mutex::new(Walked::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while walked.lock().failure.is_none() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let result = walk(first.wrapping_add(number), guards);
                    let mut walked = walked.lock();
                    walked.seeds += 1;
                    match result {
                        Ok((steps, faults)) => {
                            walked.steps += steps;
                            walked.faults += faults;
                        }
                        Err(failure) => {
                            walked.failure.get_or_insert(failure);
                        }
                    }
                }
            });
        }
    });
    walked.into_inner()
}
