//! Sessions over the vsock listener's streams. Unix sockets stand in for the kernel's vsock, which machines
//! without guests do not have; over real vsock it is tested inside a guest.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crate::common::*;
use fence_proto::access::{Group, GroupMember, GroupSource};
use fence_proto::host::{Limits, Timing};
use fence_proto::{Access, Reason, Source};
use fence_virtd::gate::Gate;
use fence_virtd::hub::{Hub, Phase};
use fence_virtd::listener::vsock::{Vsock, VsockStream};
use fence_virtd::listener::{ListenerError, start_session};
use fence_virtd::stream::Peer;

/// A daemon with one connection of this CID, and the guest's end.
struct Daemon {
    hub: Arc<Hub>,
    backend: Arc<FakeBackend>,
    guest: UnixStream,
    task: Option<JoinHandle<()>>,
}

fn daemon(open: bool, access: Access, cid: u32) -> Daemon {
    let backend = FakeBackend::new(open);
    let hub = hub(&backend, Limits::default());
    let gate = Gate::new(&hub, "test", policy(access, Timing::default()));
    let (host, guest) = UnixStream::pair().unwrap();
    guest.set_read_timeout(Some(PATIENCE)).unwrap();
    let serving = Arc::clone(&hub);
    let task = start(move || async move {
        let stream = VsockStream::new(host.into()).unwrap();
        let connection = (stream, Peer::Vsock(cid, 1000));
        start_session(&gate, Source::Cid(cid), connection).unwrap();
        serving.idle().await;
    });
    Daemon {
        hub,
        backend,
        guest,
        task: Some(task),
    }
}

impl Daemon {
    fn ask(&mut self) -> Option<u8> {
        self.guest.write_all(&sign(&request(None))).ok()?;
        authenticate(&mut self.guest)?;
        reply(&mut self.guest)
    }

    fn identified(&self) -> usize {
        self.backend.identified.load(Ordering::SeqCst)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.hub.advance(Phase::Ending);
        if let Some(task) = self.task.take() {
            task.join().unwrap();
        }
    }
}

fn by(source: GroupSource) -> Access {
    Access::groups(vec![Group {
        name: None,
        members: vec![GroupMember::parse("vm")],
        sources: vec![source],
    }])
}

fn by_name(name: &str) -> Access {
    by(GroupSource::Guest(GroupMember::parse(name)))
}

#[test]
fn guest_is_served_and_without_groups_nobody_asks_which_it_is() {
    let mut daemon = daemon(true, Access::unrestricted(), GUEST_CID);
    assert_eq!(daemon.ask(), Some(0));
    assert_eq!(daemon.identified(), 0);
    let requesters = daemon.backend.requesters();
    assert_eq!(requesters[0].source(), Source::Cid(GUEST_CID));
}

#[test]
fn groups_by_cid_let_that_guest_in_and_no_other() {
    let access = || by(GroupSource::Cid(GUEST_CID));
    assert_eq!(daemon(true, access(), GUEST_CID).ask(), Some(0));
    assert_eq!(daemon(true, access(), 8).ask(), Some(3));
}

#[test]
fn groups_by_domain_let_the_guest_in_that_is_that_domain() {
    let mut known = daemon(true, by_name("node1"), GUEST_CID);
    assert_eq!(known.ask(), Some(0));
    assert_eq!(known.identified(), 1);
    let guest = known.backend.requesters()[0].guest().unwrap().clone();
    assert_eq!(guest.name, "node1");
    // Other names, and a CID that nobody can identify.
    assert_eq!(daemon(true, by_name("node2"), GUEST_CID).ask(), Some(3));
    assert_eq!(daemon(true, by_name("NODE1"), GUEST_CID).ask(), Some(3));
    assert_eq!(daemon(true, by_name("node1"), 8).ask(), Some(3));
}

#[test]
fn stranger_without_the_key_has_nobody_asked_which_it_is() {
    let mut daemon = daemon(true, by_name("node1"), GUEST_CID);
    daemon.guest.write_all(&sign(&request(None))).unwrap();
    daemon.guest.write_all(&[1; 64]).unwrap();
    daemon.guest.read_exact(&mut [0; 128]).unwrap();
    daemon.guest.write_all(&[1; 64]).unwrap();
    assert_eq!(reply(&mut daemon.guest), None);
    assert_eq!(daemon.identified(), 0);
    assert_eq!(daemon.hub.counters.count(Reason::BadResponse), 1);
}

#[test]
fn guest_that_leaves_while_it_is_identified_orders_nothing() {
    let mut daemon = daemon(false, by_name("node1"), GUEST_CID);
    daemon.guest.write_all(&sign(&request(None))).unwrap();
    authenticate(&mut daemon.guest).unwrap();
    wait_until("the question", || daemon.identified() == 1);
    daemon.guest.shutdown(std::net::Shutdown::Both).unwrap();
    wait_until("the drop", || {
        daemon.hub.counters.count(Reason::RequesterGone) == 1
    });
    daemon.backend.open();
    assert_eq!(daemon.backend.executed(), 0);
}

#[test]
fn vsock_that_cannot_be_had_is_an_error_with_the_cure_that_waiting_may_cure() {
    let backend = FakeBackend::new(true);
    let hub = hub(&backend, Limits::default());
    let gate = || gate(&hub, Timing::default());
    let port = 40_000 + std::process::id() % 10_000;
    let result = start(|| {
        let first = Vsock::bind(port, gate());
        let second = Vsock::bind(port, gate());
        async move { (first.err(), second.err()) }
    });
    let (first, second) = result.join().unwrap();
    let error = match first {
        // This kernel has vsock: the port is taken.
        None => second.unwrap(),
        Some(error) => error,
    };
    assert!(error.may_pass(), "{error}");
    let message = error.to_string();
    match error {
        ListenerError::NoVsock(_) => assert!(message.contains("modprobe vhost_vsock")),
        _ => assert!(
            message.contains(&format!("cannot listen on vsock port {port}: Address")),
            "{message}"
        ),
    }
}
