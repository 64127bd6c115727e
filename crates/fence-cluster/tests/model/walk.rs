//! Long random walks: more hosts, domains and requests than can be explored, everything that can go
//! wrong, and no usual course. A walk is repeated by its seed, and one that breaks a property is made shorter
//! before it is shown.

use std::sync::Arc;

use fence_proto::{Action, Reply};

use crate::claims::Flaws;
use crate::explore::play;
use crate::plan::{Ask, Kind, Place, Plan};
use crate::rules::Rules;
use crate::step::Step;
use crate::world::World;

/// splitmix64.
struct Rng(u64);

impl Rng {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    fn chance(&mut self, permille: usize) -> bool {
        self.below(1000) < permille
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len())).cloned()
    }
}

/// What a seed stands for.
fn plan(rng: &mut Rng) -> Plan {
    let hosts = 2 + rng.below(4);
    let domains = 1 + rng.below(3);
    let mut plan = Plan::new("walk", Action::Off);
    plan.domains = (0..domains)
        .map(|_| Place {
            runs: rng.chance(800).then(|| rng.below(hosts)),
            defined: (0..hosts).filter(|_| rng.chance(400)).collect(),
        })
        .collect();
    plan.asks = (0..1 + rng.below(6))
        .map(|_| Ask {
            host: rng.below(hosts),
            action: [
                Action::Off,
                Action::Off,
                Action::Reboot,
                Action::On,
                Action::Status,
            ][rng.below(5)],
            domain: rng.below(domains),
        })
        .collect();
    plan.hosts = hosts;
    plan.proofs = rng.chance(700);
    plan.warm = rng.chance(800);
    plan.free = true;
    plan.stalls = u8::try_from(rng.below(5)).unwrap();
    plan.faults = u8::try_from(rng.below(9)).unwrap();
    plan.menu = Kind::ALL.map(|kind| (kind, 8)).to_vec();
    plan.ask_by = 40_000;
    plan.tail = 3000;
    plan
}

/// Chooses a step: mostly what the daemons do, in any order.
fn choose<R: Rules>(world: &World<R>, rng: &mut Rng) -> Option<Step> {
    let steps = world.steps();
    let (rare, usual): (Vec<_>, Vec<_>) = steps.into_iter().partition(|step| {
        matches!(
            step,
            Step::Happens(_) | Step::Stall(..) | Step::Unstall(..) | Step::Ask
        )
    });
    let waits = usual.iter().all(|step| matches!(step, Step::Advance(_)));
    let often = if waits { 250 } else { 30 };
    if rare.is_empty() || (!usual.is_empty() && !rng.chance(often)) {
        return rng.pick(&usual);
    }
    // By kind first: there are many ways to cut a network and one to ask.
    let kinds = [
        |step: &Step| matches!(step, Step::Ask),
        |step: &Step| matches!(step, Step::Stall(..) | Step::Unstall(..)),
        |step: &Step| matches!(step, Step::Happens(what) if what.kind().is_none_or(Kind::is_recovery)),
        |step: &Step| matches!(step, Step::Happens(what) if !what.kind().is_none_or(Kind::is_recovery)),
    ];
    let kind = kinds[rng.below(kinds.len())];
    let these: Vec<_> = rare.iter().filter(|step| kind(step)).cloned().collect();
    rng.pick(&these).or_else(|| rng.pick(&rare))
}

/// One walk; the steps it took, and where it ended.
fn walk<R: Rules>(seed: u64) -> (World<R>, Vec<Step>, World<R>) {
    let mut rng = Rng(seed);
    let start = World::<R>::new(Arc::new(plan(&mut rng)));
    let mut world = start.clone();
    let mut steps = Vec::new();
    while steps.len() < 5000
        && let Some(step) = choose(&world, &mut rng)
    {
        world.apply(&step);
        steps.push(step);
    }
    (start, steps, world)
}

/// Leaves out what is not needed to break the same property. A step that is not possible any more is left out too.
fn shorten<R: Rules>(start: &World<R>, mut steps: Vec<Step>, end: &World<R>) -> Vec<Step> {
    let mut chunk = steps.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(fewer.len()));
            let mut world = start.clone();
            fewer.retain(|step| {
                let possible = world.steps().contains(step);
                if possible {
                    world.apply(step);
                }
                possible
            });
            if world.flaws == end.flaws {
                steps = fewer;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    steps
}

/// What many walks came to.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) walks: u64,
    pub(crate) steps: usize,
    pub(crate) answers: usize,
    pub(crate) claims: usize,
}

/// A walk that broke something, made short.
pub(crate) struct Broken {
    pub(crate) seed: u64,
    pub(crate) flaws: Flaws,
    pub(crate) trace: String,
}

/// Walks from these seeds on, until one breaks a property.
pub(crate) fn walks<R: Rules>(seeds: core::ops::Range<u64>) -> Result<Walked, Broken> {
    let mut walked = Walked::default();
    for seed in seeds {
        let (start, steps, end) = walk::<R>(seed);
        walked.walks += 1;
        walked.steps += steps.len();
        for reply in end.asked.iter().filter_map(|asked| asked.reply) {
            walked.answers += 1;
            walked.claims += usize::from(reply != Reply::Failure);
        }
        if !end.flaws.is_empty() {
            let steps = shorten(&start, steps, &end);
            let trace = format!("{:?}\n{}", start.plan, play(&start, &steps));
            let flaws = end.flaws;
            return Err(Broken { seed, flaws, trace });
        }
    }
    Ok(walked)
}
