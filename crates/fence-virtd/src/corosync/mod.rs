//! Corosync: the group of the daemons, quorum, and which hosts there are.
//!
//! libcpg, libquorum and libcmap block, for ever when corosync is stopped by a signal. So one thread makes
//! all calls ([`conversation`]), and another one ([`keeper`]) watches it: when a call does not return or the
//! connection breaks, that conversation is over, what it may still say is dropped, and a new one is begun
//! as soon as corosync answers. The user sees [`Happening`]s in agreed order, and [`Happening::Disconnected`]
//! whenever that order has a hole.

#[cfg(test)]
pub(crate) mod by_hand;
mod callbacks;
mod caller;
mod calls;
mod cmap;
mod conversation;
mod keeper;
pub mod look;
mod nodelist;
mod outbox;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};

use fence_cluster::seam::{LeaveReason, MemberId, NodeId};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::{mpsc, watch};

pub use self::calls::Calls;
use self::outbox::{Outbox, Overflow};
use crate::sync::lock;

/// Happenings that may wait for the user. With so many corosync has to wait, and it queues for us.
const MAX_HAPPENINGS: usize = 256;

/// What corosync says. Messages and memberships come in agreed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The group is joined. The first [`Happening::Membership`] follows.
    Connected {
        /// This host.
        node: NodeId,
    },
    /// Nothing more comes of this connection.
    Disconnected(String),
    /// The group has these members now.
    Membership {
        /// All of them.
        members: Vec<MemberId>,
        /// Who has gone since the last time.
        left: Vec<(MemberId, LeaveReason)>,
    },
    /// A message of the group, one's own included.
    Delivered {
        /// Who sent it.
        from: MemberId,
        /// Whatever it is.
        bytes: Vec<u8>,
    },
    /// Whether this partition has quorum. False without a quorum provider.
    Quorum(bool),
    /// The configured hosts.
    Hosts(Vec<(NodeId, String)>),
    /// The hosts that corosync has in this partition. Told with every change of its ring, also if they are the
    /// same as before.
    Nodes(Vec<NodeId>),
    /// Everything that corosync had for us when [`Corosync::barrier`] was called has come.
    Barrier(u64),
}

/// Why something could not be had of corosync.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Trouble(String);

impl Trouble {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// A happening and the number of the conversation that it is from.
type Numbered = (u64, Happening);

/// What the threads share.
struct Shared {
    group: String,
    happenings: mpsc::Sender<Numbered>,
    state: Mutex<State>,
    wake: Condvar,
    /// Wakes the conversation.
    bell: EventFd,
    /// What keeps us from being connected; empty while we are.
    obstacle: watch::Sender<Option<String>>,
    /// The group was left, or there was nothing to leave.
    gone: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// The conversation that counts. What is said in or for another one is worth nothing.
    generation: u64,
    /// It has joined the group.
    connected: bool,
    outbox: Outbox,
    overflow: Option<Overflow>,
    barriers: VecDeque<u64>,
    /// The group is to be left for good.
    leaving: bool,
    /// Why the conversation that counts ended.
    ended: Option<String>,
    /// Conversations that have not ended.
    threads: usize,
    /// There is no room for another one until one of them ends: their calls do not return.
    crowded: bool,
}

/// This daemon's place in the group.
pub struct Corosync {
    shared: Arc<Shared>,
    happenings: mpsc::Receiver<Numbered>,
    /// The conversation that the last happening came from.
    generation: u64,
    /// The newest conversation that is over.
    over: u64,
    barriers: u64,
}

impl Corosync {
    /// Starts to join the group, and to join it again whenever that ends.
    ///
    /// # Errors
    /// If the system has no thread or descriptor for it.
    pub fn start(group: &str) -> std::io::Result<Self> {
        let corosync = Self::idle(group)?;
        keeper::start(&corosync.shared)?;
        Ok(corosync)
    }

    /// One that talks to nobody.
    fn idle(group: &str) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(MAX_HAPPENINGS);
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let shared = Arc::new(Shared {
            group: group.to_owned(),
            happenings: sender,
            state: Mutex::default(),
            wake: Condvar::new(),
            bell: EventFd::from_value_and_flags(0, flags)?,
            obstacle: watch::Sender::new(Some("not tried yet".to_owned())),
            gone: watch::Sender::new(false),
        });
        Ok(Self {
            shared,
            happenings: receiver,
            generation: 0,
            over: 0,
            barriers: 0,
        })
    }

    /// The next happening. Cancel-safe.
    pub async fn next(&mut self) -> Happening {
        loop {
            match self.happenings.recv().await {
                Some(numbered) => {
                    if let Some(happening) = self.current(numbered) {
                        return happening;
                    }
                }
                // The sender lives in `shared`.
                None => std::future::pending().await,
            }
        }
    }

    fn current(&mut self, (generation, happening): Numbered) -> Option<Happening> {
        if generation <= self.over {
            return None;
        }
        self.generation = generation;
        if matches!(happening, Happening::Disconnected(_)) {
            self.over = generation;
        }
        Some(happening)
    }

    /// Sends a message to the group, in order. One that is for a connection that has ended meanwhile is
    /// dropped; one that can't be sent ends the connection.
    pub fn send(&self, message: Vec<u8>) {
        let mut state = lock(&self.shared.state);
        if state.generation != self.generation || !state.connected || state.overflow.is_some() {
            return;
        }
        if let Err(overflow) = state.outbox.push(message) {
            state.overflow = Some(overflow);
        }
        drop(state);
        self.shared.ring();
    }

    /// Asks for a [`Happening::Barrier`] with the number that is returned. It does not come if the connection
    /// ends before.
    pub fn barrier(&mut self) -> u64 {
        self.barriers = self.barriers.wrapping_add(1);
        let mut state = lock(&self.shared.state);
        if state.generation == self.generation {
            state.barriers.push_back(self.barriers);
        }
        drop(state);
        self.shared.ring();
        self.barriers
    }

    /// What keeps us from being connected; `None` while we are.
    #[must_use]
    pub fn obstacle(&self) -> watch::Receiver<Option<String>> {
        self.shared.obstacle.subscribe()
    }

    /// How the calls to corosync are.
    #[must_use]
    pub fn calls(&self) -> Calls {
        Calls::new(&self.shared)
    }

    /// Sends what waits to be sent, as far as corosync takes it, and leaves the group for good. Resolves when that is done,
    /// which it may never be: give up after a while.
    pub async fn leave(&self) {
        let mut gone = self.shared.gone.subscribe();
        self.shared.leave();
        // The sender lives in `shared`.
        let _ = gone.wait_for(|gone| *gone).await;
    }
}

impl fmt::Debug for Corosync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Corosync").field(&self.shared.group).finish()
    }
}

impl Drop for Corosync {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

impl Shared {
    fn ring(&self) {
        // Full means that it rings already.
        let _ = self.bell.write(1);
    }

    fn leave(&self) {
        lock(&self.state).leaving = true;
        self.wake.notify_all();
        self.ring();
    }

    /// Whether a conversation is to go on.
    fn counts(&self, generation: u64) -> bool {
        let state = lock(&self.state);
        state.generation == generation && !state.leaving
    }
}
