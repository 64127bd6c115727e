//! One configured hypervisor: its connections, its threads, and whether it can be reached.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fence_proto::fencing::{Backoff, Sightings};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::connection::{Connection, Fault, Reach};
use super::pool::{Job, Lane, NotTaken, Pool, STACK, Shape};
use crate::clock::Clock;
use crate::sync::lock;

/// Threads for questions, per hypervisor. libvirtd serves five requests of one client at a time,
/// and each thread has a connection of its own.
const ASK: Shape = Shape {
    threads: 4,
    keeps_one: true,
    stuck_after: Some(HUNG_AFTER),
    replaced_after: None,
};

/// Threads for changes, per hypervisor: destroying takes a tenth of a second to fifteen seconds.
const ACT: Shape = Shape {
    threads: 16,
    keeps_one: false,
    stuck_after: None,
    replaced_after: Some(Duration::from_secs(20)),
};

/// A question that takes longer means that the hypervisor hangs.
pub(super) const HUNG_AFTER: Duration = Duration::from_secs(5);

/// Pauses between tries to connect, when connecting fails.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Pauses between tries whether a hypervisor that hung answers again.
const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// An order may try to connect when the last try is so long ago.
const RETRY: Duration = Duration::from_millis(500);

/// Idle connections kept for the next thread.
const MAX_SPARE: usize = 2;

/// Whether a hypervisor can be reached, as last noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Not tried yet.
    Untried,
    /// It answers.
    Up,
    /// Connecting fails, with libvirt's message.
    Down(String),
    /// It does not answer.
    Hung,
}

/// Counters of the backend.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub failed_starts: AtomicU64,
    pub hung_calls: AtomicU64,
    pub reconnects: AtomicU64,
}

/// What all hypervisors of one backend share.
#[derive(Debug)]
pub(super) struct Common {
    pub tally: Tally,
    pub sightings: Mutex<Sightings>,
    /// The daemon is ending.
    pub closed: AtomicBool,
    /// Whether there is more than one hypervisor, so that sightings matter.
    pub several: bool,
    pub clock: Clock,
    /// Threads that ask domains for their migration.
    pub helpers: Arc<AtomicUsize>,
}

impl Common {
    pub(super) fn sightings(&self) -> MutexGuard<'_, Sightings> {
        lock(&self.sightings)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// The hypervisor.
pub(super) struct Host {
    /// Its place in the configuration.
    pub index: usize,
    uri: String,
    reach: Reach,
    link: watch::Sender<Link>,
    shared: Mutex<Option<Arc<Connection>>>,
    spare: Mutex<Vec<Arc<Connection>>>,
    last_try: Mutex<Option<Instant>>,
    keeper: Mutex<bool>,
    wake_keeper: Condvar,
    /// It was said that this hypervisor is not known.
    unknown: AtomicBool,
    ask: Pool,
    act: Pool,
    pub common: Arc<Common>,
}

impl Host {
    /// Starts the first try to connect, on a thread of its own.
    pub(super) fn start(index: usize, uri: &str, common: &Arc<Common>) -> Arc<Self> {
        let host = Arc::new(Self {
            index,
            uri: uri.to_owned(),
            reach: Reach::of(uri),
            link: watch::Sender::new(Link::Untried),
            shared: Mutex::default(),
            spare: Mutex::default(),
            last_try: Mutex::default(),
            keeper: Mutex::default(),
            wake_keeper: Condvar::new(),
            unknown: AtomicBool::new(false),
            ask: Pool::new(ASK),
            act: Pool::new(ACT),
            common: Arc::clone(common),
        });
        host.keep(Duration::ZERO, Backoff::new(RECONNECT.0, RECONNECT.1));
        host
    }

    /// The URI, as people know it.
    pub(super) fn name(&self) -> &str {
        if self.uri.is_empty() {
            "(libvirt's default)"
        } else {
            &self.uri
        }
    }

    /// The URI as configured; empty for libvirt's default.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// A connection that no order uses; of a driver inside this process the only one there is.
    pub(super) fn connect_apart(self: &Arc<Self>) -> Result<Arc<Connection>, Fault> {
        match self.reach {
            Reach::InProcess => self.connect(),
            Reach::Local | Reach::Network => Connection::open(&self.uri, self.reach),
        }
    }

    pub(super) const fn reach(&self) -> Reach {
        self.reach
    }

    pub(super) const fn pool(&self, lane: Lane) -> &Pool {
        match lane {
            Lane::Ask => &self.ask,
            Lane::Act => &self.act,
        }
    }

    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    pub(super) fn is_hung(&self) -> bool {
        *self.link.borrow() == Link::Hung
    }

    /// Whether a job that is still in this queue has no prospect of being taken up.
    pub(super) fn is_stuck(&self, lane: Lane) -> bool {
        self.is_hung() || self.pool(lane).is_stuck()
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(*self.link.borrow(), Link::Down(_))
    }

    /// Queues a job; a hypervisor that hangs gets none.
    pub(super) fn submit(self: &Arc<Self>, lane: Lane, job: Job) -> Result<(), NotTaken> {
        if self.is_hung() {
            return Err(NotTaken::Stuck);
        }
        let taken = match lane {
            Lane::Ask => self.ask.run_here(self, lane, job),
            Lane::Act => self.act.submit(self, lane, job),
        };
        match taken {
            Err(NotTaken::Stuck) if lane == Lane::Ask => self.hangs(),
            Err(NotTaken::Stuck) => {
                error!(
                    uri = self.name(),
                    "too many calls to libvirt that change domains do not return; one more is refused"
                );
            }
            Err(NotTaken::Busy) => {
                warn!(
                    uri = self.name(),
                    "too many calls to libvirt are waiting; one is refused"
                );
            }
            Ok(()) => {}
        }
        taken
    }

    /// A question was not answered in time.
    pub(super) fn hangs(self: &Arc<Self>) {
        let tally = &self.common.tally.hung_calls;
        tally.fetch_add(1, Ordering::Relaxed);
        if !matches!(self.link.send_replace(Link::Hung), Link::Hung) {
            error!(
                uri = self.name(),
                "the hypervisor does not answer; orders for its domains fail until it does"
            );
            self.warn_if_unknown();
        }
        self.keep(PROBE.0, Backoff::new(PROBE.0 * 2, PROBE.1));
    }

    /// Nothing comes into doubt by the silence of a hypervisor that has never answered.
    fn warn_if_unknown(&self) {
        if !self.common.several || self.common.sightings().knows(self.index) {
            return;
        }
        if !self.unknown.swap(true, Ordering::Relaxed) {
            warn!(
                uri = self.name(),
                "this hypervisor has not answered since the daemon's start: a domain that is off on another one is taken for off without asking it"
            );
        }
    }

    /// A call was answered: it does not hang (any more).
    pub(super) fn answered(&self) {
        if self.is_hung() && self.link.send_replace(Link::Up) == Link::Hung {
            info!(uri = self.name(), "the hypervisor answers again");
            self.back();
        }
    }

    pub(super) fn connected(&self) {
        match self.link.send_replace(Link::Up) {
            Link::Up => {}
            Link::Untried => info!(uri = self.name(), "connected to the hypervisor"),
            Link::Down(_) | Link::Hung => {
                self.common.tally.reconnects.fetch_add(1, Ordering::Relaxed);
                info!(uri = self.name(), "connected to the hypervisor again");
                self.back();
            }
        }
    }

    fn back(&self) {
        self.ask.write_off_stuck();
        self.common.sightings().is_back(self.index);
        self.wake_keeper.notify_all();
    }

    pub(super) fn unreachable(self: &Arc<Self>, fault: &Fault) {
        let now = Link::Down(fault.message.clone());
        if self.link.send_replace(now.clone()) != now {
            error!(
                uri = self.name(),
                "the hypervisor can't be reached: {fault}; retrying"
            );
            self.warn_if_unknown();
        }
        self.keep(RECONNECT.0, Backoff::new(RECONNECT.0 * 2, RECONNECT.1));
    }

    /// Opens a connection, or takes one that exists.
    pub(super) fn connect(self: &Arc<Self>) -> Result<Arc<Connection>, Fault> {
        if self.reach == Reach::InProcess {
            let mut shared = lock(&self.shared);
            if let Some(connection) = shared.as_ref() {
                return Ok(Arc::clone(connection));
            }
            let connection = self.open()?;
            *shared = Some(Arc::clone(&connection));
            return Ok(connection);
        }
        while let Some(connection) = lock(&self.spare).pop() {
            if connection.is_alive() {
                return Ok(connection);
            }
        }
        self.open()
    }

    fn open(self: &Arc<Self>) -> Result<Arc<Connection>, Fault> {
        let opened = Connection::open(&self.uri, self.reach).and_then(|connection| {
            if self.common.several && *self.link.borrow() != Link::Up {
                let asked = self.common.clock.now();
                let domains = connection.inventory()?;
                let mut sightings = self.common.sightings();
                sightings.listed(self.index, asked, domains);
            }
            Ok(connection)
        });
        *lock(&self.last_try) = Some(Instant::now());
        opened
    }

    pub(super) fn may_try(&self) -> Result<(), Fault> {
        let recent = lock(&self.last_try).is_some_and(|tried| tried.elapsed() < RETRY);
        match &*self.link.borrow() {
            Link::Down(message) if recent => Err(Fault::lost(message.clone())),
            _ => Ok(()),
        }
    }

    /// Makes sure that a thread tries to reach the hypervisor, after `pause` and then ever less
    /// often.
    fn keep(self: &Arc<Self>, pause: Duration, backoff: Backoff) {
        let mut running = lock(&self.keeper);
        if *running || self.common.is_closed() {
            return;
        }
        let host = Arc::clone(self);
        let keeper = thread::Builder::new()
            .name("virt-connect".to_owned())
            .stack_size(STACK)
            .spawn(move || host.try_until_up(pause, backoff));
        match keeper {
            Ok(_) => *running = true,
            Err(error) => error!("no thread to connect to libvirt: {error}"),
        }
    }

    fn try_until_up(self: &Arc<Self>, first: Duration, mut backoff: Backoff) {
        let mut pause = first;
        loop {
            let mut running = lock(&self.keeper);
            let until = Instant::now() + pause;
            while !self.may_stop_trying() && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                let waited = self.wake_keeper.wait_timeout(running, left);
                running = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if self.may_stop_trying() {
                *running = false;
                return;
            }
            drop(running);
            // Never one that exists: whether a new one can be had is the question.
            match self.probe() {
                Ok(connection) => self.put_back(connection),
                Err(fault) => self.unreachable(&fault),
            }
            pause = backoff.pause();
        }
    }

    fn may_stop_trying(&self) -> bool {
        self.common.is_closed() || *self.link.borrow() == Link::Up
    }

    fn probe(self: &Arc<Self>) -> Result<Arc<Connection>, Fault> {
        let connection = if self.reach == Reach::InProcess {
            self.connect()?
        } else {
            self.open()?
        };
        connection.ping()?;
        self.connected();
        Ok(connection)
    }

    /// Keeps an idle connection for the next thread.
    fn put_back(&self, connection: Arc<Connection>) {
        let mut spare = lock(&self.spare);
        if self.reach != Reach::InProcess && spare.len() < MAX_SPARE {
            spare.push(connection);
        }
    }

    /// A connection broke: idle ones that broke with it are not kept.
    pub(super) fn lost_one(&self, fault: &Fault) {
        warn!(
            uri = self.name(),
            "the connection to the hypervisor broke: {fault}"
        );
        self.common.tally.reconnects.fetch_add(1, Ordering::Relaxed);
        lock(&self.spare).retain(|connection| connection.is_alive());
    }

    /// Ends the thread that tries to connect.
    pub(super) fn stop(&self) {
        let _running = lock(&self.keeper);
        self.wake_keeper.notify_all();
    }
}
