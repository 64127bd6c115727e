//! The backend on libvirt's test driver, inside this process and in a private libvirtd.

mod guests;
pub(crate) mod libvirtd;
mod orders;
mod presence;
mod several;
mod single;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fence_proto::access::{Access, Group, GroupMember, GroupSource};
use fence_proto::{Action, DomainRef, Reply, Requester, Source, Uuid};
use virt::domain::Domain;

use super::connection::{Connection, Fault};
use super::orders::Task;
use super::pool::Lane;
use super::{CancelFlag, LibvirtBackend, Outcome};
use crate::clock::Clock;

const SUCCESS: Outcome = Outcome::Reply(Reply::Success);
const FAILURE: Outcome = Outcome::Reply(Reply::Failure);
const OFF: Outcome = Outcome::Reply(Reply::Off);
const DENIED: Outcome = Outcome::Reply(Reply::PermissionDenied);

/// A directory that goes when the test does.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("fence-virtd-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// A hypervisor inside this process with these domains.
    pub(crate) fn node(&self, name: &str, domains: &[String]) -> String {
        let path = self.0.join(name);
        fs::write(&path, format!("<node>{}</node>", domains.concat())).unwrap();
        format!("test://{}", path.display())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn uuid(number: u128) -> Uuid {
    Uuid((number + (1 << 96)).to_be_bytes())
}

/// A domain's XML, with a state as libvirt numbers them.
pub(crate) fn domain_in(name: &str, uuid: Uuid, state: u8, extra: &str) -> String {
    format!(
        "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>\
         <name>{name}</name><uuid>{uuid}</uuid><memory>1024</memory><vcpu>1</vcpu>\
         <os><type>hvm</type></os>\
         <test:runstate>{state}</test:runstate>{extra}</domain>"
    )
}

fn running(name: &str, uuid: Uuid) -> String {
    domain_in(name, uuid, 1, "")
}

fn shut_off(name: &str, uuid: Uuid) -> String {
    domain_in(name, uuid, 5, "")
}

fn transient(name: &str, uuid: Uuid) -> String {
    domain_in(name, uuid, 1, "<test:transient/>")
}

impl LibvirtBackend {
    /// The domain's turn, until it is dropped.
    pub(crate) async fn take_turn(&self, uuid: Uuid) -> Box<dyn std::any::Any + Send> {
        Box::new(self.0.lanes.enter(uuid).await.unwrap())
    }
}

/// A backend and the clock that its orders go by.
struct Rig {
    backend: LibvirtBackend,
    access: Arc<Access>,
    clock: Clock,
}

impl Rig {
    async fn new(uris: &[String]) -> Self {
        Self::with_access(uris, Access::unrestricted()).await
    }

    async fn with_access(uris: &[String], access: Access) -> Self {
        let rig = Self::unready(uris, access);
        rig.backend.ready().await.unwrap();
        rig
    }

    fn unready(uris: &[String], access: Access) -> Self {
        let clock = Clock::start();
        Self {
            backend: LibvirtBackend::new(uris, clock),
            access: Arc::new(access),
            clock,
        }
    }

    fn task(&self, action: Action, domain: &str) -> Task {
        let now = self.clock.now();
        Task {
            action,
            domain: DomainRef::new(domain).unwrap(),
            requester: Requester::new(
                Source::Ip("127.0.0.1".parse().unwrap()),
                Arc::clone(&self.access),
            ),
            seqno: 1,
            start_by: now + Duration::from_secs(8),
            answer_by: now + Duration::from_secs(10),
        }
    }

    async fn order(&self, action: Action, domain: &str) -> Outcome {
        let task = self.task(action, domain);
        self.backend.run(task, CancelFlag::new()).await
    }

    /// Runs something on the connection of the hypervisor at `index`, beside any order.
    async fn aside<T: Send + 'static>(
        &self,
        index: usize,
        work: impl Fn(&Arc<Connection>) -> T + Send + Sync + 'static,
    ) -> T {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let job = move |worker: &mut super::worker::Worker| {
            let result: Result<T, Fault> = worker.ask(|connection| Ok(work(connection)));
            let _ = sender.send(result.unwrap());
        };
        let host = &self.backend.0.hosts[index];
        host.submit(Lane::Act, Box::new(job)).unwrap();
        receiver.await.unwrap()
    }

    /// The number of the domain's run at the hypervisor at `index`, `None` while it is off.
    async fn instance(&self, index: usize, name: &'static str) -> Option<u32> {
        self.aside(index, move |connection| {
            let domain = Domain::lookup_by_name(connection.raw(), name);
            domain.ok().and_then(|domain| domain.get_id())
        })
        .await
    }
}

/// Waits for a condition, at most for a time in which it must come true.
pub(crate) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(40);
    while !condition().await {
        assert!(Instant::now() < give_up, "it never came true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn group(members: &[&str]) -> Access {
    Access::groups(vec![Group {
        name: None,
        members: members
            .iter()
            .map(|member| GroupMember::parse(member))
            .collect(),
        sources: vec![GroupSource::Ip("127.0.0.1".parse().unwrap())],
    }])
}

fn names(outcome: &Outcome) -> Vec<(String, u8)> {
    let Outcome::List(entries) = outcome else {
        panic!("no list: {outcome:?}");
    };
    let entries = entries.iter();
    entries
        .map(|entry| (entry.name.clone(), entry.state))
        .collect()
}
