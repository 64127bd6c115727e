//! It works, and how fast: honest peers on good and on bad networks.

use std::time::Duration;

use fence_proto::agent::{Failure, Verdict};
use fence_proto::{Action, Reason, Reply};

use crate::agent::Asks;
use crate::domains::Domain;
use crate::invariants::hold;
use crate::link::Link;
use crate::world::{KEY, NOWHERE, SHA256, World};

/// What the agents of all tests ask, unless they say otherwise.
pub(crate) fn asks(action: Action, domain: &'static str, seqno: u32) -> Asks {
    let last = u8::try_from(seqno % 200).unwrap();
    Asks {
        action,
        domain,
        key: KEY,
        hash: SHA256,
        timeout: Duration::from_secs(30),
        retransmit: Some(Duration::from_secs(2)),
        seqno,
        addresses: vec![([10, 0, 1, last], 1229).into()],
    }
}

/// Three of ten datagrams and segments are lost; the rest comes twice or late.
pub(crate) const LOSSY: Link = Link {
    loss: 300,
    duplicate: 100,
    straggle: 50,
    delay: (Duration::from_micros(500), Duration::from_millis(20)),
    reset: 0,
    silence: 0,
};

pub(crate) const SUCCESS: Verdict = Verdict::Replied(Reply::Success);

pub(crate) fn took(world: &World, agent: usize) -> Duration {
    let agent = &world.agents[agent];
    let (ended, _) = agent.verdict.as_ref().expect("every agent has ended");
    ended.since(agent.started)
}

#[test]
fn on_a_good_network_every_action_succeeds_within_20_milliseconds() {
    for seed in 0..100 {
        let actions = [Action::Off, Action::Reboot, Action::On, Action::Status];
        for (action, hosts) in actions.into_iter().zip([1, 2, 3, 4]) {
            let mut world = World::new(seed, Link::GOOD, hosts);
            let agent = world.agent(Duration::ZERO, asks(action, "vm1", 7));
            world.run();
            hold(&world);
            assert_eq!(*world.verdict(agent), SUCCESS, "{action}, seed {seed}");
            assert!(took(&world, agent) < Duration::from_millis(20));
            assert_eq!(world.executions.len(), 1);
            assert_eq!(world.domains.is_on("vm1"), action != Action::Off);
        }
    }
}

#[test]
fn over_tcp_too() {
    for seed in 0..100 {
        let mut world = World::new(seed, Link::GOOD, 1);
        let mut over_tcp = asks(Action::Reboot, "vm1", 7);
        over_tcp.retransmit = None;
        let agent = world.agent(Duration::ZERO, over_tcp);
        world.run();
        hold(&world);
        assert_eq!(*world.verdict(agent), SUCCESS);
        assert!(took(&world, agent) < Duration::from_millis(20));
    }
}

#[test]
fn status_tells_on_from_off() {
    let mut world = World::new(1, Link::GOOD, 1);
    let (on, owner) = (false, None);
    world.domains.define("vm1", Domain { on, owner });
    let off = world.agent(Duration::ZERO, asks(Action::Status, "vm1", 1));
    let on = world.agent(Duration::ZERO, asks(Action::Status, "vm2", 2));
    let unknown = world.agent(Duration::ZERO, asks(Action::Off, "vm9", 3));
    world.run();
    hold(&world);
    assert_eq!(*world.verdict(off), Verdict::Replied(Reply::Off));
    assert_eq!(*world.verdict(on), SUCCESS);
    assert_eq!(*world.verdict(unknown), Verdict::Replied(Reply::Failure));
}

#[test]
fn with_three_of_ten_packets_lost_nearly_everybody_succeeds_in_time() {
    let (mut succeeded, mut slowest) = (0, Duration::ZERO);
    for seed in 0..500 {
        let mut world = World::new(seed, LOSSY, 2);
        let agent = world.agent(Duration::ZERO, asks(Action::Off, "vm1", 7));
        world.run();
        hold(&world);
        if *world.verdict(agent) == SUCCESS {
            succeeded += 1;
            slowest = slowest.max(took(&world, agent));
        }
    }
    println!("{succeeded} of 500 succeeded, the slowest after {slowest:?}");
    assert!(succeeded >= 495, "{succeeded}");
}

#[test]
fn two_agents_at_once_get_their_own_answers() {
    for seed in 0..200 {
        let mut world = World::new(seed, LOSSY, 2);
        let reboot = world.agent(Duration::ZERO, asks(Action::Reboot, "vm1", 1));
        let status = world.agent(Duration::ZERO, asks(Action::Status, "vm2", 2));
        let unknown = world.agent(Duration::ZERO, asks(Action::Off, "vm9", 3));
        world.run();
        hold(&world);
        for agent in [reboot, status] {
            let verdict = world.verdict(agent);
            let slow = *verdict == Verdict::Failed(Failure::TimedOut);
            assert!(*verdict == SUCCESS || slow, "{verdict:?}, seed {seed}");
        }
        assert_ne!(*world.verdict(unknown), SUCCESS);
    }
}

#[test]
fn request_from_an_address_that_nobody_reaches_is_called_back_at_its_other_one() {
    for seed in 0..20 {
        let mut world = World::new(seed, Link::GOOD, 2);
        let mut asks = asks(Action::Off, "vm1", 7);
        asks.addresses.insert(0, (NOWHERE, 1229).into());
        let agent = world.agent(Duration::ZERO, asks);
        world.run();
        hold(&world);
        assert_eq!(*world.verdict(agent), SUCCESS);
        assert!(took(&world, agent) < Duration::from_secs(6));
    }
}

#[test]
fn host_that_loses_the_race_does_nothing_and_remembers_no_failure() {
    for seed in 0..100 {
        let mut world = World::new(seed, Link::GOOD, 4);
        let first = world.agent(Duration::ZERO, asks(Action::Off, "vm1", 1));
        let again = asks(Action::On, "vm1", 2);
        let second = world.agent(Duration::from_secs(5), again);
        world.run();
        hold(&world);
        assert_eq!(*world.verdict(first), SUCCESS);
        assert_eq!(*world.verdict(second), SUCCESS);
        assert_eq!(world.executions.len(), 2);
        let suspicious: u32 = world
            .hosts
            .iter()
            .flat_map(|host| &host.drops)
            .filter(|(reason, _)| !reason.is_routine())
            .map(|(_, count)| count)
            .sum();
        assert_eq!(suspicious, 0, "{:?}", world.hosts[0].drops);
    }
}

#[test]
fn nobody_there_is_a_time_out_and_not_a_moment_later() {
    let mut world = World::new(1, Link::GOOD, 0);
    for (seqno, milliseconds) in [(1, 1), (2, 1500), (3, 30_000), (4, 3_600_000)] {
        let mut asks = asks(Action::Off, "vm1", seqno);
        asks.timeout = Duration::from_millis(milliseconds);
        let agent = world.agent(Duration::ZERO, asks);
        world.run();
        assert_eq!(*world.verdict(agent), Verdict::Failed(Failure::TimedOut));
        assert_eq!(took(&world, agent), Duration::from_millis(milliseconds));
    }
    hold(&world);
}

#[test]
fn backend_that_hangs_is_a_failure_within_the_agents_patience() {
    let mut world = World::new(1, Link::GOOD, 1);
    world.hosts[0].pace.hang = 1000;
    let agent = world.agent(Duration::ZERO, asks(Action::Off, "vm1", 7));
    world.run();
    hold(&world);
    assert_eq!(*world.verdict(agent), Verdict::Replied(Reply::Failure));
    assert!(took(&world, agent) < Duration::from_secs(26));
    assert_eq!(world.hosts[0].dropped(Reason::TimedOut), 1);
}
