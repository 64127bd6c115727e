//! Watching a hypervisor's domains: what there is, and every change, while connections come and go.
//!
//! A [`Watcher`] has a connection of its own to one URI and asks on threads of its own. It registers for
//! libvirt's events before it lists, so nothing falls between. An event only says *which* domain: what the
//! domain is now is asked anew, so events that are late, doubled or out of order do no harm, and what comes of them
//! cannot be older than the event.
//!
//! What its user has not fetched yet is kept per domain, the newest only. If even that is too much, all is
//! forgotten and listed anew: a slow user hears late, but never misses a change.
//!
//! Nothing here decides anything: what a domain's state means for an order is asked when the order comes.

mod describe;
mod mailbox;
pub(super) mod migration;
mod supervisor;
mod worker;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use fence_proto::Uuid;
use tokio::sync::Notify;

use self::mailbox::Mailbox;
use self::supervisor::State;
use super::connection::{Connection, Fault, Reach};
use super::ffi;
use crate::domain_xml::{Devices, Unreadable};
use crate::sync::lock;

/// What is watched, and how.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    /// The hypervisor; empty for libvirt's default.
    pub uri: String,
    /// Whether the XML of domains that are on is read, for [`WatchedDomain::devices`].
    pub devices: bool,
    /// Whether domains are asked which half of a migration they are. Without, it is told as far as
    /// the state shows it.
    pub migration: bool,
    /// All is listed anew when this time has passed since the last time.
    pub resync: Duration,
    /// The hypervisor is asked for a sign of life when nothing else was asked for this time.
    pub ping: Duration,
    /// A single call that takes longer means that the hypervisor hangs.
    pub patience: Duration,
}

impl WatchSettings {
    /// For this hypervisor; the rest as suits a daemon.
    #[must_use]
    pub fn new(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            devices: false,
            migration: false,
            resync: Duration::from_secs(300),
            ping: Duration::from_secs(5),
            patience: Duration::from_secs(8),
        }
    }
}

/// A domain as libvirt said it was at some moment after the last event of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedDomain {
    /// Who it is.
    pub uuid: Uuid,
    /// What it is called.
    pub name: String,
    /// virDomainState.
    pub state: u8,
    /// Why: the reason that belongs to the state (virDomainRunningReason and so on).
    pub reason: i32,
    /// libvirt's number of this run; `None` while the domain is off.
    pub instance: Option<u32>,
    /// Whether it stays defined when it is off.
    pub persistent: bool,
    /// Its half of a migration.
    pub migration: Migration,
    /// What its live XML says of sockets and vsock, if that was asked for and it is on. `None` of one that is on: it
    /// could not be asked.
    pub devices: Option<Result<Devices, Unreadable>>,
}

/// What a migration means for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Migration {
    /// There is none, as far as is known.
    None,
    /// It is the half that a migration goes to. It may be resumed at any moment.
    Incoming,
    /// It is the half that a migration comes from. Of a domain that is off: its last run ended because a
    /// migration took it elsewhere.
    Outgoing,
}

/// What a [`Watcher`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// All domains, active and defined: at the start, after a reconnect, and from time to time. Who is
    /// not in it is gone.
    Snapshot(Vec<WatchedDomain>),
    /// This is what the domain is now.
    Changed(WatchedDomain),
    /// There is no such domain any more, neither active nor defined.
    Gone(Uuid),
    /// As [`Notice::Gone`], and libvirt said that a migration took it elsewhere.
    MigratedAway(Uuid),
    /// What was told is no older than this moment, as to which domains are on and by which run. Comes
    /// after each snapshot, and when [`Watcher::refresh`] asked for it.
    Current(Instant),
    /// Nothing is known from here on, for this reason. A [`Notice::Snapshot`] follows when the hypervisor
    /// answers (again).
    Lost(String),
}

/// Watches until it is dropped.
pub struct Watcher(Arc<Shared>);

/// How connections are had.
type Connector = Box<dyn Fn() -> Result<Arc<Connection>, Fault> + Send + Sync>;

struct Shared {
    settings: WatchSettings,
    connect: Connector,
    state: Mutex<State>,
    /// Wakes the threads.
    wake: Condvar,
    mailbox: Mutex<Mailbox>,
    /// Wakes the user.
    news: Notify,
}

impl Watcher {
    /// Begins to watch. Starts libvirt's event loop, which must come before the process's first connection whose
    /// events are wanted.
    #[must_use]
    pub fn start(settings: WatchSettings) -> Self {
        let uri = settings.uri.clone();
        let reach = Reach::of(&uri);
        Self::with(settings, Box::new(move || Connection::open(&uri, reach)))
    }

    /// The same on connections that somebody else makes: those of a driver inside this process are shared.
    pub(super) fn with(settings: WatchSettings, connect: Connector) -> Self {
        ffi::route_errors();
        ffi::run_event_loop();
        let shared = Arc::new(Shared {
            settings,
            connect,
            state: Mutex::default(),
            wake: Condvar::new(),
            mailbox: Mutex::default(),
            news: Notify::new(),
        });
        supervisor::start(&shared);
        Self(shared)
    }

    /// The next news. Cancel-safe.
    pub async fn next(&self) -> Notice {
        loop {
            let news = self.0.news.notified();
            if let Some(notice) = lock(&self.0.mailbox).take() {
                return notice;
            }
            news.await;
        }
    }

    /// Has it made sure, soon, that every start and stop until now is told: a [`Notice::Current`] follows. It costs one
    /// question, whatever the number of domains, and what has changed.
    pub fn refresh(&self) {
        self.0.want_refresh();
    }

    /// Has everything listed anew, soon.
    pub fn resync(&self) {
        self.0.want_resync();
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watcher").field(&self.0.settings).finish()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Shared {
    /// The URI, as people know it.
    fn name(&self) -> &str {
        if self.settings.uri.is_empty() {
            "(libvirt's default)"
        } else {
            &self.settings.uri
        }
    }

    /// Leaves something for the user. False if changes were thrown away and all is to be listed.
    fn post(&self, notice: Notice) -> bool {
        let complete = lock(&self.mailbox).post(notice);
        self.news.notify_one();
        complete
    }
}
