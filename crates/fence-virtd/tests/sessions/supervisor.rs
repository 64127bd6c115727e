//! Several listeners in one daemon.

use std::net::TcpListener;

use crate::common::*;
use crate::daemon::*;
use fence_proto::access::{Group, GroupMember, GroupSource};
use fence_proto::{Access, Reason};

#[test]
fn each_listener_takes_its_own_key_only() {
    let (blue, green) = (free_address(), free_address());
    let (first, second) = (key_of(1), key_of(2));
    let listeners = vec![
        tcp("blue", blue, first.clone()),
        tcp("green", green, second.clone()),
    ];
    let daemon = Daemon::start(listeners, false).unwrap();
    assert_eq!(daemon.status(), "serving blue, green");
    assert_eq!(ask_with(&first, blue, &request(None)), Some(0));
    assert_eq!(ask_with(&second, green, &request(None)), Some(0));
    assert_eq!(ask_with(&first, green, &request(None)), None);
    assert_eq!(ask_with(&second, blue, &request(None)), None);
    assert_eq!(daemon.backend.executed(), 2);
    assert_eq!(daemon.hub.counters.count(Reason::BadSignature), 2);
}

#[test]
fn frame_that_one_listener_heard_is_a_replay_to_another_with_the_same_key() {
    let (blue, green, other) = (free_address(), free_address(), free_address());
    let listeners = vec![
        tcp("blue", blue, key_of(1)),
        tcp("green", green, key_of(1)),
        tcp("other", other, key_of(2)),
    ];
    let daemon = Daemon::start(listeners, false).unwrap();
    let request = request(None);
    assert_eq!(ask_with(&key_of(1), blue, &request), Some(0));
    assert_eq!(ask_with(&key_of(1), green, &request), None);
    assert_eq!(daemon.hub.counters.count(Reason::Replayed), 1);
    // The same request of somebody with another key is another request.
    assert_eq!(ask_with(&key_of(2), other, &request), Some(0));
    assert_eq!(daemon.backend.executed(), 2);
}

#[test]
fn requester_is_judged_by_the_groups_of_the_listener_where_it_asks() {
    let (blue, green) = (free_address(), free_address());
    let mut closed = tcp("green", green, key_of(1));
    closed.access = Access::groups(vec![Group {
        name: None,
        members: vec![GroupMember::parse("vm")],
        sources: vec![GroupSource::Ip("192.0.2.1".parse().unwrap())],
    }]);
    let listeners = vec![tcp("blue", blue, key_of(1)), closed];
    let daemon = Daemon::start(listeners, false).unwrap();
    assert_eq!(ask_with(&key_of(1), blue, &request(None)), Some(0));
    assert_eq!(ask_with(&key_of(1), green, &request(None)), Some(3));
    let open = daemon.backend.requesters();
    assert!(open.iter().all(|requester| !requester.is_restricted()));
    assert_eq!(open.len(), 1);
}

#[test]
fn without_waiting_all_start_or_none_and_the_one_at_fault_is_named() {
    let (free, busy) = (free_address(), TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = busy.local_addr().unwrap();
    let listeners = vec![tcp("blue", free, key_of(1)), tcp("green", taken, key_of(2))];
    let error = Daemon::start(listeners, false).err().unwrap().to_string();
    assert!(
        error.starts_with("listener green: cannot listen on TCP"),
        "{error}"
    );
    // Nothing is left behind.
    TcpListener::bind(free).unwrap();
}

#[test]
fn while_waiting_one_listener_is_missing_and_the_others_serve() {
    let (free, busy) = (free_address(), TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = busy.local_addr().unwrap();
    let listeners = vec![tcp("blue", free, key_of(1)), tcp("green", taken, key_of(2))];
    let daemon = Daemon::start(listeners, true).unwrap();
    assert_eq!(ask_with(&key_of(1), free, &request(None)), Some(0));
    let status = daemon.status();
    assert!(
        status.starts_with("serving blue; waiting for green: cannot listen"),
        "{status}"
    );
    drop(busy);
    wait_until("the other listener", || daemon.board.borrow().all_serve());
    assert_eq!(ask_with(&key_of(2), taken, &request(None)), Some(0));
}

#[test]
fn listener_that_is_stopped_gives_its_port_back_and_the_others_serve() {
    let (blue, green) = (free_address(), free_address());
    let listeners = vec![tcp("blue", blue, key_of(1)), tcp("green", green, key_of(2))];
    let daemon = Daemon::start(listeners, false).unwrap();
    daemon.stop("blue");
    assert_eq!(daemon.status(), "serving green");
    TcpListener::bind(blue).unwrap();
    assert_eq!(ask_with(&key_of(2), green, &request(None)), Some(0));
}
