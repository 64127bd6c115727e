//! Who has no key gets nothing done and stops nobody; what is old stays old.

use std::net::SocketAddr;
use std::time::Duration;

use fence_proto::agent::Verdict;
use fence_proto::frame::FRAME_LEN;
use fence_proto::host::Limits;
use fence_proto::{Action, Moment, Reason, Reply};

use crate::honest::{LOSSY, SUCCESS, asks, took};
use crate::host::Host;
use crate::invariants::hold;
use crate::link::Link;
use crate::rng::Rng;
use crate::stranger::{Manner, Stranger};
use crate::world::{Happening, KEY, SHA256, World};

fn at(seconds: u64) -> Moment {
    Moment::from_epoch(Duration::from_secs(seconds))
}

/// Sends frames to a host once more.
fn replay(world: &mut World, host: usize, frames: &[(SocketAddr, Vec<u8>)]) {
    for (from, bytes) in frames.iter().cloned() {
        world.schedule(world.now, Happening::Datagram { host, from, bytes });
    }
}

fn heard(world: &World, host: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    world.hosts[host].heard.iter().cloned().collect()
}

#[test]
fn wrong_key_executes_nothing() {
    for seed in 0..200 {
        let mut world = World::new(seed, LOSSY, 2);
        let mut stranger = asks(Action::Off, "vm1", 7);
        stranger.key = b"another key";
        if seed % 2 == 0 {
            stranger.retransmit = None;
        }
        let agent = world.agent(Duration::ZERO, stranger);
        world.run();
        hold(&world);
        assert!(matches!(world.verdict(agent), Verdict::Failed(_)));
        assert_eq!(world.executions.len(), 0);
        assert!(world.domains.is_on("vm1"));
    }
}

#[test]
fn strangers_who_connect_first_never_make_an_agent_fail() {
    for manner in Manner::ALL {
        for seed in 0..60 {
            let mut world = World::new(seed, Link::GOOD, 1);
            for _ in 0..3 {
                world.strangers.push(Stranger::visiting(manner, 5));
            }
            let agent = world.agent(Duration::ZERO, asks(Action::Off, "vm1", 7));
            world.run();
            hold(&world);
            assert_eq!(*world.verdict(agent), SUCCESS, "{manner:?}, seed {seed}");
            assert!(
                took(&world, agent) < Duration::from_millis(30),
                "{manner:?}"
            );
        }
    }
}

#[test]
fn strangers_on_a_bad_network_cost_at_most_time() {
    for manner in Manner::ALL {
        let mut succeeded = 0;
        for seed in 0..100 {
            let mut world = World::new(seed, LOSSY, 2);
            world.strangers.push(Stranger::visiting(manner, 10));
            let agent = world.agent(Duration::ZERO, asks(Action::Off, "vm1", 7));
            world.run();
            hold(&world);
            succeeded += usize::from(*world.verdict(agent) == SUCCESS);
        }
        assert!(succeeded >= 98, "{manner:?}: {succeeded} of 100");
    }
}

#[test]
fn crowd_of_strangers_cannot_push_a_host_out() {
    for seed in 0..20 {
        let mut world = World::new(seed, Link::GOOD, 1);
        let agent = world.agent(Duration::ZERO, asks(Action::Off, "vm1", 7));
        let callback = world.agents[agent].asks.addresses[0];
        world.strangers.push(Stranger::visiting(Manner::Stalls, 0));
        // Two in every millisecond, from before the request until after its end.
        for visit in 0..400 {
            let when = Moment::ZERO + Duration::from_micros(500 * visit);
            world.schedule(
                when,
                Happening::Visit {
                    stranger: 0,
                    callback,
                },
            );
        }
        world.run();
        hold(&world);
        assert_eq!(*world.verdict(agent), SUCCESS, "seed {seed}");
    }
}

#[test]
fn challenges_handed_from_one_call_back_to_another_get_nothing_done() {
    for hosts in [1, 3] {
        let mut world = World::new(7, Link::GOOD, hosts);
        let here: SocketAddr = ([10, 0, 1, 7], 1229).into();
        // The attacker sits at an address for which it has recorded requests no host has heard yet.
        let mut recorded = Vec::new();
        for (seqno, domain) in [(7, "vm0"), (207, "vm1"), (407, "vm2")] {
            let mut recorder = World::new(u64::from(seqno), Link::GOOD, 1);
            recorder.agent(Duration::ZERO, asks(Action::Off, domain, seqno));
            recorder.run();
            recorded.extend(heard(&recorder, 0));
        }
        assert_eq!(recorded.len(), 3);
        world
            .strangers
            .push(Stranger::listening(Manner::Relays, here));
        for host in 0..hosts {
            replay(&mut world, host, &recorded);
        }
        world.run();
        assert_eq!(world.executions.len(), 0);
        let reflected: u32 = world
            .hosts
            .iter()
            .map(|host| host.dropped(Reason::ReflectedChallenge))
            .sum();
        assert!(reflected > 0, "the attack did not take place");
        assert!(world.hosts.iter().all(Host::is_idle));
    }
}

#[test]
fn replayed_requests_are_not_confirmed_by_an_agent_that_listens_there_later() {
    for seed in 0..100 {
        let mut world = World::new(seed, LOSSY, 3);
        world.agent(Duration::ZERO, asks(Action::Off, "vm1", 7));
        world.run();
        let before = world.executions.len();
        world.wait(Duration::from_secs(3600));
        // The same guest asks for something harmless: whoever calls back there is let in.
        let status = asks(Action::Status, "vm2", 207);
        world.agent(Duration::ZERO, status);
        for host in 0..3 {
            let frames = heard(&world, host);
            replay(&mut world, host, &frames);
        }
        world.run();
        hold(&world);
        let again = world.executions.iter().skip(before);
        let wrong: Vec<_> = again.filter(|it| it.seqno == 7).collect();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    }
}

#[test]
fn hour_of_replays_starts_no_call_back() {
    let mut world = World::new(3, Link::GOOD, 1);
    let agent = world.agent(Duration::ZERO, asks(Action::Reboot, "vm1", 7));
    world.run();
    assert_eq!(*world.verdict(agent), SUCCESS);
    let frames = heard(&world, 0);
    let connections = world.connections.len();
    for _ in 0..3600 {
        world.wait(Duration::from_secs(1));
        replay(&mut world, 0, &frames);
        world.run();
    }
    assert_eq!(world.connections.len(), connections);
    assert_eq!(world.executions.len(), 1);
    assert!(world.hosts[0].dropped(Reason::Replayed) >= 3590);
}

#[test]
fn flood_of_forged_frames_costs_honest_agents_nothing() {
    let mut rng = Rng::new(5);
    let mut world = World::new(5, Link::GOOD, 1);
    let agent = world.agent(Duration::from_secs(1), asks(Action::Off, "vm1", 7));
    let from: SocketAddr = ([10, 0, 3, 3], 1229).into();
    for packet in 0..20_000 {
        let bytes = if packet % 2 == 0 {
            rng.bytes::<FRAME_LEN>().to_vec()
        } else {
            vec![2; FRAME_LEN + packet % 3 - 1]
        };
        let when = Moment::ZERO + Duration::from_micros(100 * packet as u64);
        let host = 0;
        world.schedule(when, Happening::Datagram { host, from, bytes });
    }
    world.run();
    hold(&world);
    assert_eq!(*world.verdict(agent), SUCCESS);
    assert!(took(&world, agent) < Duration::from_millis(20));
    assert_eq!(world.executions.len(), 1);
}

#[test]
fn honest_agents_are_served_while_peers_with_the_key_stall() {
    let limits = Limits {
        per_source: 8,
        total: 16,
    };
    for seed in 0..50 {
        let mut world = World::new(seed, Link::GOOD, 0);
        world.hosts.push(Host::new(SHA256, KEY, limits));
        // Good frames whose sender never says a word when it is called back.
        for seqno in 1000..1040 {
            let mut recorder = World::new(seed, Link::GOOD, 1);
            let stalls = asks(Action::Off, "vm2", seqno);
            let there = stalls.addresses[0];
            recorder.agent(Duration::ZERO, stalls);
            recorder.run();
            world
                .strangers
                .push(Stranger::listening(Manner::Stalls, there));
            let frames = heard(&recorder, 0);
            replay(&mut world, 0, &frames);
        }
        let mut honest = asks(Action::Off, "vm1", 7);
        honest.addresses = vec![([10, 0, 4, 4], 1229).into()];
        let agent = world.agent(Duration::from_millis(100), honest);
        world.run();
        hold(&world);
        assert_eq!(*world.verdict(agent), SUCCESS);
        assert!(took(&world, agent) < Duration::from_millis(20));
        assert!(world.hosts[0].dropped(Reason::Evicted) > 0);
    }
}

#[test]
fn host_that_was_stopped_executes_nothing_for_agents_that_have_given_up() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(seed, Link::GOOD, 1);
        let second = Duration::from_secs(1);
        world.hosts[0].pace.queue = (Duration::ZERO, second);
        let mut impatient = asks(Action::Off, "vm1", 7);
        impatient.timeout = Duration::from_secs(22 + rng.below(10));
        let gave_up = impatient.timeout;
        // Stopped in any phase: before the request, in the handshake, while the order waits.
        let stopped = rng.between((Duration::ZERO, Duration::from_millis(8)));
        world.schedule(Moment::ZERO + stopped, Happening::Freeze(0));
        world.agent(Duration::from_millis(1), impatient);
        let resumed = gave_up + rng.between((second, Duration::from_secs(600)));
        world.schedule(Moment::ZERO + resumed, Happening::Resume(0));
        world.run();
        hold(&world);
        let late = world.executions.iter().find(|it| it.started >= at(22));
        assert!(late.is_none(), "seed {seed}: {late:?}");
    }
}

#[test]
fn reply_that_is_cut_off_is_no_success() {
    let mut cut = 0;
    for seed in 0..300 {
        let link = Link {
            reset: 1000,
            ..LOSSY
        };
        let mut world = World::new(seed, link, 1);
        world.hosts[0].pace.work = (Duration::ZERO, Duration::from_secs(20));
        let agent = world.agent(Duration::ZERO, asks(Action::Off, "vm1", 7));
        world.run();
        hold(&world);
        let tally = world.agents[agent].session.as_ref().map(|it| it.tally());
        cut += tally.map_or(0, |tally| tally.without_reply);
        let verdict = world.verdict(agent);
        assert!(
            *verdict == SUCCESS
                || *verdict == Verdict::Replied(Reply::Failure)
                || matches!(verdict, Verdict::Failed(_)),
            "{verdict:?}"
        );
    }
    assert!(
        cut > 50,
        "too few connections were cut for this to mean much"
    );
}
