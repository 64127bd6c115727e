//! The thread that talks to corosync, over one connection of each kind, until one of them breaks.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fence_cluster::seam::{MemberId, NodeId};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rust_corosync::{CsError, DispatchFlags, TrackFlags, cpg, quorum};
use tracing::{debug, warn};

use super::caller::{Caller, End, TRY_AGAIN, lost};
use super::cmap::Cmap;
use super::keeper::Pulse;
use super::{Happening, Shared, Trouble, callbacks, nodelist};
use crate::sync::lock;

/// libcpg and libquorum put an event, up to 1 MiB, on the stack.
const STACK: usize = 4 * 1024 * 1024;

/// How often corosync is asked for a sign of life, and whether there is quorum.
const PING: Duration = Duration::from_secs(1);

/// How often the configured hosts are read; also after each change of the membership. libcmap could tell
/// changes, but `rust-corosync` aborts on some of those it is told (a text of length 0).
const READ_HOSTS: Duration = Duration::from_secs(5);

/// How long it may take until a member that leaves has left for all. Whoever has less time does not wait for it.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// Events taken before anything else is looked at.
const BATCH: usize = 64;

/// Events taken for a barrier: more than can wait when nobody floods the group.
const BARRIER_BATCH: usize = 4096;

/// Starts the thread.
pub(super) fn start(
    shared: &Arc<Shared>,
    generation: u64,
    pulse: &Arc<Pulse>,
) -> std::io::Result<()> {
    let caller = Caller {
        shared: Arc::clone(shared),
        generation,
        pulse: Arc::clone(pulse),
    };
    let started = thread::Builder::new()
        .name("corosync".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let reason = match converse(&caller) {
                Err(End::Lost(reason)) => Some(reason),
                Err(End::Over) => None,
            };
            caller.shared.conversation_ended(caller.generation, reason);
        });
    if started.is_err() {
        lock(&shared.state).threads -= 1;
    }
    started.map(drop)
}

/// A conversation whose connections are there. They are closed, each by a call that may block, when it is
/// dropped.
struct Conversation<'c> {
    caller: &'c Caller,
    /// This host.
    node: NodeId,
    cpg: cpg::Handle,
    quorum: quorum::Handle,
    cmap: Cmap,
    /// Whether there is a quorum provider: without one corosync calls every partition quorate.
    provider: bool,
    quorate: Option<bool>,
    hosts: Option<Vec<(NodeId, String)>>,
    hosts_problem: Option<Trouble>,
    read_hosts_at: Instant,
    ping_at: Instant,
    /// Corosync refused a message, for now.
    refused: bool,
    /// Barriers that have not come yet.
    barriers: VecDeque<u64>,
}

fn converse(caller: &Caller) -> Result<std::convert::Infallible, End> {
    let cpg = caller.insist("cpg_initialize", || cpg::initialize(&callbacks::CPG, 0))?;
    let node = caller.call("cpg_local_get", || cpg::local_get(&cpg))?;
    let (quorum, kind) = caller.insist("quorum_initialize", || {
        quorum::initialize(&callbacks::QUORUM, 0)
    })?;
    let cmap = caller.pulse.during(Cmap::open)?;
    let now = Instant::now();
    let mut conversation = Conversation {
        caller,
        node: NodeId(node.into()),
        cpg,
        quorum,
        cmap,
        provider: matches!(kind, quorum::QuorumType::Set),
        quorate: None,
        hosts: None,
        hosts_problem: None,
        read_hosts_at: now,
        ping_at: now,
        refused: false,
        barriers: VecDeque::new(),
    };
    let end = conversation.begin().and_then(|()| conversation.talk());
    conversation.close();
    end
}

impl Conversation<'_> {
    fn begin(&mut self) -> Result<(), End> {
        if !self.provider {
            warn!(
                "corosync has no quorum provider, so nothing is claimed about other hosts' domains: set provider: corosync_votequorum in section quorum of corosync.conf"
            );
        }
        // What cannot be read at first is a reason to try later, not to go on without.
        let hosts = self.hosts_now()?;
        // First what is, then what changes: which nodes there are is told with either.
        for what in [TrackFlags::Current, TrackFlags::Changes] {
            self.caller.insist("quorum_trackstart", || {
                quorum::trackstart(&self.quorum, what)
            })?;
        }
        let group = &self.caller.shared.group;
        self.caller
            .insist("cpg_join", || cpg::join(&self.cpg, group))?;
        if !self.caller.shared.connected(self.caller.generation) {
            return Err(End::Over);
        }
        let node = self.node;
        self.caller.post(Happening::Connected { node })?;
        if let Some(hosts) = hosts {
            self.tell_hosts(hosts)?;
        }
        self.ping()
    }

    fn talk(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.wait()?;
            self.caller.still_counts()?;
            let asked = std::mem::take(&mut lock(&self.caller.shared.state).barriers);
            self.barriers.extend(asked);
            self.dispatch_quorum()?;
            if self.barriers.is_empty() {
                self.dispatch(BATCH)?;
            } else {
                self.take_all()?;
                self.pass_barriers()?;
            }
            self.send()?;
            let now = Instant::now();
            if now >= self.ping_at {
                self.ping()?;
            }
            if now >= self.read_hosts_at {
                self.read_hosts()?;
            }
        }
    }

    /// Until there is something to do.
    fn wait(&self) -> Result<(), End> {
        let now = Instant::now();
        let mut pause = self
            .ping_at
            .min(self.read_hosts_at)
            .saturating_duration_since(now);
        if self.refused {
            pause = pause.min(TRY_AGAIN);
        }
        let cpg = self.caller.call("cpg_fd_get", || cpg::fd_get(&self.cpg))?;
        let quorum = self
            .caller
            .call("quorum_fd_get", || quorum::fd_get(&self.quorum))?;
        // SAFETY: both descriptors belong to handles that stay open until this function has returned.
        let (cpg, quorum) =
            unsafe { (BorrowedFd::borrow_raw(cpg), BorrowedFd::borrow_raw(quorum)) };
        let bell = self.caller.shared.bell.as_fd();
        let mut fds = [cpg, quorum, bell].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let pause = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, pause) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(End::Lost(format!("poll: {error}"))),
        }
        let broken = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        let is_broken = |fd: &PollFd<'_>| fd.revents().is_some_and(|it| it.intersects(broken));
        if fds.iter().any(is_broken) {
            return Err(End::Lost("corosync closed the connection".to_owned()));
        }
        // Empty is as good.
        let _ = self.caller.shared.bell.read();
        Ok(())
    }

    /// Takes events of the group, `most` at most. False if there are none left.
    fn dispatch(&mut self, most: usize) -> Result<bool, End> {
        for _ in 0..most {
            let flags = DispatchFlags::OneNonblocking;
            let dispatched = self.caller.pulse.during(|| cpg::dispatch(&self.cpg, flags));
            match dispatched {
                Ok(()) => self.hand_over()?,
                Err(CsError::CsErrTryAgain) => return Ok(false),
                Err(error) => return Err(lost("cpg_dispatch", error)),
            }
        }
        // The next wait returns at once: there is more to read.
        Ok(true)
    }

    /// Takes all that corosync has for us. What does not fit into the ring between us it keeps itself; while it
    /// answers a question it has the time to put more there.
    fn take_all(&mut self) -> Result<(), End> {
        self.dispatch(BARRIER_BATCH)?;
        self.caller
            .call("cpg_local_get", || cpg::local_get(&self.cpg))?;
        self.dispatch(BARRIER_BATCH)?;
        self.dispatch_quorum()
    }

    /// Everything has come that was there when they were asked for, and the quorum that belongs to it.
    fn pass_barriers(&mut self) -> Result<(), End> {
        // What it still waits for wakes the next wait.
        if self.provider && callbacks::quorum_is_behind() {
            return Ok(());
        }
        for barrier in std::mem::take(&mut self.barriers) {
            self.caller.post(Happening::Barrier(barrier))?;
        }
        Ok(())
    }

    fn dispatch_quorum(&mut self) -> Result<(), End> {
        let dispatched = self
            .caller
            .pulse
            .during(|| quorum::dispatch(&self.quorum, DispatchFlags::All));
        match dispatched {
            Ok(()) | Err(CsError::CsErrTryAgain) => self.hand_over(),
            Err(error) => Err(lost("quorum_dispatch", error)),
        }
    }

    /// Hands over what the callbacks put down.
    fn hand_over(&mut self) -> Result<(), End> {
        for happening in callbacks::take() {
            match happening {
                Happening::Quorum(quorate) => self.tell_quorum(quorate)?,
                Happening::Membership { .. } => {
                    self.read_hosts_at = Instant::now();
                    self.caller.post(happening)?;
                }
                _ => self.caller.post(happening)?,
            }
        }
        Ok(())
    }

    fn tell_quorum(&mut self, quorate: bool) -> Result<(), End> {
        let quorate = quorate && self.provider;
        if self.quorate == Some(quorate) {
            return Ok(());
        }
        self.quorate = Some(quorate);
        self.caller.post(Happening::Quorum(quorate))
    }

    fn ping(&mut self) -> Result<(), End> {
        self.ping_at = Instant::now() + PING;
        let asked = self
            .caller
            .pulse
            .during(|| quorum::getquorate(&self.quorum));
        match asked {
            Ok(quorate) => self.tell_quorum(quorate),
            Err(CsError::CsErrTryAgain) => Ok(()),
            Err(error) => Err(lost("quorum_getquorate", error)),
        }
    }

    /// The configured hosts; `None` while corosync reads its configuration anew.
    fn hosts_now(&self) -> Result<Option<Vec<(NodeId, String)>>, Trouble> {
        let cmap = &self.cmap;
        let reloading = || cmap.small_number(c"config.reload_in_progress");
        let read = self.caller.pulse.during(|| {
            let before = reloading()?;
            let keys = cmap.below(c"nodelist.node.")?;
            Ok((before, keys, reloading()?))
        });
        match read? {
            (None | Some(0), keys, None | Some(0)) => {
                nodelist::hosts(keys).map(Some).map_err(Trouble::new)
            }
            _ => Ok(None),
        }
    }

    /// Reads the hosts. The last ones that could be read stay good.
    fn read_hosts(&mut self) -> Result<(), End> {
        self.read_hosts_at = Instant::now() + READ_HOSTS;
        match self.hosts_now() {
            Ok(None) => {
                self.read_hosts_at = Instant::now() + PING;
                Ok(())
            }
            Ok(Some(hosts)) => {
                self.hosts_problem = None;
                self.tell_hosts(hosts)
            }
            Err(trouble) => {
                if self.hosts_problem.as_ref() != Some(&trouble) {
                    warn!(
                        "corosync's hosts can't be read: {trouble}; going by what was read before"
                    );
                    self.hosts_problem = Some(trouble);
                }
                Ok(())
            }
        }
    }

    fn tell_hosts(&mut self, hosts: Vec<(NodeId, String)>) -> Result<(), End> {
        if self.hosts.as_ref() == Some(&hosts) {
            return Ok(());
        }
        self.hosts = Some(hosts.clone());
        self.caller.post(Happening::Hosts(hosts))
    }

    /// Sends what waits, until corosync refuses or events want to be taken.
    fn send(&mut self) -> Result<(), End> {
        self.refused = false;
        for sent in 0.. {
            let mut state = lock(&self.caller.shared.state);
            if state.generation != self.caller.generation {
                return Err(End::Over);
            }
            if let Some(overflow) = state.overflow {
                return Err(End::Lost(overflow.to_string()));
            }
            let Some(message) = state.outbox.pop() else {
                break;
            };
            drop(state);
            let guarantee = cpg::Guarantee::TypeAgreed;
            let called = self
                .caller
                .pulse
                .during(|| cpg::mcast_joined(&self.cpg, guarantee, &message));
            match called {
                Ok(()) if sent < BATCH => {}
                Ok(()) => {
                    // More may wait: come back at once.
                    self.caller.shared.ring();
                    break;
                }
                Err(CsError::CsErrTryAgain) => {
                    self.put_back(message);
                    break;
                }
                Err(error) => return Err(lost("cpg_mcast_joined", error)),
            }
        }
        Ok(())
    }

    fn put_back(&mut self, message: Vec<u8>) {
        let mut state = lock(&self.caller.shared.state);
        if state.generation == self.caller.generation {
            state.outbox.put_back(message);
            self.refused = true;
        }
    }

    /// Leaves the group in good order, unless corosync is gone.
    fn close(mut self) {
        if self.caller.still_counts().is_err() {
            let _ = self.send();
            let left = self.leave();
            debug!(?left, "left the cluster's group");
        }
        let pulse = Arc::clone(&self.caller.pulse);
        // Closing asks corosync, too.
        pulse.during(|| drop(self));
    }

    /// Leaves the group. This member has left when that is delivered, in order with everything that the others
    /// send, and not when corosync has taken it.
    fn leave(&self) -> rust_corosync::Result<()> {
        let until = Instant::now() + LEAVES_WITHIN;
        self.caller
            .patiently(until, || cpg::leave(&self.cpg, &self.caller.shared.group))?;
        let me = MemberId {
            node: self.node,
            pid: std::process::id(),
        };
        let leaves = |happening| match happening {
            Happening::Membership { left, .. } => left.iter().any(|(member, _)| *member == me),
            _ => false,
        };
        let flags = DispatchFlags::OneNonblocking;
        // What else comes is for nobody any more.
        while !callbacks::take().into_iter().any(leaves) {
            self.caller
                .patiently(until, || cpg::dispatch(&self.cpg, flags))?;
        }
        Ok(())
    }
}
