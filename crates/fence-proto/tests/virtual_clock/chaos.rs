//! It stays true when everything goes wrong at once: random worlds, each from one seed.

use std::time::Duration;

use fence_proto::agent::Verdict;
use fence_proto::{Action, Reply};

use crate::agent::Asks;
use crate::domains::{Domain, Pace};
use crate::honest::asks;
use crate::invariants::{hold, is_off_if_agent_says_so};
use crate::link::Link;
use crate::rng::Rng;
use crate::stranger::{Manner, Stranger};
use crate::world::{Happening, NOWHERE, World};

const RUNS: u64 = 2000;

fn millis(least: u64, most: u64) -> (Duration, Duration) {
    (Duration::from_millis(least), Duration::from_millis(most))
}

fn any_link(rng: &mut Rng) -> Link {
    Link {
        loss: rng.pick(&[0, 50, 300, 500]),
        duplicate: rng.pick(&[0, 100, 500]),
        straggle: rng.pick(&[0, 50, 300]),
        delay: rng.pick(&[millis(0, 1), millis(1, 50), millis(100, 900)]),
        reset: rng.pick(&[0, 50, 500]),
        silence: rng.pick(&[0, 50, 200]),
    }
}

fn any_pace(rng: &mut Rng) -> Pace {
    Pace {
        queue: rng.pick(&[millis(0, 0), millis(0, 500), millis(0, 25_000)]),
        work: rng.pick(&[millis(0, 10), millis(100, 3_000), millis(0, 60_000)]),
        hang: rng.pick(&[0, 0, 100]),
    }
}

fn any_request(rng: &mut Rng, seqno: u32) -> Asks {
    let actions = [
        Action::Off,
        Action::Reboot,
        Action::On,
        Action::Status,
        Action::Monitor,
    ];
    let action = rng.pick(&actions);
    let domain = rng.pick(&["vm0", "vm1", "vm2", "vm3", "unknown"]);
    let mut it = asks(action, domain, seqno);
    it.timeout = rng.between(millis(1, 40_000));
    it.retransmit = Some(rng.between(millis(300, 3_000)));
    if rng.chance(100) {
        it.key = b"another key";
    }
    if rng.chance(200) {
        it.retransmit = None;
    }
    if rng.chance(250) {
        it.addresses.insert(0, (NOWHERE, 1229).into());
    }
    if rng.chance(250) {
        // Its own: a handshake says nothing of the request, so an agent that listens where another
        // has listened before can be led to confirm the other's (section 4's weaknesses).
        let own = u8::try_from(seqno).unwrap();
        it.addresses.push(([10, 0, 2, own], 1229).into());
    }
    it
}

fn any_world(seed: u64) -> World {
    let mut rng = Rng::new(seed ^ 0xc0ff_ee00);
    let hosts = usize::try_from(rng.below(4) + 1).unwrap();
    let mut world = World::new(seed, any_link(&mut rng), hosts);
    for host in 0..hosts {
        world.hosts[host].pace = any_pace(&mut rng);
        if rng.chance(300) {
            let frozen = world.now + rng.between(millis(0, 10_000));
            world.schedule(frozen, Happening::Freeze(host));
            let resumed = frozen + rng.between(millis(1, 60_000));
            world.schedule(resumed, Happening::Resume(host));
        }
    }
    for name in ["vm0", "vm1", "vm2", "vm3"] {
        let owner = rng.chance(300).then_some(0);
        let on = rng.chance(700);
        world.domains.define(name, Domain { on, owner });
    }
    for _ in 0..rng.below(3) {
        let visits = u32::try_from(rng.below(6)).unwrap();
        let stranger = Stranger::visiting(rng.pick(&Manner::ALL), visits);
        world.strangers.push(stranger);
    }
    for seqno in 1..=u32::try_from(rng.below(3) + 1).unwrap() {
        let asks = any_request(&mut rng, seqno);
        world.agent(rng.between(millis(0, 5_000)), asks);
    }
    world
}

#[test]
fn in_any_world_verdicts_are_true_waits_end_and_nothing_is_left_behind() {
    let (mut succeeded, mut agents, mut virtual_time) = (0, 0, Duration::ZERO);
    for seed in 0..RUNS {
        let mut world = any_world(seed);
        world.run();
        let checked = std::panic::AssertUnwindSafe(|| hold(&world));
        if let Err(panic) = std::panic::catch_unwind(checked) {
            println!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
        agents += world.agents.len();
        succeeded += (0..world.agents.len())
            .filter(|agent| *world.verdict(*agent) == Verdict::Replied(Reply::Success))
            .count();
        virtual_time += world.now.since_epoch();
    }
    println!("{agents} agents, {succeeded} succeeded, {virtual_time:?} went by");
    // A test in which nothing ever works would prove nothing.
    assert!(succeeded > agents / 4);
}

#[test]
fn domain_that_an_agent_was_told_is_off_is_off() {
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let link = any_link(&mut rng);
        let mut world = World::new(seed, link, 2);
        for host in 0..2 {
            world.hosts[host].pace = any_pace(&mut rng);
        }
        let agent = world.agent(Duration::ZERO, asks(Action::Off, "vm1", 1));
        world.run();
        hold(&world);
        assert!(is_off_if_agent_says_so(&world, agent), "seed {seed}");
    }
}

#[test]
fn same_seed_same_run() {
    for seed in 0..50 {
        let runs = [seed, seed].map(|seed| {
            let mut world = any_world(seed);
            world.run();
            format!("{:?} {:?}", world.now, world.executions)
        });
        assert_eq!(runs[0], runs[1]);
    }
}
