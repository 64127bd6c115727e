//! A host that was told to leave what it does not have to others (`answer_unknown` off).

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::*;
use crate::multicast::{free_group, group, sender};
use fence_proto::frame::RequestFrame;
use fence_proto::host::{Limits, Presence, Timing};
use fence_proto::{Action, DomainRef, Reason};
use fence_virtd::hub::Hub;
use fence_virtd::listener::multicast::Multicast;

struct Daemon {
    hub: Arc<Hub>,
    backend: Arc<FakeBackend>,
    group: SocketAddr,
    sender: UdpSocket,
}

fn daemon() -> Daemon {
    let backend = FakeBackend::new(true);
    let hub = hub(&backend, Limits::default());
    let group_address = free_group();
    let gate = gate(&hub, Timing::default());
    let group = group("lo", group_address.port());
    start(|| {
        let multicast = Multicast::bind(group, gate).unwrap();
        multicast.silent_on_unknown().serve()
    });
    Daemon {
        hub,
        backend,
        group: group_address,
        sender: sender(),
    }
}

impl Daemon {
    fn put(&self, domain: &'static str, presence: Option<Presence>) {
        self.backend
            .domains
            .lock()
            .unwrap()
            .insert(domain, presence);
    }

    /// Sends the request as an agent does again and again: with other random bytes each time.
    fn send(&self, request: &mut RequestFrame) {
        request.id.random[0] += 1;
        self.sender.send_to(&sign(request), self.group).unwrap();
    }

    fn expect(&self, reason: Reason, count: u64) {
        wait_until(reason.name(), || self.hub.counters.count(reason) == count);
    }

    fn looks(&self) -> usize {
        self.backend.looks.load(Ordering::SeqCst)
    }
}

fn agent() -> (TcpListener, SocketAddr) {
    let agent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = agent.local_addr().unwrap();
    (agent, address)
}

fn answer(agent: &TcpListener) -> Option<u8> {
    agent.set_nonblocking(false).unwrap();
    let (mut stream, _) = agent.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    authenticate(&mut stream)?;
    reply(&mut stream)
}

fn assert_nobody_called(agent: &TcpListener) {
    agent.set_nonblocking(true).unwrap();
    assert!(agent.accept().is_err(), "somebody called");
}

// L5
#[test]
fn unknown_domain_is_left_to_others_and_looked_for_anew_each_time_it_is_asked_for() {
    let daemon = daemon();
    let (agent, address) = agent();
    let mut request = request(Some(address));
    daemon.send(&mut request);
    daemon.expect(Reason::NotHere, 1);
    daemon.put("vm", Some(Presence::Unclear));
    daemon.send(&mut request);
    daemon.expect(Reason::PresenceUnclear, 1);
    assert_nobody_called(&agent);
    // It comes here while the agent keeps asking: a migration.
    daemon.put("vm", Some(Presence::On));
    daemon.send(&mut request);
    assert_eq!(answer(&agent), Some(0));
    assert_eq!(daemon.backend.executed(), 1);
    daemon.send(&mut request);
    daemon.expect(Reason::DuplicateServed, 1);
}

// L2, L5
#[test]
fn definition_of_a_domain_answers_only_when_the_agent_asks_again() {
    let daemon = daemon();
    daemon.put("vm", Some(Presence::Off));
    let (agent, address) = agent();
    let mut request = request(Some(address));
    daemon.send(&mut request);
    daemon.send(&mut request);
    wait_until("two drops", || {
        let count = |reason| daemon.hub.counters.count(reason);
        count(Reason::NotOnHere) + count(Reason::DuplicateInProgress) == 2
    });
    assert_nobody_called(&agent);
    std::thread::sleep(Duration::from_millis(300));
    daemon.send(&mut request);
    assert_eq!(answer(&agent), Some(0));
}

#[test]
fn actions_without_a_domain_are_answered_without_a_look() {
    let daemon = daemon();
    let (agent, address) = agent();
    for action in [Action::Monitor, Action::List] {
        let mut request = RequestFrame {
            action,
            domain: DomainRef::default(),
            ..request(Some(address))
        };
        daemon.send(&mut request);
        assert_eq!(answer(&agent), Some(0));
    }
    assert_eq!(daemon.looks(), 0);
}

#[test]
fn replayed_request_is_not_looked_for() {
    let daemon = daemon();
    let (_agent, address) = agent();
    let mut request = request(Some(address));
    daemon.send(&mut request);
    daemon.expect(Reason::NotHere, 1);
    for count in 1..=20 {
        daemon
            .sender
            .send_to(&sign(&request), daemon.group)
            .unwrap();
        daemon.expect(Reason::Replayed, count);
    }
    assert_eq!(daemon.looks(), 1);
}

#[test]
fn domain_of_which_nobody_says_anything_delays_no_other() {
    let daemon = daemon();
    daemon.put("lost", None);
    daemon.put("vm", Some(Presence::On));
    let (agent, address) = agent();
    // A machine that stands still for most of a second shows nothing; then once more.
    let undelayed = (0..10).any(|_| {
        let given_up = || daemon.hub.counters.count(Reason::PresenceUnclear);
        let before = given_up();
        for _ in 0..4 {
            let mut request = RequestFrame {
                domain: DomainRef::new("lost").unwrap(),
                ..request(Some(address))
            };
            daemon.send(&mut request);
        }
        daemon.send(&mut request(Some(address)));
        assert_eq!(answer(&agent), Some(0));
        let undelayed = given_up() == before;
        daemon.expect(Reason::PresenceUnclear, before + 4);
        undelayed
    });
    assert!(undelayed, "it waited for the others");
}
