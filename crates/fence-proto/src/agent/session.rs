//! The session's state machine.

use core::net::SocketAddr;

use super::connection::{Connection, Progress};
use super::{
    AgentConfig, CloseCause, ConnectionId, Event, Failure, MAX_CONNECTIONS, Output, Tally,
    Transport, Verdict,
};
use crate::frame::{FRAME_LEN, RequestFrame, RequestId, Signature};
use crate::handshake::{Challenge, Purpose};
use crate::reason::Reason;
use crate::time::Moment;

/// One request of an agent, from the first frame to the result.
#[derive(Debug)]
pub struct AgentSession {
    config: AgentConfig,
    gives_up: Moment,
    /// When the next round of requests is due; `None` before the listener is open, and in stream
    /// mode.
    next_round: Option<Moment>,
    /// Oldest first.
    connections: Vec<(ConnectionId, Connection)>,
    /// The one connection that matters: its host was told to act, or has begun a list.
    chosen: Option<ConnectionId>,
    tally: Tally,
    finished: bool,
}

impl AgentSession {
    /// A session whose total time-out starts now.
    #[must_use]
    pub fn new(config: AgentConfig, now: Moment) -> Self {
        let gives_up = now + config.timeout;
        Self {
            config,
            gives_up,
            next_round: None,
            connections: Vec::new(),
            chosen: None,
            tally: Tally::default(),
            finished: false,
        }
    }

    /// When the total time-out is over. What must be done before the first event (opening the
    /// listener, connecting) is bounded by it, too.
    #[must_use]
    pub const fn gives_up(&self) -> Moment {
        self.gives_up
    }

    /// When [`Event::Tick`] is due, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.round_due()
            .map_or(self.gives_up, |round| round.min(self.gives_up))
    }

    /// What was tried so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// The request's frame: the same seqno every time, and the given random bytes.
    #[must_use]
    pub fn request(&self, callback: Option<SocketAddr>, random: [u8; 6]) -> [u8; FRAME_LEN] {
        let credentials = &self.config.credentials;
        let signature = credentials.key.as_ref().map_or(Signature::Unsigned, |key| {
            Signature::Keyed(key, credentials.hash)
        });
        RequestFrame {
            action: self.config.action,
            domain: self.config.domain.clone(),
            uuid_flag: self.config.uuid_flag,
            callback,
            id: RequestId {
                random,
                seqno: self.config.seqno,
            },
        }
        .encode(signature)
    }

    /// Takes what happened and appends what is to be done. After [`Output::Finish`] every event is
    /// ignored; from the total time-out on every event means just that.
    pub fn handle(&mut self, now: Moment, event: Event<'_>, out: &mut Vec<Output>) {
        if self.finished {
            return;
        }
        if now >= self.gives_up {
            return self.finish(Verdict::Failed(Failure::TimedOut), out);
        }
        match event {
            Event::Listening => self.handle_listening(now),
            Event::Accepted {
                connection,
                challenge,
            } => self.handle_accepted(connection, challenge, out),
            Event::Connected {
                connection,
                challenge,
                random,
            } => {
                let frame = self.request(None, random).to_vec();
                out.push(Output::Send(connection, frame));
                self.open(connection, challenge, out);
            }
            Event::ConnectFailed => self.finish(Verdict::Failed(Failure::NotConnected), out),
            Event::Bytes(connection, bytes) => self.handle_bytes(connection, bytes, out),
            Event::Closed(connection) => self.handle_closed(connection, out),
            Event::Tick => {}
        }
        self.send_if_due(now, out);
    }

    fn handle_listening(&mut self, now: Moment) {
        if self.retransmit().is_some() {
            self.next_round.get_or_insert(now);
        }
    }

    fn handle_accepted(&mut self, id: ConnectionId, challenge: Challenge, out: &mut Vec<Output>) {
        if self.chosen.is_some() {
            out.push(Output::Close(id, CloseCause::OtherHostChosen));
            return;
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            self.evict_oldest(out);
        }
        self.open(id, challenge, out);
    }

    fn open(&mut self, id: ConnectionId, challenge: Challenge, out: &mut Vec<Output>) {
        let AgentConfig {
            action,
            seqno,
            domain,
            credentials,
            ..
        } = &self.config;
        let purpose = Purpose::new(*action, *seqno, domain);
        let (connection, opening) = Connection::new(credentials, challenge, purpose);
        self.tally.connections = self.tally.connections.saturating_add(1);
        self.connections.push((id, connection));
        if let Some(opening) = opening {
            out.push(Output::Send(id, opening));
        }
    }

    /// Makes room. A peer that has proved itself stays as long as there is any that has not.
    fn evict_oldest(&mut self, out: &mut Vec<Output>) {
        let unproven = self
            .connections
            .iter()
            .position(|(_, connection)| !connection.host_proved());
        let index = unproven.unwrap_or(0);
        if index < self.connections.len() {
            let (id, _) = self.connections.remove(index);
            out.push(Output::Close(id, CloseCause::Dropped(Reason::Evicted)));
        }
    }

    fn handle_bytes(&mut self, id: ConnectionId, bytes: &[u8], out: &mut Vec<Output>) {
        let Some((_, connection)) = self.connections.iter_mut().find(|(other, _)| *other == id)
        else {
            return;
        };
        match connection.push(&self.config.credentials, self.config.action, bytes) {
            Progress::Wait => {}
            Progress::ListStarted => self.choose(id, out),
            Progress::Answer(answer) => {
                self.choose(id, out);
                out.push(Output::Send(id, answer));
            }
            Progress::Verdict(verdict) => self.finish(verdict, out),
            Progress::Drop(reason) => self.drop_unproven(id, reason, out),
        }
    }

    /// From here on only this host counts; it may act, so no other may get an answer.
    fn choose(&mut self, id: ConnectionId, out: &mut Vec<Output>) {
        self.chosen = Some(id);
        self.connections.retain(|(other, _)| {
            if *other != id {
                out.push(Output::Close(*other, CloseCause::OtherHostChosen));
            }
            *other == id
        });
    }

    fn drop_unproven(&mut self, id: ConnectionId, reason: Reason, out: &mut Vec<Output>) {
        self.connections.retain(|(other, _)| *other != id);
        self.tally.unproven = self.tally.unproven.saturating_add(1);
        out.push(Output::Close(id, CloseCause::Dropped(reason)));
        if self.config.transport == Transport::Stream {
            self.finish(Verdict::Failed(Failure::Dropped(reason)), out);
        }
    }

    fn handle_closed(&mut self, id: ConnectionId, out: &mut Vec<Output>) {
        let Some(index) = self.connections.iter().position(|(other, _)| *other == id) else {
            return;
        };
        let (_, connection) = self.connections.remove(index);
        if connection.is_listing() {
            return self.finish(Verdict::Failed(Failure::ListCut), out);
        }
        let may_act = connection.host_may_act();
        if may_act {
            self.tally.without_reply = self.tally.without_reply.saturating_add(1);
        }
        if self.chosen == Some(id) {
            self.chosen = None;
        }
        if self.config.transport == Transport::Stream {
            let failure = if may_act {
                Failure::ClosedWithoutReply
            } else {
                Failure::ClosedUnproven
            };
            self.finish(Verdict::Failed(failure), out);
        }
    }

    fn send_if_due(&mut self, now: Moment, out: &mut Vec<Output>) {
        let due = self.round_due().is_some_and(|round| now >= round);
        if let Some(retransmit) = self.retransmit().filter(|_| due && !self.finished) {
            self.next_round = Some(now + retransmit);
            self.tally.rounds = self.tally.rounds.saturating_add(1);
            out.push(Output::SendRequest);
        }
    }

    /// When to ask again; not while a host that may act is at work.
    fn round_due(&self) -> Option<Moment> {
        self.next_round.filter(|_| self.chosen.is_none())
    }

    const fn retransmit(&self) -> Option<core::time::Duration> {
        match self.config.transport {
            Transport::Multicast { retransmit } => Some(retransmit),
            Transport::Stream => None,
        }
    }

    fn finish(&mut self, verdict: Verdict, out: &mut Vec<Output>) {
        self.finished = true;
        self.connections.clear();
        out.push(Output::Finish(verdict));
    }
}
