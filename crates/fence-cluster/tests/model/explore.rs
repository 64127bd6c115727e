//! Runs the checker over a plan and says what it saw.
//!
//! The explorer is stateright's: it has what is wanted (breadth first for the shortest trace, depth
//! first for little memory, several threads, a set of fingerprints instead of states, paths that are played
//! again), and takes any state and step, not only its own actors. What it does not have, the order of a process
//! group and the departures from a usual course, is in `schedule`, for it and for the walks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use fence_proto::Reply;
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::claims::Flaw;
use crate::plan::Plan;
use crate::rules::Rules;
use crate::step::Step;
use crate::world::World;

/// A plan as a model.
pub(crate) struct Exploration<R: Rules> {
    start: World<R>,
}

/// What an exploration saw.
pub(crate) struct Seen {
    pub(crate) name: String,
    /// States that differ.
    pub(crate) states: usize,
    /// The longest course, in steps.
    pub(crate) depth: usize,
    /// For each broken property the steps that break it, as text.
    pub(crate) broken: Vec<(Flaw, String)>,
    /// Whether a request was ever answered with success or off: else it shows nothing.
    pub(crate) good: bool,
}

const GOOD: &str = "an answer with a claim";

impl<R: Rules> Model for Exploration<R> {
    type State = World<R>;
    type Action = Step;

    fn init_states(&self) -> Vec<Self::State> {
        vec![self.start.clone()]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        actions.extend(state.steps());
    }

    fn next_state(&self, last: &Self::State, step: Self::Action) -> Option<Self::State> {
        let mut next = last.clone();
        next.apply(&step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        const fn never<R: Rules>(flaw: Flaw) -> fn(&Exploration<R>, &World<R>) -> bool {
            match flaw {
                Flaw::FalseSuccess => |_, world| !world.flaws.has(Flaw::FalseSuccess),
                Flaw::FalseOff => |_, world| !world.flaws.has(Flaw::FalseOff),
                Flaw::FalseOn => |_, world| !world.flaws.has(Flaw::FalseOn),
                Flaw::TwoCopies => |_, world| !world.flaws.has(Flaw::TwoCopies),
                Flaw::LateDeed => |_, world| !world.flaws.has(Flaw::LateDeed),
                Flaw::Unannounced => |_, world| !world.flaws.has(Flaw::Unannounced),
                Flaw::TwoReplies => |_, world| !world.flaws.has(Flaw::TwoReplies),
                Flaw::Unanswered => |_, world| !world.flaws.has(Flaw::Unanswered),
            }
        }
        let mut all: Vec<_> = Flaw::ALL
            .into_iter()
            .map(|flaw| Property::always(flaw.name(), never(flaw)))
            .collect();
        all.push(Property::sometimes(GOOD, |_, world: &World<R>| {
            let mut replies = world.asked.iter().filter_map(|asked| asked.reply);
            replies.any(|reply| matches!(reply, Reply::Success | Reply::Off))
        }));
        all
    }
}

/// Explores all of a plan.
pub(crate) fn explore<R: Rules>(plan: Plan) -> Seen {
    run::<R>(plan, HasDiscoveries::All)
}

/// Explores a plan until `flaw` is found; prints the trace. Panics if it is not.
pub(crate) fn catch<R: Rules>(plan: Plan, flaw: Flaw) {
    let seen = run::<R>(plan, HasDiscoveries::AllOf(BTreeSet::from([flaw.name()])));
    let broken = seen.broken.iter().find(|(broken, _)| *broken == flaw);
    let (_, trace) =
        broken.unwrap_or_else(|| panic!("{} does not break: {}", seen.name, flaw.name()));
    println!("{}: caught: {}\n{trace}\n", seen.name, flaw.name());
}

fn run<R: Rules>(plan: Plan, until: HasDiscoveries) -> Seen {
    let began = Instant::now();
    let name = plan.name.clone();
    let start = World::<R>::new(Arc::new(plan));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Exploration {
        start: start.clone(),
    }
    .checker()
    .threads(threads);
    let checker = checker.finish_when(until).spawn_bfs().join();
    let found = checker.discoveries();
    let broken = Flaw::ALL.into_iter().filter_map(|flaw| {
        let path = found.get(flaw.name())?;
        let steps = path.clone().into_actions();
        Some((flaw, play(&start, &steps)))
    });
    let seen = Seen {
        name,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        broken: broken.collect(),
        good: found.contains_key(GOOD),
    };
    let secs = began.elapsed().as_secs_f64();
    println!(
        "{:52} {:>9} states, {:>4} steps deep, {secs:.1} s{}",
        seen.name,
        seen.states,
        seen.depth,
        if seen.broken.is_empty() {
            ""
        } else {
            ", BROKEN"
        }
    );
    seen
}

/// Plays steps again and tells what happens.
pub(crate) fn play<R: Rules>(start: &World<R>, steps: &[Step]) -> String {
    let mut world = start.clone();
    world.log = Some(Vec::new());
    for step in steps {
        world.apply(step);
    }
    world.log.unwrap_or_default().join("\n")
}

impl Seen {
    /// Nothing is broken, and the plan could have shown it.
    pub(crate) fn holds(&self) {
        for (flaw, trace) in &self.broken {
            println!("\n{}: broken: {}\n{trace}", self.name, flaw.name());
        }
        assert!(self.broken.is_empty(), "{} is broken", self.name);
        assert!(self.good, "{}: nothing was ever claimed", self.name);
    }
}
