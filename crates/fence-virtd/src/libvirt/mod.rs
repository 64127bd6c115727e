//! The libvirt backend: it executes orders on one or several hypervisors.
//!
//! The rules, each decided by a function in [`fence_proto::fencing`]:
//! - Truth is asked of libvirt when an order comes. Success is said only of what is proven.
//! - libvirt's calls block, so they run on threads of their own, a few per hypervisor. An order has
//!   its answer by its deadline whatever they do; what was not begun by then never is.
//! - A hypervisor that is dead or hangs costs the domains of the others at most a short grace, and
//!   only until it is known to be dead or to hang. Where it may have the domain in question, the
//!   answer is failure.
//! - Orders that change one domain are carried out one after another, those for different domains
//!   at the same time. An order whose call to libvirt never returns gives its turn up, and what it
//!   may yet start is no success of a later `off`. `status` that finds a domain off waits two seconds at most
//!   for an order that is changing it, and asks again.
//! - `monitor` tells whether fencing can work: it fails if any configured hypervisor does not
//!   answer. `list` fails likewise rather than leave domains out: a cluster manager keeps the
//!   targets it knew when a list fails, and forgets those that a shorter list lacks.

mod act;
mod changes;
mod condition;
mod connection;
mod events;
mod ffi;
mod guests;
mod host;
mod inventory;
pub mod jobs;
mod lanes;
mod orders;
mod pool;
mod questions;
mod role;
mod survey;
pub mod watch;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fence_proto::fencing::Sightings;
use fence_proto::{DomainRef, Moment, Order};
use tokio::time::{Instant, timeout_at};

use self::connection::Reach;
use self::guests::Guests;
use self::host::{Common, Host, Link, Tally};
use self::lanes::Lanes;
use self::orders::Task;
use self::survey::Timing;
use self::watch::{WatchSettings, Watcher};
use crate::backend::{
    Answering, Backend, BackendError, CancelFlag, Identifying, Looking, Starting,
};
use crate::clock::Clock;

/// How long [`LibvirtBackend::ready`] waits for the first tries to connect. One that fails does so at
/// once; one that takes longer is slow (thousands of domains on a busy machine) or hangs.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// The backend. Clones are one backend.
#[derive(Clone)]
pub struct LibvirtBackend(Arc<Inner>);

struct Inner {
    hosts: Vec<Arc<Host>>,
    common: Arc<Common>,
    lanes: Lanes,
    guests: Guests,
    clock: Clock,
}

/// What became of an order. One that was not started changed nothing: it was too late, its requester
/// gone, or the daemon ending.
pub type Outcome = fence_proto::host::Answer;

/// What the backend counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Domains that were proven off by a reboot and then could not be started.
    pub failed_starts: u64,
    /// Times that a hypervisor was found not to answer.
    pub hung_calls: u64,
    /// Connections that broke, and hypervisors that came back.
    pub reconnects: u64,
}

impl fmt::Debug for LibvirtBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uris = self.0.hosts.iter().map(|host| host.name());
        f.debug_list().entries(uris).finish()
    }
}

impl LibvirtBackend {
    /// A backend for these hypervisors; for libvirt's default one if there are none. It begins to
    /// connect at once, on threads of its own.
    #[must_use]
    pub fn new(uris: &[String], clock: Clock) -> Self {
        let default = [String::new()];
        let uris = if uris.is_empty() { &default } else { uris };
        ffi::route_errors();
        if uris.iter().any(|uri| Reach::of(uri) == Reach::Network) {
            ffi::run_event_loop();
        }
        let common = Arc::new(Common {
            tally: Tally::default(),
            sightings: Mutex::new(Sightings::new(uris.len())),
            closed: AtomicBool::new(false),
            several: uris.len() > 1,
            clock,
            helpers: Arc::default(),
        });
        let hosts = uris.iter().enumerate();
        let hosts = hosts.map(|(index, uri)| Host::start(index, uri, &common));
        let hosts: Vec<_> = hosts.collect();
        if common.several {
            inventory::keep(&hosts);
        }
        Self(Arc::new(Inner {
            hosts,
            common,
            lanes: Lanes::default(),
            guests: Guests::default(),
            clock,
        }))
    }

    /// Waits until every hypervisor was tried, 15 seconds at most, and tells whether at least
    /// one is connected.
    ///
    /// # Errors
    /// [`BackendError::NoHypervisor`] names every URI with libvirt's message.
    pub async fn ready(&self) -> Result<(), BackendError> {
        let deadline = Instant::now() + READY_WITHIN;
        let mut up = false;
        let mut failures = Vec::new();
        for host in &self.0.hosts {
            let mut link = host.link();
            let tried = timeout_at(deadline, link.wait_for(|link| *link != Link::Untried)).await;
            let link = match tried {
                Ok(Ok(link)) => link.clone(),
                Ok(Err(_)) | Err(_) => Link::Untried,
            };
            match link {
                Link::Up => up = true,
                Link::Down(message) => failures.push(format!("{}: {message}", host.name())),
                Link::Untried | Link::Hung => {
                    failures.push(format!("{}: no answer", host.name()));
                }
            }
        }
        if up {
            Ok(())
        } else {
            Err(BackendError::NoHypervisor(failures.join("; ")))
        }
    }

    /// Executes an order. There is an outcome by [`Order::answer_by`], whatever libvirt does.
    pub async fn execute(&self, order: Order, cancelled: CancelFlag) -> Outcome {
        let task = Task {
            action: order.action(),
            domain: order.domain().clone(),
            requester: order.requester().clone(),
            seqno: order.id().seqno,
            start_by: order.start_by(),
            answer_by: order.answer_by(),
        };
        self.run(task, cancelled).await
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let tally = &self.0.common.tally;
        Counters {
            failed_starts: tally.failed_starts.load(Ordering::Relaxed),
            hung_calls: tally.hung_calls.load(Ordering::Relaxed),
            reconnects: tally.reconnects.load(Ordering::Relaxed),
        }
    }

    /// Watches the domains of every hypervisor, in their order, with `settings` for all but the URI. A
    /// driver inside this process is watched on the backend's own connection, which has its state.
    #[must_use]
    pub fn watch(&self, settings: &WatchSettings) -> Vec<Watcher> {
        let hosts = self.0.hosts.iter();
        let watchers = hosts.map(|host| {
            let settings = WatchSettings {
                uri: host.uri().to_owned(),
                ..settings.clone()
            };
            let host = Arc::clone(host);
            Watcher::with(settings, Box::new(move || host.connect_apart()))
        });
        watchers.collect()
    }

    /// From here on no order is begun. Those under way go on.
    pub fn shutdown(&self) {
        self.0.common.closed.store(true, Ordering::Release);
        for host in &self.0.hosts {
            host.stop();
        }
    }
}

impl Backend for LibvirtBackend {
    fn ready(&self) -> Starting<'_> {
        Box::pin(Self::ready(self))
    }

    fn execute(&self, order: Order, cancelled: CancelFlag) -> Answering {
        let backend = self.clone();
        Box::pin(async move { Self::execute(&backend, order, cancelled).await })
    }

    fn presence(&self, domain: &DomainRef, by: Moment) -> Looking {
        let (inner, domain) = (Arc::clone(&self.0), domain.clone());
        let timing = Timing::until(Instant::from_std(inner.clock.instant(by)));
        Box::pin(async move { inner.presence(&domain, timing).await })
    }

    fn expect_guests(&self) {
        self.0.guests.expect(&self.0.hosts);
    }

    fn identify(&self, cid: u32) -> Identifying {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.guests.find(&inner.hosts, cid).await })
    }

    fn summary(&self) -> String {
        let Counters {
            failed_starts,
            hung_calls,
            reconnects,
        } = self.counters();
        format!("failed-starts={failed_starts} hung-calls={hung_calls} reconnects={reconnects}")
    }

    fn condition(&self) -> Option<tokio::sync::watch::Receiver<String>> {
        Some(condition::follow(&self.0.hosts))
    }

    fn shut_down(&self) {
        self.shutdown();
    }
}
