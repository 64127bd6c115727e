//! One session of a host, from its first byte to its last.
//!
//! ```text
//! stream:     frame ─┐
//! call-back: connect ┴→ challenge-response → order → reply
//! ```

use std::sync::Arc;

use super::events::{Answer, ConnectError, Event, Output};
use super::policy::Policy;
use super::replay::Replay;
use crate::access::{Requester, Source};
use crate::action::Action;
use crate::domain::DomainIdentity;
use crate::frame::{AuthenticFrame, FRAME_LEN, RequestFrame};
use crate::handshake::{Authenticated, Challenge, HostHandshake, Step, host_challenge};
use crate::host_list::{self, Entry};
use crate::order::Order;
use crate::reason::Reason;
use crate::reply::Reply;
use crate::time::Moment;

#[derive(Debug)]
enum Stage {
    /// A stream whose frame is not complete.
    Frame(Vec<u8>),
    /// A call-back that is not connected.
    Connecting(AuthenticFrame),
    /// The handshake is under way.
    Handshake(RequestFrame, HostHandshake),
    /// The handshake is complete; which domain the peer is is being found out.
    Identifying(RequestFrame, Authenticated),
    /// The backend has the order.
    Executing {
        peer_gone: bool,
    },
    Over,
}

/// A session. Feed it events; do what the outputs say.
#[derive(Debug)]
pub struct Session {
    policy: Arc<Policy>,
    source: Source,
    random: [u8; 32],
    arrived: Moment,
    deadline: Moment,
    stage: Stage,
    served: bool,
}

impl Session {
    /// A connection that a peer made (TCP, vsock). `random` is fresh for every session.
    #[must_use]
    pub fn accepted(policy: Arc<Policy>, source: Source, random: [u8; 32], now: Moment) -> Self {
        let deadline = now + policy.timing().handshake;
        let peer = (source, Stage::Frame(Vec::new()));
        Self::new(policy, peer, random, (now, deadline))
    }

    /// A connection that the host is making to call back, now. All times but that of connecting
    /// count from the request's arrival: what is late may meet another agent at that address. `random` is fresh for every session.
    #[must_use]
    pub fn calling_back(
        policy: Arc<Policy>,
        call: super::CallBack,
        random: [u8; 32],
        now: Moment,
    ) -> Self {
        let timing = policy.timing();
        let deadline = (now + timing.connect).min(call.arrived + timing.handshake);
        let source = Source::Ip(call.address.ip().to_canonical());
        let peer = (source, Stage::Connecting(call.frame));
        Self::new(policy, peer, random, (call.arrived, deadline))
    }

    fn new(
        policy: Arc<Policy>,
        (source, stage): (Source, Stage),
        random: [u8; 32],
        (arrived, deadline): (Moment, Moment),
    ) -> Self {
        Self {
            policy,
            source,
            random,
            arrived,
            deadline,
            stage,
            served: false,
        }
    }

    /// When to say [`Event::Tick`] if nothing else happened.
    #[must_use]
    pub const fn deadline(&self) -> Moment {
        self.deadline
    }

    /// Whether the request is used up: an order was made of it.
    #[must_use]
    pub const fn served(&self) -> bool {
        self.served
    }

    /// Whether the session is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// What the peer asks, once its frame is known and until the order is made; for logs.
    #[must_use]
    pub fn asked(&self) -> Option<(Action, &str)> {
        let frame = match &self.stage {
            Stage::Connecting(frame) => frame.frame(),
            Stage::Handshake(frame, _) | Stage::Identifying(frame, _) => frame,
            _ => return None,
        };
        Some((frame.action, frame.domain.as_str()))
    }

    /// Takes an event. Once the session is over nothing more comes of any. When the deadline has
    /// passed every event means just that, so that a daemon that was stopped for a while does not
    /// go on with what nobody waits for; only an answer is passed on however late it comes, and
    /// who is evicted is evicted.
    pub fn handle(&mut self, now: Moment, event: Event<'_>, replay: &mut Replay) -> Output {
        if self.is_over() {
            return Output::Wait;
        }
        let output = match event {
            Event::Answered(answer) => self.answered(answer),
            Event::ShutDown => self.shut_down(),
            Event::Evicted => self.evicted(),
            _ if now >= self.deadline => self.expired(),
            Event::Connected => self.connected(),
            Event::ConnectFailed(error) => self.connect_failed(error),
            Event::Received(bytes) => self.received(now, bytes, replay),
            Event::PeerClosed => self.peer_closed(),
            Event::Identified(guest) => self.identified(guest),
            Event::Tick => Output::Wait,
        };
        if matches!(output, Output::Finish(..) | Output::Drop(_)) {
            self.stage = Stage::Over;
        }
        output
    }

    fn connected(&mut self) -> Output {
        match core::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Connecting(frame) => {
                self.deadline = self.arrived + self.policy.timing().handshake;
                self.greet(frame.frame().clone())
            }
            other => {
                self.stage = other;
                Output::Wait
            }
        }
    }

    const fn connect_failed(&self, error: ConnectError) -> Output {
        match (&self.stage, error) {
            (Stage::Connecting(_), ConnectError::Refused) => Output::Drop(Reason::CallbackRefused),
            (Stage::Connecting(_), ConnectError::Other) => Output::Drop(Reason::CallbackFailed),
            _ => Output::Wait,
        }
    }

    /// Who has proved itself keeps its place.
    const fn evicted(&self) -> Output {
        match self.stage {
            Stage::Identifying(..) | Stage::Executing { .. } => Output::Wait,
            _ => Output::Drop(Reason::Evicted),
        }
    }

    fn received(&mut self, now: Moment, bytes: &[u8], replay: &mut Replay) -> Output {
        match &mut self.stage {
            Stage::Frame(buffer) => {
                let missing = FRAME_LEN.saturating_sub(buffer.len());
                let (head, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
                buffer.extend_from_slice(head);
                if buffer.len() < FRAME_LEN {
                    return Output::Wait;
                }
                let frame = core::mem::take(buffer);
                self.frame_complete(now, &frame, rest, replay)
            }
            Stage::Handshake(_, handshake) => {
                // A handshake exists only where there is a key: see Policy::new.
                let Some(key) = self.policy.key() else {
                    return Output::Drop(Reason::BadResponse);
                };
                match handshake.push(key, bytes) {
                    Step::Wait => Output::Wait,
                    Step::Send(bytes) => Output::Send(bytes),
                    Step::Done(_, proof) => self.authenticated(proof),
                    Step::Drop(reason) => Output::Drop(reason),
                }
            }
            // Nothing is expected; what comes all the same changes nothing.
            Stage::Connecting(_)
            | Stage::Identifying(..)
            | Stage::Executing { .. }
            | Stage::Over => Output::Wait,
        }
    }

    fn frame_complete(
        &mut self,
        now: Moment,
        frame: &[u8],
        rest: &[u8],
        replay: &mut Replay,
    ) -> Output {
        let frame = match self.policy.demand().accept(frame) {
            Ok(frame) => frame,
            Err(reason) => return Output::Drop(reason),
        };
        // A frame that asks for a call-back was made for multicast and is at most replayed here.
        if frame.frame().callback.is_some() {
            return Output::Drop(Reason::MalformedAddress);
        }
        if let Err(reason) = replay.stream(&frame) {
            return Output::Drop(reason);
        }
        self.arrived = now;
        match self.greet(frame.frame().clone()) {
            Output::Wait if !rest.is_empty() => self.received(now, rest, replay),
            Output::Identify(_) | Output::Execute(_) if !rest.is_empty() => {
                Output::Drop(Reason::UnexpectedBytes)
            }
            output => output,
        }
    }

    /// Starts the handshake, or skips it where none is configured.
    fn greet(&mut self, frame: RequestFrame) -> Output {
        let challenge: Challenge = self.policy.key().map_or([0; 64], |key| {
            host_challenge(key, self.random, &frame.purpose())
        });
        match HostHandshake::new(self.policy.auth(), challenge) {
            Ok(handshake) => {
                self.stage = Stage::Handshake(frame, handshake);
                Output::Wait
            }
            Err(proof) => self.proven(frame, proof),
        }
    }

    fn authenticated(&mut self, proof: Authenticated) -> Output {
        match core::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Handshake(frame, _) => self.proven(frame, proof),
            _ => Output::Drop(Reason::UnexpectedBytes),
        }
    }

    /// The peer has proved itself. Where the groups go by domains, which one it is comes first: not
    /// earlier, so that no stranger can have libvirt asked.
    fn proven(&mut self, frame: RequestFrame, proof: Authenticated) -> Output {
        let by_groups = frame.action.needs_domain() || frame.action == Action::List;
        match self.source {
            Source::Cid(cid) if by_groups && self.policy.access().names_guests() => {
                self.deadline = self.arrived + self.policy.timing().start;
                self.stage = Stage::Identifying(frame, proof);
                Output::Identify(cid)
            }
            _ => self.order(None, frame, proof),
        }
    }

    fn identified(&mut self, guest: Option<DomainIdentity>) -> Output {
        match core::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Identifying(frame, proof) => self.order(guest, frame, proof),
            other => {
                self.stage = other;
                Output::Wait
            }
        }
    }

    /// The only place where an order is made.
    fn order(
        &mut self,
        guest: Option<DomainIdentity>,
        frame: RequestFrame,
        _proof: Authenticated,
    ) -> Output {
        let mut requester = Requester::new(self.source, Arc::clone(self.policy.access()));
        if let Some(guest) = guest {
            requester = requester.with_guest(guest);
        }
        if frame.action.needs_domain() && !requester.is_known() {
            let denied = vec![Reply::PermissionDenied.to_wire()];
            return Output::Finish(denied, Some(Reason::NotAllowed));
        }
        self.served = true;
        let timing = self.policy.timing();
        let (start_by, answer_by) = (self.arrived + timing.start, self.arrived + timing.answer);
        self.deadline = answer_by;
        self.stage = Stage::Executing { peer_gone: false };
        let request = (frame.action, frame.domain, frame.id);
        Output::Execute(Order::new(request, requester, start_by, answer_by))
    }

    fn peer_closed(&mut self) -> Output {
        match &mut self.stage {
            Stage::Executing { peer_gone } => {
                *peer_gone = true;
                // Nothing more is to be heard; the shell stops reading and the backend goes on or
                // not, as far as it has got.
                Output::Cancel
            }
            Stage::Identifying(..) => Output::Drop(Reason::RequesterGone),
            _ => Output::Drop(Reason::PeerClosed),
        }
    }

    fn answered(&mut self, answer: Answer) -> Output {
        let Stage::Executing { peer_gone } = self.stage else {
            return Output::Wait;
        };
        let (bytes, reason) = match answer {
            Answer::Reply(reply) => (vec![reply.to_wire()], None),
            Answer::List(entries) => (list_reply(&entries), None),
            Answer::NotStarted(reason) => (vec![Reply::Failure.to_wire()], Some(reason)),
        };
        Output::Finish(if peer_gone { Vec::new() } else { bytes }, reason)
    }

    fn expired(&mut self) -> Output {
        match self.stage {
            // The backend did not keep its promise: nobody knows, which is a failure.
            Stage::Identifying(..) | Stage::Executing { .. } => self.failed(Reason::TimedOut),
            Stage::Connecting(_) => Output::Drop(Reason::CallbackFailed),
            _ => Output::Drop(Reason::TimedOut),
        }
    }

    fn shut_down(&mut self) -> Output {
        match self.stage {
            Stage::Identifying(..) | Stage::Executing { .. } => self.failed(Reason::ShuttingDown),
            _ => Output::Drop(Reason::ShuttingDown),
        }
    }

    fn failed(&mut self, reason: Reason) -> Output {
        if matches!(self.stage, Stage::Identifying(..)) {
            return Output::Finish(vec![Reply::Failure.to_wire()], Some(reason));
        }
        self.answered(Answer::NotStarted(reason))
    }
}

fn list_reply(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![Reply::HostListFollows.to_wire()];
    bytes.extend(host_list::encode(entries));
    bytes
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
