//! The thread that keeps a watcher going: it starts a worker, which connects and asks, and starts another
//! one when that one's connection is lost or one of its calls does not return.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fence_proto::Uuid;
use fence_proto::fencing::Backoff;
use tracing::{info, warn};

use super::super::events::Happened;
use super::super::pool::STACK;
use super::{Notice, Shared, migration, worker};
use crate::sync::lock;
use crate::vitals::Beat;

/// Pauses between tries to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));

/// Workers that may be stuck in calls that do not return. With so many it is waited for one to end.
const MAX_STUCK: usize = 8;

/// Domains that are to be asked for one by one. With more everything is listed.
const MAX_DIRTY: usize = 2048;

/// What the threads of one watcher share.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The watcher was dropped.
    pub stopped: bool,
    /// The number of the worker that counts. What others bring is worth nothing.
    generation: u64,
    /// Since when that worker's present call runs.
    busy: Option<Instant>,
    /// Why that worker ended.
    ended: Option<String>,
    /// It has told a snapshot.
    up: bool,
    /// Workers of before that have not ended.
    stuck: usize,
    /// The connection's end was told by libvirt.
    closed: Option<&'static str>,
    todo: Todo,
    /// What is known and asked of migrations.
    pub roles: migration::Roles,
}

/// What the worker is to do.
#[derive(Debug, Default)]
struct Todo {
    /// List everything.
    resync: bool,
    /// Make sure that every start and stop is told.
    refresh: bool,
    /// Ask for these domains.
    dirty: BTreeSet<Uuid>,
    /// Those of them that a migration took elsewhere, as libvirt said.
    migrated: BTreeSet<Uuid>,
}

impl State {
    /// Whether what this worker brings is worth anything.
    pub(super) const fn counts(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// The domain is to be asked for. With too many of them everything is listed.
    pub(super) fn is_dirty(&mut self, domain: Uuid) {
        // What is listed is asked for anyway.
        if self.todo.resync {
            return;
        }
        self.todo.dirty.insert(domain);
        if self.todo.dirty.len() > MAX_DIRTY {
            self.todo.dirty.clear();
            self.todo.migrated.clear();
            self.todo.resync = true;
        }
    }

    /// Whether it was said of a domain that a migration took it elsewhere. Said once.
    pub(super) fn was_migrated(&mut self, domain: Uuid) -> bool {
        self.todo.migrated.remove(&domain)
    }
}

/// What a worker is to do next.
pub(super) enum Task {
    /// List everything.
    Resync,
    /// See which domains are on.
    Refresh,
    /// Ask for this domain.
    Look(Uuid),
    /// Ask for a sign of life.
    Ping,
    /// End: the connection is lost, as libvirt said.
    Closed(&'static str),
    /// End: this worker does not count any more.
    Over,
}

/// Starts the thread.
pub(super) fn start(shared: &Arc<Shared>) {
    let supervised = Arc::clone(shared);
    let thread = thread::Builder::new()
        .name("virt-watch".to_owned())
        .stack_size(STACK)
        .spawn(move || supervise(&supervised));
    if let Err(error) = thread {
        shared.post(Notice::Lost(format!("no thread to watch domains: {error}")));
    }
}

fn supervise(shared: &Arc<Shared>) {
    let beat = Beat::start("what watches domains");
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    let mut told = None;
    while let Some(generation) = shared.begin(&beat) {
        let ended = match worker::start(shared, generation) {
            Ok(()) => shared.until_worker_ends(generation, &beat),
            Err(error) => Some((format!("no thread to ask libvirt: {error}"), false)),
        };
        let Some((reason, was_up)) = ended else {
            return;
        };
        if was_up {
            backoff.reset();
            told = None;
        }
        if told.as_ref() != Some(&reason) {
            warn!(
                uri = shared.name(),
                "domains can't be watched: {reason}; retrying"
            );
            shared.post(Notice::Lost(reason.clone()));
            told = Some(reason);
        }
        if !shared.pause(backoff.pause(), &beat) {
            return;
        }
    }
}

impl Shared {
    /// Makes room for the next worker; `None` when the watcher is dropped.
    fn begin(&self, beat: &Beat) -> Option<u64> {
        let mut state = lock(&self.state);
        while state.stuck >= MAX_STUCK && !state.stopped {
            beat.give();
            let waited = self.wake.wait_timeout(state, RECONNECT.1);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.stopped {
            return None;
        }
        state.generation = state.generation.wrapping_add(1);
        state.busy = Some(Instant::now());
        state.ended = None;
        state.up = false;
        state.closed = None;
        state.todo = Todo {
            resync: true,
            ..Todo::default()
        };
        state.roles = migration::Roles::default();
        Some(state.generation)
    }

    /// Waits until the worker ends or hangs: why, and whether it had told a snapshot. `None` when the
    /// watcher is dropped.
    fn until_worker_ends(self: &Arc<Self>, generation: u64, beat: &Beat) -> Option<(String, bool)> {
        let mut state = lock(&self.state);
        loop {
            beat.give();
            self.relieve_askers(generation, &mut state);
            if state.stopped {
                return None;
            }
            if let Some(reason) = state.ended.take() {
                return Some((reason, state.up));
            }
            let patience = self.settings.patience;
            let left = state
                .busy
                .map(|since| patience.saturating_sub(since.elapsed()));
            if left == Some(Duration::ZERO) {
                // From here on the worker does not count; it ends when its call returns.
                state.generation = state.generation.wrapping_add(1);
                state.stuck = state.stuck.saturating_add(1);
                return Some(("the hypervisor does not answer".to_owned(), state.up));
            }
            let look = state.roles.next_look().unwrap_or(patience);
            let wait = left.unwrap_or(patience).min(look);
            let waited = self.wake.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// False when the watcher is dropped.
    fn pause(&self, pause: Duration, beat: &Beat) -> bool {
        beat.give();
        let until = Instant::now() + pause;
        let mut state = lock(&self.state);
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.wake.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.generation = state.generation.wrapping_add(1);
        self.wake.notify_all();
    }

    pub(super) fn want_refresh(&self) {
        lock(&self.state).todo.refresh = true;
        self.wake.notify_all();
    }

    pub(super) fn want_resync(&self) {
        lock(&self.state).todo.resync = true;
        self.wake.notify_all();
    }

    /// Whether the worker counts; notes that a call of it begins, or that none runs.
    pub(super) fn mark(&self, generation: u64, busy: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        let counts = state.counts(generation);
        if counts {
            state.busy = busy;
        }
        counts
    }

    /// What a worker of this number found out; dropped if it does not count any more.
    pub(super) fn tell(&self, generation: u64, notice: Notice) {
        let mut state = lock(&self.state);
        if !state.counts(generation) {
            return;
        }
        if matches!(notice, Notice::Current(_)) && state.todo.resync {
            // Changes may have been thrown away; it is said again after the list.
            return;
        }
        if matches!(notice, Notice::Snapshot(_)) && !std::mem::replace(&mut state.up, true) {
            info!(uri = self.name(), "watching domains");
        }
        // With the state held: what is told of this connection comes before its loss.
        if !self.post(notice) {
            state.todo.resync = true;
            self.wake.notify_all();
        }
    }

    /// Waits for something to do.
    pub(super) fn next_task(&self, generation: u64, resync_at: Instant) -> Task {
        let ping_at = Instant::now() + self.settings.ping;
        let mut state = lock(&self.state);
        loop {
            if !state.counts(generation) {
                return Task::Over;
            }
            if let Some(reason) = state.closed {
                return Task::Closed(reason);
            }
            let now = Instant::now();
            if state.todo.resync || now >= resync_at {
                // What the events until now told is in the list that is asked for from now on.
                state.todo = Todo::default();
                return Task::Resync;
            }
            if std::mem::take(&mut state.todo.refresh) {
                return Task::Refresh;
            }
            if let Some(uuid) = state.todo.dirty.pop_first() {
                return Task::Look(uuid);
            }
            if now >= ping_at {
                return Task::Ping;
            }
            let left = ping_at.min(resync_at).saturating_duration_since(now);
            let waited = self.wake.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A worker has ended, for this reason if for any.
    pub(super) fn worker_ended(&self, generation: u64, reason: Option<String>) {
        let mut state = lock(&self.state);
        if state.counts(generation) {
            state.generation = state.generation.wrapping_add(1);
            state.busy = None;
            state.ended = Some(reason.unwrap_or_else(|| "the watching thread ended".to_owned()));
        } else if !state.stopped {
            state.stuck = state.stuck.saturating_sub(1);
        }
        self.wake.notify_all();
    }

    /// An event of libvirt, for the worker with this number.
    pub(super) fn event(&self, generation: u64, domain: Uuid, what: Happened) {
        let mut state = lock(&self.state);
        if state.counts(generation) {
            state.is_dirty(domain);
            // While all is being listed nobody asks for it alone.
            if what == Happened::MigratedAway && state.todo.dirty.contains(&domain) {
                state.todo.migrated.insert(domain);
            }
            self.wake.notify_all();
        }
    }

    /// The connection of the worker with this number has ended.
    pub(super) fn closed(&self, generation: u64, reason: &'static str) {
        let mut state = lock(&self.state);
        if state.counts(generation) {
            state.closed = Some(reason);
            self.wake.notify_all();
        }
    }
}
