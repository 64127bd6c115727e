//! Sessions over the TCP listener, against a backend that does as it is told.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use fence_proto::Reason;
use fence_proto::host::{Limits, Timing};
use fence_virtd::hub::{Hub, Phase};
use fence_virtd::listener::ListenerError;
use fence_virtd::listener::tcp::Tcp;
use std::thread::JoinHandle;

struct Daemon {
    hub: Arc<Hub>,
    backend: Arc<FakeBackend>,
    address: SocketAddr,
    task: JoinHandle<Result<(), ListenerError>>,
}

fn daemon(open: bool, limits: Limits, timing: Timing) -> Daemon {
    let backend = FakeBackend::new(open);
    let hub = hub(&backend, limits);
    // A port that is free: asked of the kernel, then used at once.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let gate = gate(&hub, timing);
    let serving = Arc::clone(&hub);
    let task = start(|| {
        let tcp = Tcp::bind(address, gate).unwrap();
        async move {
            let result = tcp.serve().await;
            serving.idle().await;
            result
        }
    });
    Daemon {
        hub,
        backend,
        address,
        task,
    }
}

fn default_daemon(open: bool) -> Daemon {
    daemon(open, Limits::default(), Timing::default())
}

#[test]
fn honest_request_is_answered_while_500_peers_stall() {
    let daemon = default_daemon(true);
    let stalled: Vec<_> = (0..500).map(|_| connect(daemon.address)).collect();
    assert_eq!(ask(daemon.address), Some(0));
    assert_eq!(daemon.backend.executed(), 1);
    drop(stalled);
}

#[test]
fn oldest_stalled_peer_gives_way_to_a_newcomer() {
    let daemon = daemon(
        true,
        Limits {
            per_source: 2,
            total: 8,
        },
        Timing::default(),
    );
    let mut oldest = connect(daemon.address);
    let _second = connect(daemon.address);
    assert_eq!(ask(daemon.address), Some(0));
    assert_eq!(oldest.read(&mut [0]).unwrap(), 0, "the oldest is closed");
    assert!(daemon.hub.counters.count(Reason::Evicted) >= 1);
}

#[test]
fn reflection_of_the_hosts_challenge_is_refused_and_counted() {
    let daemon = default_daemon(true);
    let mut victim = connect(daemon.address);
    victim.write_all(&sign(&request(None))).unwrap();
    victim.write_all(&[9; 64]).unwrap();
    let mut bytes = [0; 128];
    victim.read_exact(&mut bytes).unwrap();
    let mut oracle = connect(daemon.address);
    oracle.write_all(&sign(&request(None))).unwrap();
    oracle.write_all(&bytes[64..]).unwrap();
    assert_eq!(
        oracle.read(&mut [0; 64]).unwrap_or(0),
        0,
        "no answer to its own challenge"
    );
    assert_eq!(daemon.hub.counters.count(Reason::ReflectedChallenge), 1);
    assert_eq!(daemon.backend.executed(), 0);
}

#[test]
fn requester_that_leaves_sets_the_cancel_flag() {
    let daemon = default_daemon(false);
    let mut stream = connect(daemon.address);
    stream.write_all(&sign(&request(None))).unwrap();
    authenticate(&mut stream).unwrap();
    wait_until("the order", || daemon.backend.executed() == 1);
    drop(stream);
    wait_until("the cancel flag", || {
        daemon.backend.flags.lock().unwrap()[0].is_cancelled()
    });
    daemon.backend.open();
    wait_until("the drop", || {
        daemon.hub.counters.count(Reason::RequesterGone) == 1
    });
}

#[test]
fn backend_that_hangs_is_a_failure_in_time() {
    let timing = Timing {
        answer: Duration::from_millis(300),
        ..Timing::default()
    };
    let daemon = daemon(false, Limits::default(), timing);
    assert_eq!(ask(daemon.address), Some(1));
    assert_eq!(daemon.hub.counters.count(Reason::TimedOut), 1);
}

#[test]
fn draining_finishes_replies_in_flight_and_closes_the_rest() {
    let daemon = default_daemon(false);
    let mut in_flight = connect(daemon.address);
    in_flight.write_all(&sign(&request(None))).unwrap();
    authenticate(&mut in_flight).unwrap();
    wait_until("the order", || daemon.backend.executed() == 1);
    let mut stalled = connect(daemon.address);
    stalled.write_all(&[0; 10]).unwrap();
    daemon.hub.advance(Phase::Draining);
    assert_eq!(stalled.read(&mut [0]).unwrap_or(0), 0);
    daemon.backend.open();
    assert_eq!(reply(&mut in_flight), Some(0));
    assert!(daemon.task.join().unwrap().is_ok());
}

#[test]
fn ending_gives_whoever_still_waits_a_failure() {
    let daemon = default_daemon(false);
    let mut waiting = connect(daemon.address);
    waiting.write_all(&sign(&request(None))).unwrap();
    authenticate(&mut waiting).unwrap();
    wait_until("the order", || daemon.backend.executed() == 1);
    daemon.hub.advance(Phase::Ending);
    assert_eq!(reply(&mut waiting), Some(1));
    assert!(daemon.task.join().unwrap().is_ok());
}

#[test]
fn replayed_stream_gets_no_answer() {
    let daemon = default_daemon(true);
    let bytes = sign(&request(None));
    for expected in [Some(()), None] {
        let mut stream = connect(daemon.address);
        stream.write_all(&bytes).unwrap();
        assert_eq!(authenticate(&mut stream), expected);
    }
    wait_until("the replay", || {
        daemon.hub.counters.count(Reason::Replayed) == 1
    });
}
