//! A fair run: the faults are over, and every process that can do something does it. From every state it must store everything.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::config::{Budget, Config};
use crate::world::{Answer, Broken, Step, World, print};

/// After this number of steps a fair run goes in circles.
const STEPS_MAX: usize = 2_000;
const SHARDS: usize = 64;

/// States from which a fair run is known to end well.
#[derive(Debug)]
pub struct Ends {
    known: Vec<Mutex<HashSet<u64>>>,
}

impl Default for Ends {
    fn default() -> Self {
        Self { known: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Ends {
    fn knows(&self, print: u64) -> bool {
        self.known[print as usize % SHARDS].lock().contains(&print)
    }

    /// The end of the fair run from `world`: good, or what it breaks.
    pub fn of(&self, config: &Config, world: &World) -> Result<(), (Broken, Vec<Step>)> {
        let mut world = World { budget: Budget::default(), ..world.clone() };
        let (mut prints, mut taken) = (Vec::new(), Vec::new());
        loop {
            let print = print(&world);
            if self.knows(print) || world.is_done(config) {
                prints.push(print);
                break;
            }
            prints.push(print);
            let Some(step) = fair_step(&world, config).filter(|_| taken.len() < STEPS_MAX) else {
                return Err((Broken::Stuck, taken));
            };
            world.apply(config, &step);
            taken.push(step);
            if let Some(broken) = world.broken {
                return Err((broken, taken));
            }
        }
        for print in prints {
            self.known[print as usize % SHARDS].lock().insert(print);
        }
        Ok(())
    }
}

/// The next step of a fair run.
fn fair_step(world: &World, config: &Config) -> Option<Step> {
    let mut steps = Vec::new();
    world.steps(config, &mut steps);
    let rank = |step: &Step| rank(world, step);
    let step = steps.into_iter().filter_map(|step| rank(&step).map(|rank| (rank, step))).min_by_key(|(rank, _)| *rank);
    step.map(|(_, step)| step)
}

/// The step with the lowest rank is taken first. A heartbeat comes last: if nothing else is left to do, it must find what is
/// wrong.
fn rank(world: &World, step: &Step) -> Option<u32> {
    let is_member = |by: usize| world.kafka.member == Some(by);
    let is_broken = |by: usize| world.consumers[by].broken;
    Some(match *step {
        Step::SwitchPostgres | Step::SwitchClickHouse => 0,
        Step::Stray(..) => 1,
        Step::LandLate(_) | Step::LandCommit => 2,
        Step::Land { .. } => 3,
        Step::Notice(_) | Step::Release(_) => 4,
        Step::Produce => 5,
        Step::Assign(by) => 6 + u32::from(!world.consumers[by].up),
        // the coordinator sends its heartbeat whatever the writers do
        Step::Beat(by, Answer::Fine) if is_member(by) && is_broken(by) => 8,
        Step::TakeOver(by, Answer::Fine) if is_member(by) => 9,
        Step::Resolve(by) if is_member(by) => 10,
        Step::LeaveOut(by, Answer::Fine) if is_member(by) => 10,
        Step::Repair { by, unseen: false } if is_member(by) => 11,
        Step::Deliver { by, unseen: false } if is_member(by) => 12,
        Step::Write(by, 1, Answer::Fine) if is_member(by) => 13,
        Step::Describe(by) if is_member(by) => 14,
        Step::Send(by, Answer::Fine) if is_member(by) => 15,
        Step::Next(by, _, Answer::Fine) if is_member(by) => 16,
        Step::Reset(by) if is_member(by) => 17,
        Step::Read(by, _) if is_member(by) => 18,
        Step::Recommit(by) | Step::Commit(by) if is_member(by) => 19,
        Step::Beat(by, Answer::Fine) if is_member(by) => 20,
        _ => return None,
    })
}
