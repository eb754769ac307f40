//! The exhaustive check: visits every state that a scenario can reach, with stateright.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stateright::{Checker, Model, Property};

use crate::config::Config;
use crate::fair::Ends;
use crate::world::{Broken, Step, World};

/// A scenario in the form that stateright needs.
#[derive(Clone, Debug)]
pub struct Checked {
    config: Config,
    ends: Arc<Ends>,
}

impl Model for Checked {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.config)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.steps(&self.config, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.apply(&self.config, &step);
        // a step that changes nothing is no step
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE, |_, world: &World| world.broken.is_none()),
            Property::always(ENDS, |model: &Self, world: &World| {
                world.broken.is_some() || model.ends.of(&model.config, world).is_ok()
            }),
        ]
    }
}

const SAFE: &str = "nothing is lost, doubled, foreign or committed too early";
const ENDS: &str = "with the faults over, everything is stored";

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different states.
    pub states: usize,
    /// Steps of the longest history.
    pub depth: usize,
    /// Every state was visited.
    pub whole: bool,
    /// How long it took.
    pub took: Duration,
    /// What broke, and the steps to it.
    pub broken: Option<(Broken, Vec<Step>)>,
}

/// Checks a scenario, breadth first, up to `states_max` states. 0: all states.
pub fn check(config: &Config, threads: usize, states_max: usize) -> Outcome {
    let started = Instant::now();
    let model = Checked { config: config.clone(), ends: Arc::new(Ends::default()) };
    let mut builder = model.clone().checker().threads(threads).finish_when(stateright::HasDiscoveries::Any);
    if states_max > 0 {
        builder = builder.target_state_count(states_max);
    }
    let checker = builder.spawn_bfs().join();
    let broken = checker.discoveries().into_values().next().map(|path| {
        let (last, mut steps) = (path.last_state().clone(), path.into_actions());
        match last.broken.clone() {
            Some(broken) => (broken, steps),
            None => {
                let (broken, more) = model.ends.of(config, &last).err().unwrap_or((Broken::Stuck, Vec::new()));
                steps.extend(more);
                (broken, steps)
            }
        }
    });
    Outcome {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        whole: checker.is_done() && broken.is_none() && (states_max == 0 || checker.state_count() < states_max),
        took: started.elapsed(),
        broken,
    }
}
