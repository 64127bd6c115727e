//! What all sessions of the daemon share: places, backend, counters, the end; and, for each key, the
//! memory of the requests that were signed with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fence_proto::host::{Admission, Limits, Party, Replay, SessionId};
use fence_proto::{Key, Reason, Source};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::backend::Backend;
use crate::background::raise_file_limit;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::memory;
use crate::sync::lock;

/// How far the daemon has got towards its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// No new requests; orders under way may finish.
    Draining,
    /// Everybody who still waits gets a failure now.
    Ending,
}

/// The shared state. One for the whole daemon.
#[derive(Debug)]
pub struct Hub {
    /// The clock of all cores.
    pub clock: Clock,
    /// The counters.
    pub counters: Counters,
    /// Executes orders.
    pub backend: Arc<dyn Backend>,
    /// Serial lines that may be connected at one time.
    pub lines: Arc<Semaphore>,
    /// In the order in which the keys were last put to use.
    memories: Mutex<Vec<(Key, Arc<Mutex<Replay>>)>>,
    places: Mutex<Places>,
    phase: watch::Sender<Phase>,
    sessions: watch::Sender<usize>,
}

/// Most serial lines. Each has an open file for as long as its domain runs, whether it says anything or not.
const MAX_LINES: u64 = 4096;

/// Serial lines that may be connected at one time: they leave most of the files to others.
fn lines() -> usize {
    let lines = (raise_file_limit(0) / 8).clamp(16, MAX_LINES);
    usize::try_from(lines).unwrap_or(usize::MAX)
}

/// Keys that no listener has any more whose requests are still remembered: who has a frame of such a key must not be
/// able to send it again when the key comes back. Those that were in use last are kept.
const FORMER_KEYS: usize = 16;

/// After so many sessions at once their memory is given back when the last one ends.
const CROWD: usize = 128;

#[derive(Debug)]
struct Places {
    admission: Admission,
    /// The most sessions at once since there were none.
    most: usize,
    evictions: HashMap<SessionId, oneshot::Sender<()>>,
}

impl Hub {
    /// A hub for `backend` with these bounds.
    #[must_use]
    pub fn new(clock: Clock, backend: Arc<dyn Backend>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            clock,
            counters: Counters::new(clock),
            backend,
            lines: Arc::new(Semaphore::new(lines())),
            memories: Mutex::default(),
            places: Mutex::new(Places {
                admission: Admission::new(limits),
                most: 0,
                evictions: HashMap::new(),
            }),
            phase: watch::Sender::new(Phase::Running),
            sessions: watch::Sender::new(0),
        })
    }

    /// A share of the places, for a listener.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        let party = lock(&self.places).admission.join();
        let hub = Arc::clone(self);
        Share { hub, party }
    }

    /// Takes a place for a session of `source`, at the cost of an older unproven one if need be.
    fn admit(self: &Arc<Self>, party: Party, source: Source) -> Result<Place, Reason> {
        if *self.phase.borrow() != Phase::Running {
            return Err(Reason::ShuttingDown);
        }
        let mut places = lock(&self.places);
        let admitted = places.admission.admit(party, source)?;
        let evicted = admitted.evicted.and_then(|id| places.evictions.remove(&id));
        if let Some(evicted) = evicted {
            // The session may have ended by itself in this moment: just as good.
            let _ = evicted.send(());
        }
        let (sender, receiver) = oneshot::channel();
        places.evictions.insert(admitted.id, sender);
        places.most = places.most.max(places.admission.len());
        drop(places);
        self.sessions
            .send_modify(|count| *count = count.saturating_add(1));
        Ok(Place {
            hub: Arc::clone(self),
            id: admitted.id,
            evicted: receiver,
            gone: false,
        })
    }

    /// The memory of the requests that were signed with `key`: one for all listeners that have it, so
    /// that a frame which one of them heard is a replay to the others too. Those with another key have
    /// another memory: who has that key can neither have requests of this one taken for its own
    /// duplicates nor make this memory forget. Without a key nothing ties requests to anybody, so each
    /// listener has a memory of its own.
    #[must_use]
    pub fn memory_of(&self, key: Option<&Key>) -> Arc<Mutex<Replay>> {
        let Some(key) = key else {
            return Arc::default();
        };
        let mut memories = lock(&self.memories);
        let known = memories.iter().position(|(known, _)| known.is(key));
        let (key, memory) = match known {
            Some(index) => memories.remove(index),
            None => (key.clone(), Arc::default()),
        };
        // Sessions of before hold theirs as well.
        let is_unused = |(_, memory): &(Key, Arc<Mutex<Replay>>)| Arc::strong_count(memory) == 1;
        while memories.iter().filter(|it| is_unused(it)).count() > FORMER_KEYS {
            if let Some(oldest) = memories.iter().position(is_unused) {
                memories.remove(oldest);
            }
        }
        memories.push((key, Arc::clone(&memory)));
        memory
    }

    /// Says how far the end has come; never goes back.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
            }
            forward
        });
    }

    /// Follows the phase.
    #[must_use]
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits until no session is left.
    pub async fn idle(&self) {
        // The sender lives as long as this hub.
        let _ = self
            .sessions
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }
}

/// A listener's share of the places. Dropping it leaves them to the others; sessions go on.
#[derive(Debug)]
pub struct Share {
    hub: Arc<Hub>,
    party: Party,
}

impl Share {
    /// Takes a place for a session of `source`, at the cost of an older unproven one if need be.
    ///
    /// # Errors
    /// The [`Reason`] if there is no place, also because the daemon is ending.
    pub fn admit(&self, source: Source) -> Result<Place, Reason> {
        self.hub.admit(self.party, source)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        lock(&self.hub.places).admission.leave(self.party);
    }
}

/// A session's place. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    hub: Arc<Hub>,
    id: SessionId,
    evicted: oneshot::Receiver<()>,
    /// Evicted, and that was said.
    gone: bool,
}

impl Place {
    /// The peer has proved itself: nobody takes this place any more.
    pub fn proven(&self) {
        let mut places = lock(&self.hub.places);
        places.admission.proven(self.id);
    }

    /// Resolves when the place was given to somebody else. Cancel-safe.
    pub async fn evicted(&mut self) {
        if !self.gone {
            // The sender goes only when it has sent or when this place is dropped.
            let _ = (&mut self.evicted).await;
            self.gone = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = lock(&self.hub.places);
        places.admission.release(self.id);
        places.evictions.remove(&self.id);
        let crowd_is_gone = places.admission.is_empty() && places.most >= CROWD;
        if places.admission.is_empty() {
            places.most = 0;
        }
        drop(places);
        if crowd_is_gone {
            memory::give_back();
        }
        self.hub
            .sessions
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}
