//! One line: a task that connects, serves what comes, and connects again, until the run of its domain is
//! over. What is decided is decided by the core, [`fence_proto::host::Line`].
//!
//! A guest can send as fast as it likes and read as slowly as it likes. So what it sends is read at a bounded rate, and
//! not at all while it has not read what it was answered; that is all a line ever holds.

use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fence_proto::fencing::Backoff;
use fence_proto::host::line::{Event, OrderNumber, Output, Response};
use fence_proto::host::{self, Answer};
use fence_proto::{Reason, Reply};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::connect::{Connection, Doorstep, Refusal};
use super::orders::{Done, Orders};
use super::outgoing::Outgoing;
use super::socket::Unfit;
use crate::counters::Allowance;
use crate::door::Door;
use crate::gate::Gate;
use crate::hub::Phase;

/// Pauses before a line is connected again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A connection that lasted so long is not one that breaks again and again.
const STEADY: Duration = Duration::from_secs(10);

/// What a guest may send per second, in bytes, on the average. A serial line has some 11 KiB/s.
const RATE: u32 = 64 * 1024;

/// Pause after something that began an order or was answered: ten a second are more than any agent needs.
const REQUEST_PAUSE: Duration = Duration::from_millis(100);

/// Lines about requests that came to nothing: so many in such a time, of each line. A guest needs no key to ask, and must
/// neither fill the log nor have others' lines dropped from it.
const REFUSALS: (u32, Duration) = (10, Duration::from_secs(10));

/// What the listener wants of a line. Without a listener it takes no more requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To serve.
    Serve,
    /// To end: the run of its domain is over, or somebody else claims the same socket.
    End,
}

type Entering = Pin<Box<dyn Future<Output = Result<Connection, Refusal>> + Send>>;

/// How a line is connected.
enum Link {
    /// Not, until then.
    Resting(Instant),
    /// It is being tried.
    Connecting(Entering),
    /// Since then.
    Up(Connection, Instant),
    /// Never again.
    Over,
}

/// What a task found out.
enum Happening {
    Answered(OrderNumber, Answer, Done),
    Wished(Option<Wish>),
    /// The listener has other rules.
    Ruled(Arc<Gate>),
    Phase(Phase),
    Rested,
    Entered(Result<Connection, Refusal>),
    Read(usize),
    Broken(Reason),
    Wrote,
    Deadline,
}

/// Whose line it is, for the log.
struct Peer {
    guest: String,
    doorstep: Doorstep,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = &self.doorstep.line;
        write!(f, "{:?} ({}) on {:?}", self.guest, line.domain, line.path)
    }
}

/// The line.
pub(super) struct Line {
    gate: Arc<Gate>,
    gates: watch::Receiver<Arc<Gate>>,
    peer: Peer,
    core: host::Line,
    wish: watch::Receiver<Wish>,
    orders: Orders,
    link: Link,
    outgoing: Outgoing,
    buffer: [u8; 512],
    /// Nothing is read before.
    quiet_until: Instant,
    pauses: Backoff,
    /// Tries that failed since it was connected.
    failures: u32,
    /// No more requests are taken.
    finishing: bool,
    refusals: Allowance,
}

impl Line {
    /// The line that `doorstep` leads to, of the domain that is called `guest`. Boxed, because each future
    /// that it moves through would hold a copy.
    pub(super) fn new(
        door: &Door,
        guest: String,
        doorstep: Doorstep,
        wish: watch::Receiver<Wish>,
    ) -> Box<Self> {
        let mut gates = door.gates();
        let gate = Arc::clone(&gates.borrow_and_update());
        let policy = gate.policy();
        let (access, timing) = (Arc::clone(policy.access()), *policy.timing());
        let domain = doorstep.line.domain;
        let core = host::Line::new(domain, access, timing, gate.hub.clock.now()).called(&guest);
        let now = Instant::now();
        Box::new(Self {
            gate,
            gates,
            peer: Peer { guest, doorstep },
            core,
            wish,
            orders: Orders::default(),
            link: Link::Resting(now),
            outgoing: Outgoing::default(),
            buffer: [0; 512],
            quiet_until: now,
            pauses: Backoff::new(RETRY.0, RETRY.1),
            failures: 0,
            finishing: false,
            refusals: Allowance::new(REFUSALS.0, REFUSALS.1),
        })
    }

    /// Serves until the domain's run or the daemon is over, and what was begun is answered.
    pub(super) async fn run(mut self: Box<Self>) {
        let mut phase = self.gate.hub.phase();
        self.finishing = *phase.borrow_and_update() != Phase::Running;
        while !self.is_over() {
            let happening = self.wait(&mut phase).await;
            self.take(happening);
        }
    }

    fn is_over(&self) -> bool {
        let idle = self.orders.is_empty() && self.outgoing.is_empty();
        (self.finishing || matches!(self.link, Link::Over)) && idle
    }

    async fn wait(&mut self, phase: &mut watch::Receiver<Phase>) -> Happening {
        let deadline = self.gate.hub.clock.instant(self.core.deadline());
        let deaf = self.finishing || matches!(self.link, Link::Over);
        tokio::select! {
            biased;
            (number, answer, done) = self.orders.next() => Happening::Answered(number, answer, done),
            wished = self.wish.changed(), if !deaf => {
                Happening::Wished(wished.ok().map(|()| *self.wish.borrow_and_update()))
            }
            Ok(()) = self.gates.changed() => {
                Happening::Ruled(Arc::clone(&self.gates.borrow_and_update()))
            }
            Ok(()) = phase.changed() => Happening::Phase(*phase.borrow_and_update()),
            () = sleep_until(deadline.into()) => Happening::Deadline,
            happening = self.link.next(&mut self.outgoing, &mut self.buffer, self.quiet_until, self.finishing) => happening,
        }
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Answered(number, answer, done) => {
                self.feed(Event::Answered(number, answer), Some(done));
            }
            Happening::Wished(Some(Wish::Serve)) | Happening::Phase(Phase::Running) => {}
            Happening::Ruled(gate) => {
                self.core.judge_by(Arc::clone(gate.policy().access()));
                self.gate = gate;
            }
            Happening::Wished(Some(Wish::End)) => {
                self.leave(Link::Over);
                self.feed(Event::Closed, None);
            }
            Happening::Wished(None) | Happening::Phase(Phase::Draining) => self.finishing = true,
            Happening::Phase(Phase::Ending) => {
                self.finishing = true;
                self.feed(Event::ShutDown, None);
                self.orders = Orders::default();
            }
            Happening::Rested => {
                self.link = Link::Connecting(Box::pin(self.peer.doorstep.clone().enter()));
            }
            Happening::Entered(entered) => self.entered(entered),
            Happening::Read(count) => self.read(count),
            Happening::Broken(reason) => self.broken(reason),
            Happening::Wrote => {}
            Happening::Deadline => {
                self.feed(Event::Tick, None);
            }
        }
    }

    fn entered(&mut self, entered: Result<Connection, Refusal>) {
        let listener = self.gate.name();
        match entered {
            Ok(connection) => {
                tracing::debug!(listener, "connected to {}", self.peer);
                let now = Instant::now();
                self.failures = 0;
                self.quiet_until = now;
                self.link = Link::Up(connection, now);
                self.feed(Event::Connected, None);
            }
            Err(Refusal::Unfit(Unfit::Outside)) => {
                tracing::debug!(listener, "not served: {}: {}", self.peer, Unfit::Outside);
                self.link = Link::Over;
            }
            Err(refusal) => {
                self.failures = self.failures.saturating_add(1);
                // The first try may come too early.
                if self.failures == 2 {
                    tracing::warn!(
                        listener,
                        "can't connect to {}: {refusal}; retrying",
                        self.peer
                    );
                } else {
                    tracing::debug!(listener, "can't connect to {}: {refusal}", self.peer);
                }
                let pause = self.pauses.pause();
                self.rest(pause);
            }
        }
    }

    fn read(&mut self, count: usize) {
        let bytes = u32::try_from(count).unwrap_or(u32::MAX);
        let pause = Duration::from_secs(1).saturating_mul(bytes) / RATE;
        self.quiet_until = Instant::now() + pause;
        let buffer = self.buffer;
        let asked = self.feed(
            Event::Received(buffer.get(..count).unwrap_or_default()),
            None,
        );
        if asked {
            self.quiet_until += REQUEST_PAUSE;
        }
    }

    fn broken(&mut self, reason: Reason) {
        self.gate.turn_away(reason, &self.peer);
        let pause = self.pauses.pause();
        self.rest(pause);
        self.feed(Event::Closed, None);
    }

    /// Gives the connection up, if there is one, for this long.
    fn rest(&mut self, pause: Duration) {
        if let Link::Up(_, since) = self.link
            && since.elapsed() >= STEADY
        {
            self.pauses.reset();
        }
        self.leave(Link::Resting(Instant::now() + pause));
    }

    fn leave(&mut self, link: Link) {
        self.outgoing = Outgoing::default();
        if !matches!(self.link, Link::Over) {
            self.link = link;
        }
    }

    /// Tells the core and does what it says. Whether an order was begun or something answered.
    fn feed(&mut self, event: Event<'_>, done: Option<Done>) -> bool {
        let mut outputs = Vec::new();
        self.core
            .handle(self.gate.hub.clock.now(), event, &mut outputs);
        let mut asked = false;
        let mut refused = Vec::new();
        for output in outputs {
            match output {
                Output::Execute(number, order) => {
                    asked = true;
                    let executing = self.orders.execute(&self.gate, number, order);
                    refused.extend(executing.err().map(|answer| (number, answer)));
                }
                Output::Cancel(number) => self.orders.cancel(number),
                Output::Forget(number) => self.orders.forget(number),
                Output::Respond(response) => {
                    asked = true;
                    self.respond(response, done.as_ref());
                }
                Output::Drop(reason) => self.gate.turn_away(reason, &self.peer),
                Output::Reconnect(reason) => {
                    self.gate.turn_away(reason, &self.peer);
                    self.rest(Duration::ZERO);
                }
            }
        }
        self.send(done);
        for (number, answer) in refused {
            self.feed(Event::Answered(number, answer), None);
        }
        asked
    }

    fn respond(&mut self, response: Response, done: Option<&Done>) {
        self.log(&response, done);
        self.outgoing.put(response.bytes);
    }

    /// Sends what fits. Whoever is answered keeps its place until the answer is sent.
    fn send(&mut self, done: Option<Done>) {
        let Link::Up(Connection { stream, .. }, _) = &self.link else {
            self.outgoing = Outgoing::default();
            return;
        };
        self.outgoing.keep(done.map(|done| done.place));
        // An error comes again when it is tried again, and is dealt with there.
        let _ = self.outgoing.send(stream);
    }

    /// One line per request: who, what, which answer, what it rests on, how long.
    fn log(&mut self, response: &Response, done: Option<&Done>) {
        let elapsed_ms = done.map(|done| done.started.elapsed().as_millis());
        let proof = done.and_then(|done| done.proof.as_deref());
        let refused = response.reason.is_some() || response.reply == Reply::PermissionDenied;
        let deed = response.asked.action.changes_state();
        // What was done is always told, once.
        let carried_out = deed && response.reply == Reply::Success && response.reason.is_none();
        let told = carried_out || (refused || deed) && self.may_log_refusal();
        let (listener, peer, guest) = (
            self.gate.name(),
            self.peer.doorstep.line.domain,
            self.peer.guest.as_str(),
        );
        let (action, domain) = (response.asked.action, response.asked.domain.as_str());
        let (seqno, reply) = (response.asked.seqno, response.reply.name());
        let reason = response.reason.map(Reason::name);
        if let Some(reason) = response.reason {
            self.gate.turn_away(reason, &self.peer);
        }
        if told {
            tracing::info!(listener, %peer, guest, %action, domain, seqno, reply, reason, proof, elapsed_ms, "answered");
        } else {
            tracing::debug!(listener, %peer, guest, %action, domain, seqno, reply, elapsed_ms, "answered");
        }
    }

    fn may_log_refusal(&mut self) -> bool {
        let allowed = self.refusals.allow(self.gate.hub.clock.now());
        if let Some(suppressed @ 1..) = allowed {
            let (listener, peer) = (self.gate.name(), self.peer.doorstep.line.domain);
            tracing::info!(listener, %peer, suppressed, "refusals were not logged");
        }
        allowed.is_some()
    }
}

impl Link {
    /// What comes of the connection. Cancel-safe.
    async fn next(
        &mut self,
        outgoing: &mut Outgoing,
        buffer: &mut [u8],
        quiet_until: Instant,
        finishing: bool,
    ) -> Happening {
        match self {
            Self::Up(Connection { stream, .. }, _) if !outgoing.is_empty() => {
                match outgoing.send_more(stream).await {
                    Ok(()) => Happening::Wrote,
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                        Happening::Broken(Reason::TimedOut)
                    }
                    Err(_) => Happening::Broken(Reason::PeerClosed),
                }
            }
            _ if finishing => pending().await,
            Self::Over => pending().await,
            Self::Resting(until) => {
                sleep_until(*until).await;
                Happening::Rested
            }
            Self::Connecting(entering) => Happening::Entered(entering.as_mut().await),
            Self::Up(Connection { stream, .. }, _) => {
                sleep_until(quiet_until).await;
                match read_some(stream, buffer).await {
                    Ok(0) | Err(_) => Happening::Broken(Reason::PeerClosed),
                    Ok(count) => Happening::Read(count),
                }
            }
        }
    }
}

async fn read_some(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}
