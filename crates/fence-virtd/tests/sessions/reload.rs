//! Listeners under a new configuration: without a gap, as a whole or not at all, and with what was remembered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::common::*;
use crate::daemon::*;
use fence_proto::access::{Group, GroupMember, GroupSource};
use fence_proto::frame::{RequestFrame, Signature};
use fence_proto::{Access, Key, Reason};
use fence_virtd::config::Listener;

/// Groups in which the tests' own address is nobody.
fn closed(mut listener: Listener) -> Listener {
    listener.access = Access::groups(vec![Group {
        name: None,
        members: vec![GroupMember::parse("vm")],
        sources: vec![GroupSource::Ip("192.0.2.1".parse().unwrap())],
    }]);
    listener
}

/// A daemon with one listener, `blue`, and that one's address and key.
fn blue() -> (Daemon, SocketAddr, Key) {
    let (address, key) = (free_address(), key_of(1));
    let daemon = Daemon::start(vec![tcp("blue", address, key.clone())], false).unwrap();
    (daemon, address, key)
}

/// A request up to its order, which the backend has when this returns.
fn begin(daemon: &Daemon, key: &Key, address: SocketAddr, request: &RequestFrame) -> TcpStream {
    let before = daemon.backend.executed();
    let mut stream = connect(address);
    let frame = request.encode(Signature::Keyed(key, SHA256));
    stream.write_all(&frame).unwrap();
    authenticate_with(key, &mut stream).unwrap();
    wait_until("the order", || daemon.backend.executed() > before);
    stream
}

#[test]
fn request_under_way_ends_under_the_rules_with_which_it_began() {
    let (address, old, new) = (free_address(), key_of(1), key_of(2));
    let backend = FakeBackend::new(false);
    let first = vec![tcp("blue", address, old.clone())];
    let daemon = Daemon::with(Arc::clone(&backend), first, false).unwrap();
    let mut executing = begin(&daemon, &old, address, &request(None));
    // Half of a handshake.
    let mut challenged = connect(address);
    let frame = request(None).encode(Signature::Keyed(&old, SHA256));
    challenged.write_all(&frame).unwrap();
    challenged.write_all(&[9; 64]).unwrap();
    let mut both = [0; 128];
    challenged.read_exact(&mut both).unwrap();

    let changed = daemon.change(vec![closed(tcp("blue", address, new.clone()))]);
    assert_eq!(changed.unwrap(), "blue: other rules");
    let (_, challenge) = both.split_at(64);
    challenged
        .write_all(&old.digest(SHA256, challenge))
        .unwrap();
    wait_until("the second order", || backend.executed() == 2);
    backend.open();
    assert_eq!(reply(&mut executing), Some(0));
    assert_eq!(reply(&mut challenged), Some(0));
    // Whoever comes now is judged anew.
    assert_eq!(ask_with(&old, address, &request(None)), None);
    assert_eq!(ask_with(&new, address, &request(None)), Some(3));
    assert_eq!(backend.executed(), 2);
}

#[test]
fn replayed_request_is_dropped_whatever_the_configuration_was_meanwhile() {
    let ((daemon, address, key), other) = (blue(), free_address());
    let served = request(None);
    assert_eq!(ask_with(&key, address, &served), Some(0));
    for listeners in [
        // Another key and back; other groups; another place; another name; gone and back.
        vec![tcp("blue", address, key_of(2))],
        vec![tcp("blue", address, key.clone())],
        vec![closed(tcp("blue", address, key.clone()))],
        vec![tcp("blue", other, key.clone())],
        vec![tcp("green", address, key.clone())],
        vec![tcp("other", other, key_of(3))],
        vec![tcp("blue", address, key.clone())],
    ] {
        daemon.change(listeners.clone()).unwrap();
        let now = listeners.iter().find(|it| {
            it.settings
                .authentication()
                .is_some_and(|own| own.key.as_ref().is_some_and(|it| it.is(&key)))
        });
        let Some(now) = now else { continue };
        let before = daemon.hub.counters.count(Reason::Replayed);
        let fence_virtd::config::ListenerSettings::Tcp(tcp) = &now.settings else {
            panic!("{now:?}");
        };
        assert_eq!(ask_with(&key, tcp.address, &served), None, "{now:?}");
        assert_eq!(daemon.hub.counters.count(Reason::Replayed), before + 1);
    }
    assert_eq!(daemon.backend.executed(), 1);
}

#[test]
fn keys_that_come_and_go_are_remembered_up_to_a_bound() {
    let (daemon, address, key) = blue();
    let change = |key: Key| daemon.change(vec![tcp("blue", address, key)]).unwrap();
    let served = request(None);
    assert_eq!(ask_with(&key, address, &served), Some(0));
    for byte in 2..16 {
        change(key_of(byte));
    }
    change(key.clone());
    assert_eq!(ask_with(&key, address, &served), None);
    assert_eq!(daemon.hub.counters.count(Reason::Replayed), 1);
    for byte in 2..100 {
        change(key_of(byte));
    }
    // Its memory was given up for those of newer keys.
    change(key.clone());
    assert_eq!(ask_with(&key, address, &served), Some(0));
}

#[test]
fn listener_whose_port_is_taken_leaves_everything_as_it_was() {
    let (blue, green, moved) = (free_address(), free_address(), free_address());
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = busy.local_addr().unwrap();
    let old = vec![tcp("blue", blue, key_of(1)), tcp("green", green, key_of(1))];
    // Also where missing listeners are waited for.
    for wait in [false, true] {
        let daemon = Daemon::start(old.clone(), wait).unwrap();
        let error = daemon
            .change(vec![
                closed(tcp("blue", blue, key_of(2))),
                tcp("green", moved, key_of(2)),
                tcp("red", taken, key_of(2)),
            ])
            .unwrap_err();
        assert!(
            error.starts_with("listener red: cannot listen on TCP"),
            "{error}"
        );
        assert_eq!(daemon.status(), "serving blue, green");
        assert_eq!(ask_with(&key_of(1), blue, &request(None)), Some(0));
        assert_eq!(ask_with(&key_of(1), green, &request(None)), Some(0));
        TcpListener::bind(moved).unwrap();
    }
}

#[test]
fn listener_that_gives_way_in_vain_is_back() {
    let ((daemon, _, key), busy) = (blue(), TcpListener::bind("127.0.0.2:0").unwrap());
    let listen_on = |address| daemon.change(vec![tcp("blue", address, key.clone())]);
    // All addresses of a port of which somebody else has one, and that listener itself another.
    let port = busy.local_addr().unwrap().port();
    let one = SocketAddr::from(([127, 0, 0, 1], port));
    listen_on(one).unwrap();
    let all = SocketAddr::from(([0, 0, 0, 0], port));
    let error = listen_on(all).unwrap_err();
    assert!(error.starts_with("listener blue: cannot listen"), "{error}");
    assert_eq!(daemon.status(), "serving blue");
    assert_eq!(ask_with(&key, one, &request(None)), Some(0));
    drop(busy);
    listen_on(all).unwrap();
    assert_eq!(ask_with(&key, one, &request(None)), Some(0));
}

#[test]
fn listeners_come_and_go_and_the_others_never_stop() {
    let ((daemon, blue, _), green, red) = (blue(), free_address(), free_address());
    let changed = daemon.change(vec![
        tcp("blue", blue, key_of(1)),
        tcp("green", green, key_of(2)),
    ]);
    assert_eq!(changed.unwrap(), "green: listens anew");
    assert_eq!(ask_with(&key_of(2), green, &request(None)), Some(0));
    // Two that change places, and a third.
    let changed = daemon.change(vec![
        tcp("blue", green, key_of(1)),
        tcp("green", blue, key_of(2)),
        tcp("red", red, key_of(3)),
    ]);
    assert_eq!(
        changed.unwrap(),
        "red: listens anew, blue: listens anew, green: listens anew"
    );
    assert_eq!(daemon.status(), "serving blue, green, red");
    assert_eq!(ask_with(&key_of(1), green, &request(None)), Some(0));
    assert_eq!(ask_with(&key_of(2), blue, &request(None)), Some(0));
    assert_eq!(ask_with(&key_of(3), red, &request(None)), Some(0));
    let changed = daemon.change(vec![tcp("red", red, key_of(3))]);
    assert_eq!(changed.unwrap(), "blue: ended, green: ended");
    assert_eq!(
        daemon.change(vec![tcp("red", red, key_of(3))]).unwrap(),
        "no listener changed"
    );
    assert_eq!(daemon.status(), "serving red");
    TcpListener::bind(blue).unwrap();
    TcpListener::bind(green).unwrap();
}

#[test]
fn requests_that_come_while_rules_change_are_all_answered() {
    let (daemon, address, key) = blue();
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let key = key.clone();
            thread::spawn(move || {
                let answers = (0..100).map(|_| ask_with(&key, address, &request(None)));
                answers.filter(|answer| answer.is_some()).count()
            })
        })
        .collect();
    while asking.iter().any(|thread| !thread.is_finished()) {
        daemon
            .change(vec![closed(tcp("blue", address, key.clone()))])
            .unwrap();
        daemon
            .change(vec![tcp("blue", address, key.clone())])
            .unwrap();
    }
    for thread in asking {
        assert_eq!(thread.join().unwrap(), 100);
    }
}

#[test]
fn connection_that_waits_at_a_listener_that_ends_is_served() {
    let ((daemon, address, _), other) = (blue(), free_address());
    // So many that some are not accepted yet when it ends.
    let waiting: Vec<_> = (0..64).map(|_| (connect(address), request(None))).collect();
    daemon.change(vec![tcp("green", other, key_of(1))]).unwrap();
    for (mut stream, request) in waiting {
        let frame = request.encode(Signature::Keyed(&key_of(1), SHA256));
        stream.write_all(&frame).unwrap();
        authenticate_with(&key_of(1), &mut stream).unwrap();
        assert_eq!(reply(&mut stream), Some(0));
    }
    assert_eq!(daemon.backend.executed(), 64);
}
