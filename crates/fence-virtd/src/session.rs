//! Runs one session of the core over one connection. Everything that is decided is decided there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fence_proto::host::{Event, Output, Session};
use fence_proto::{Action, DomainIdentity, Order, Reason, Reply};
use tokio::time::{Instant, timeout};

use crate::backend::{Answering, CancelFlag, Identifying};
use crate::gate::Gate;
use crate::hub::{Phase, Place};
use crate::stream::{Peer, Stream, read_some, write_all};

/// How long a peer may take to read what was sent to it, a long list included.
const WRITE_WAIT: Duration = Duration::from_secs(10);

/// What the driver found out from its connection or its backend.
enum Happening {
    Read(usize),
    Closed,
    Identified(Option<DomainIdentity>),
    Answered(fence_proto::host::Answer),
    Deadline,
    Evicted,
    Phase(Phase),
}

/// A session and the connection it runs over.
pub struct Driver<S> {
    gate: Arc<Gate>,
    place: Place,
    session: Session,
    stream: S,
    peer: Peer,
    buffer: [u8; 512],
    started: Instant,
    identifying: Option<Identifying>,
    order: Option<Executing>,
    peer_gone: bool,
}

/// An order that the backend has.
struct Executing {
    answering: Answering,
    cancel: CancelFlag,
    what: OrderSummary,
}

/// What the log says of an order.
struct OrderSummary {
    action: Action,
    domain: String,
    seqno: u32,
    /// The domain that the peer is, if the groups go by it.
    guest: Option<String>,
}

impl<S: Stream> Driver<S> {
    /// Gets a session going over a connection. Boxed, because each future that it moves through
    /// would hold a copy: peers that stall cost memory.
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        place: Place,
        session: Session,
        (stream, peer): (S, Peer),
    ) -> Box<Self> {
        let started = Instant::now();
        let (buffer, peer_gone) = ([0; 512], false);
        Box::new(Self {
            gate,
            place,
            session,
            stream,
            peer,
            buffer,
            started,
            identifying: None,
            order: None,
            peer_gone,
        })
    }

    /// Tells the session that the call-back is connected, then runs it.
    pub async fn run_connected(mut self: Box<Self>) -> Session {
        let output = self.feed(Event::Connected);
        self.carry_on(output).await
    }

    /// Runs the session to its end.
    pub async fn run(self: Box<Self>) -> Session {
        self.carry_on(Output::Wait).await
    }

    async fn carry_on(mut self: Box<Self>, mut output: Output) -> Session {
        let mut phase = self.gate.hub.phase();
        loop {
            if self.perform(output).await.is_err() {
                self.note(Reason::PeerClosed);
                return self.session;
            }
            if self.session.is_over() {
                return self.session;
            }
            let happening = self.wait(&mut phase).await;
            output = self.translate(happening);
        }
    }

    fn feed(&mut self, event: Event<'_>) -> Output {
        let now = self.gate.hub.clock.now();
        let session = &mut self.session;
        self.gate
            .with_replay(|replay| session.handle(now, event, replay))
    }

    fn translate(&mut self, happening: Happening) -> Output {
        match happening {
            Happening::Read(count) => {
                let buffer = self.buffer;
                self.feed(Event::Received(buffer.get(..count).unwrap_or_default()))
            }
            Happening::Closed => {
                self.peer_gone = true;
                self.feed(Event::PeerClosed)
            }
            Happening::Identified(guest) => {
                self.identifying = None;
                self.feed(Event::Identified(guest))
            }
            Happening::Answered(answer) => self.feed(Event::Answered(answer)),
            Happening::Deadline => self.feed(Event::Tick),
            Happening::Evicted => self.feed(Event::Evicted),
            // Who is served may finish while the daemon drains.
            Happening::Phase(Phase::Draining) if self.order.is_some() => Output::Wait,
            Happening::Phase(Phase::Running) => Output::Wait,
            Happening::Phase(_) => self.feed(Event::ShutDown),
        }
    }

    async fn wait(&mut self, phase: &mut tokio::sync::watch::Receiver<Phase>) -> Happening {
        let deadline = self.gate.hub.clock.instant(self.session.deadline());
        let unproven = self.order.is_none() && self.identifying.is_none();
        let identified = async {
            match &mut self.identifying {
                Some(identifying) => identifying.as_mut().await,
                None => std::future::pending().await,
            }
        };
        let answer = async {
            match &mut self.order {
                Some(order) => order.answering.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = answer => Happening::Answered(answer),
            guest = identified => Happening::Identified(guest),
            read = read_some(&self.stream, &mut self.buffer), if !self.peer_gone => match read {
                Ok(0) | Err(_) => Happening::Closed,
                Ok(count) => Happening::Read(count),
            },
            () = self.place.evicted(), if unproven => Happening::Evicted,
            Ok(()) = phase.changed() => Happening::Phase(*phase.borrow_and_update()),
            () = tokio::time::sleep_until(deadline.into()) => Happening::Deadline,
        }
    }

    /// Does what the session said. An error means that the peer cannot be written to.
    async fn perform(&mut self, output: Output) -> io::Result<()> {
        match output {
            Output::Wait => Ok(()),
            Output::Send(bytes) => self.send(&bytes).await,
            Output::Identify(cid) => {
                self.place.proven();
                self.identifying = Some(self.gate.hub.backend.identify(cid));
                Ok(())
            }
            Output::Execute(order) => {
                self.execute(order);
                Ok(())
            }
            Output::Cancel => {
                if let Some(order) = &self.order {
                    order.cancel.cancel();
                }
                Ok(())
            }
            Output::Finish(bytes, reason) => {
                self.log_outcome(bytes.first().copied(), reason);
                self.finish(&bytes).await
            }
            Output::Drop(reason) => {
                self.note(reason);
                Ok(())
            }
        }
    }

    fn execute(&mut self, order: Order) {
        self.place.proven();
        let cancel = CancelFlag::default();
        // A peer that has already left (after a stop of this daemon, say) orders nothing.
        let mut byte = [0];
        match self.stream.try_read(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(1..) => {}
            Ok(0) | Err(_) => cancel.cancel(),
        }
        let what = OrderSummary {
            action: order.action(),
            domain: order.domain().as_str().to_owned(),
            seqno: order.id().seqno,
            guest: order.requester().guest().map(|guest| guest.name.clone()),
        };
        let answering = self.gate.hub.backend.execute(order, cancel.clone());
        self.order = Some(Executing {
            answering,
            cancel,
            what,
        });
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Nearly everything fits into the socket's buffer, and then there is nothing to time.
        let sent = match self.stream.try_write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        match bytes.get(sent..) {
            None | Some([]) => Ok(()),
            Some(rest) => timeout(WRITE_WAIT, write_all(&self.stream, rest)).await?,
        }
    }

    async fn finish(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            self.send(bytes).await?;
        }
        self.stream.finish()
    }

    fn note(&self, reason: Reason) {
        self.gate.turn_away(reason, &self.peer);
    }

    /// One line per order: who, what, which answer, what it rests on, how long.
    fn log_outcome(&self, reply: Option<u8>, reason: Option<Reason>) {
        if let Some(reason) = reason {
            self.note(reason);
        }
        let listener = self.gate.name();
        let Some(Executing { what, cancel, .. }) = &self.order else {
            if !self.gate.may_log_refusal() {
                return;
            }
            tracing::info!(listener, peer = %self.peer, reason = reason.map(Reason::name), "refused");
            return;
        };
        let reply = reply.map_or("none", |byte| Reply::from_wire(byte).name());
        let reason = reason.map(Reason::name);
        let (peer, elapsed_ms) = (self.peer, self.started.elapsed().as_millis());
        let OrderSummary {
            action,
            domain,
            seqno,
            guest,
        } = what;
        let (guest, proof) = (guest.as_deref(), cancel.proof());
        let refused = reason.is_some() || reply == Reply::PermissionDenied.name();
        // What was done is always told.
        let done = action.changes_state() && reply == Reply::Success.name();
        if done || (refused || action.changes_state()) && self.gate.may_log_refusal() {
            tracing::info!(listener, %peer, guest, %action, domain, seqno, reply, reason, proof, elapsed_ms, "answered");
        } else {
            tracing::debug!(listener, %peer, guest, %action, domain, seqno, reply, elapsed_ms, "answered");
        }
    }
}
