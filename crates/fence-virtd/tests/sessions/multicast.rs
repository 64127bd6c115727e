//! Requests over the multicast listener on loopback, against a backend that does as it is told.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use crate::common::*;
use fence_proto::Reason;
use fence_proto::frame::RequestFrame;
use fence_proto::host::{Limits, Timing};
use fence_virtd::hub::Hub;
use fence_virtd::listener::ListenerError;
use fence_virtd::listener::multicast::{Group, Multicast};
use socket2::{Domain, Socket, Type};

const GROUP: &str = "239.255.12.30";

struct Daemon {
    hub: Arc<Hub>,
    backend: Arc<FakeBackend>,
    group: SocketAddr,
}

pub(crate) fn group(interface: &str, port: u16) -> Group {
    Group {
        address: GROUP.parse().unwrap(),
        port,
        interface: Some(interface.to_owned()),
    }
}

/// The group, with a port that nobody has at this moment.
pub(crate) fn free_group() -> SocketAddr {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    SocketAddr::new(GROUP.parse::<IpAddr>().unwrap(), port)
}

fn daemon(open: bool) -> Daemon {
    let backend = FakeBackend::new(open);
    let hub = hub(&backend, Limits::default());
    let group_address = free_group();
    let port = group_address.port();
    let gate = gate(&hub, Timing::default());
    start(|| Multicast::bind(group("lo", port), gate).unwrap().serve());
    Daemon {
        hub,
        backend,
        group: group_address,
    }
}

/// A socket that sends to groups over loopback only.
pub(crate) fn sender() -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket
        .set_multicast_if_v4(&std::net::Ipv4Addr::LOCALHOST)
        .unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.into()
}

#[test]
fn retransmissions_call_back_once_and_act_once() {
    let daemon = daemon(false);
    let agent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut request = request(Some(agent.local_addr().unwrap()));
    let sender = sender();
    let send = |request: &_| sender.send_to(&sign(request), daemon.group).unwrap();
    send(&request);
    let (mut stream, _) = agent.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // While it is served: the same frame, and one with fresh random bytes.
    send(&request);
    request.id.random = [2; 6];
    send(&request);
    wait_until("two drops", || {
        daemon.hub.counters.count(Reason::DuplicateInProgress) == 2
    });
    authenticate(&mut stream).unwrap();
    daemon.backend.open();
    assert_eq!(reply(&mut stream), Some(0));
    // And after.
    wait_until("the end", || {
        send(&request);
        daemon.hub.counters.count(Reason::DuplicateServed) > 0
    });
    assert_eq!(daemon.backend.executed(), 1);
    agent.set_nonblocking(true).unwrap();
    assert!(agent.accept().is_err(), "a second call-back");
}

#[test]
fn call_back_won_by_another_host_is_not_an_error_and_can_be_asked_again() {
    let daemon = daemon(true);
    let agent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = agent.local_addr().unwrap();
    drop(agent);
    let mut request = request(Some(address));
    let sender = sender();
    sender.send_to(&sign(&request), daemon.group).unwrap();
    wait_until("the refusal", || {
        daemon.hub.counters.count(Reason::CallbackRefused) == 1
    });
    let agent = TcpListener::bind(address).unwrap();
    request.id.random = [2; 6];
    sender.send_to(&sign(&request), daemon.group).unwrap();
    let (mut stream, _) = agent.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    authenticate(&mut stream).unwrap();
    assert_eq!(reply(&mut stream), Some(0));
}

#[test]
fn other_address_of_a_request_is_called_when_the_first_is_dead() {
    let daemon = daemon(true);
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let agent = TcpListener::bind("127.0.0.1:0").unwrap();
    let alive = agent.local_addr().unwrap();
    let first = request(Some(dead));
    let second = RequestFrame {
        callback: Some(alive),
        ..first.clone()
    };
    let sender = sender();
    // As an agent with two addresses sends them. Whichever way the daemon gets to see them, it ends
    // at the one that answers, with one execution.
    sender.send_to(&sign(&first), daemon.group).unwrap();
    sender.send_to(&sign(&second), daemon.group).unwrap();
    let (mut stream, _) = agent.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    authenticate(&mut stream).unwrap();
    assert_eq!(reply(&mut stream), Some(0));
    assert_eq!(daemon.backend.executed(), 1);
}

#[test]
fn rubbish_is_dropped_with_its_reason() {
    let daemon = daemon(true);
    let sender = sender();
    let mut bytes = sign(&request(Some("127.0.0.1:1".parse().unwrap())));
    sender.send_to(&bytes[..100], daemon.group).unwrap();
    sender
        .send_to(&[&bytes[..], &[0]].concat(), daemon.group)
        .unwrap();
    wait_until("wrong lengths", || {
        daemon.hub.counters.count(Reason::WrongLength) == 2
    });
    bytes[10] ^= 1;
    sender.send_to(&bytes, daemon.group).unwrap();
    wait_until("bad signature", || {
        daemon.hub.counters.count(Reason::BadSignature) == 1
    });
    let impossible = sign(&request(Some("225.0.0.12:1229".parse().unwrap())));
    sender.send_to(&impossible, daemon.group).unwrap();
    wait_until("impossible", || {
        daemon.hub.counters.count(Reason::ImpossibleAddress) == 1
    });
    assert_eq!(daemon.backend.executed(), 0);
}

#[test]
fn interface_that_does_not_exist_is_an_error_that_may_pass() {
    let hub = hub(&FakeBackend::new(true), Limits::default());
    let gate = gate(&hub, Timing::default());
    let error = Multicast::bind(group("nosuch0", 12291), gate).unwrap_err();
    assert!(matches!(&error, ListenerError::NoInterface(name) if name == "nosuch0"));
    assert!(error.may_pass());
}
