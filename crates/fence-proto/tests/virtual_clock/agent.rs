//! The agent's shell: carries out what the real `AgentSession` says.

use std::net::SocketAddr;
use std::time::Duration;

use fence_proto::agent::{
    AgentConfig, AgentSession, ConnectionId, Credentials, Event, Output, Transport, Verdict,
};
use fence_proto::{Action, DomainRef, HashAlgorithm, Key, Moment};

use crate::link::{End, Item, Node};
use crate::world::{Happening, World};

/// What an agent is to ask, and how.
#[derive(Debug, Clone)]
pub(crate) struct Asks {
    pub(crate) action: Action,
    pub(crate) domain: &'static str,
    pub(crate) key: &'static [u8],
    pub(crate) hash: HashAlgorithm,
    pub(crate) timeout: Duration,
    /// `None`: over TCP, of host 0.
    pub(crate) retransmit: Option<Duration>,
    pub(crate) seqno: u32,
    /// Its own addresses, in the order in which requests go out.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// An agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) asks: Asks,
    pub(crate) started: Moment,
    pub(crate) session: Option<AgentSession>,
    /// Numbers of the world's connections, which are the session's too.
    open: Vec<(usize, End)>,
    pub(crate) verdict: Option<(Moment, Verdict)>,
}

impl Agent {
    pub(crate) const fn new(asks: Asks) -> Self {
        Self {
            asks,
            started: Moment::ZERO,
            session: None,
            open: Vec::new(),
            verdict: None,
        }
    }

    pub(crate) fn listens_at(&self, address: SocketAddr) -> bool {
        self.is_running()
            && self.asks.retransmit.is_some()
            && self.asks.addresses.contains(&address)
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.session.is_some() && self.verdict.is_none()
    }

    fn config(&self) -> AgentConfig {
        let asks = &self.asks;
        let key = Key::from_bytes(asks.key).unwrap();
        AgentConfig {
            transport: asks.retransmit.map_or(Transport::Stream, |retransmit| {
                Transport::Multicast { retransmit }
            }),
            action: asks.action,
            domain: DomainRef::new(asks.domain).unwrap(),
            uuid_flag: false,
            credentials: Credentials::new(Some(key), asks.hash, asks.hash).unwrap(),
            timeout: asks.timeout,
            seqno: asks.seqno,
        }
    }
}

impl World {
    pub(crate) fn start_agent(&mut self, index: usize) {
        let now = self.now;
        let agent = &mut self.agents[index];
        agent.started = now;
        agent.session = Some(AgentSession::new(agent.config(), now));
        if agent.asks.retransmit.is_some() {
            self.tell_agent(index, Event::Listening);
        } else {
            let connection = self.open_connection(Node::Agent(index));
            self.send_to_host(connection);
            self.tell_agent(index, Event::Tick);
        }
    }

    pub(crate) fn agent_accepts(&mut self, index: usize, connection: usize) {
        self.agents[index].open.push((connection, End::Acceptor));
        let event = Event::Accepted {
            connection: id_of(connection),
            challenge: self.rng.bytes(),
        };
        self.tell_agent(index, event);
    }

    pub(crate) fn agent_connected(&mut self, index: usize, connection: usize) {
        if !self.agents[index].is_running() {
            return self.close(connection, End::Connector);
        }
        self.agents[index].open.push((connection, End::Connector));
        let event = Event::Connected {
            connection: id_of(connection),
            challenge: self.rng.bytes(),
            random: self.rng.bytes(),
        };
        self.tell_agent(index, event);
    }

    pub(crate) fn agent_receives(&mut self, index: usize, connection: usize, item: &Item) {
        let id = id_of(connection);
        match item {
            Item::Bytes(bytes) => self.tell_agent(index, Event::Bytes(id, bytes)),
            Item::Closed => {
                self.agents[index].open.retain(|(it, _)| *it != connection);
                self.tell_agent(index, Event::Closed(id));
            }
        }
    }

    pub(crate) fn tell_agent(&mut self, index: usize, event: Event<'_>) {
        let mut outputs = Vec::new();
        let now = self.now;
        let agent = &mut self.agents[index];
        let Some(session) = &mut agent.session else {
            return;
        };
        session.handle(now, event, &mut outputs);
        let deadline = session.deadline();
        assert!(
            agent.verdict.is_none() || outputs.is_empty(),
            "an agent that has ended acts"
        );
        for output in outputs {
            self.perform_for_agent(index, output);
        }
        if self.agents[index].verdict.is_none() {
            assert!(deadline > now, "a deadline that is over would spin");
            self.schedule(deadline, Happening::AgentTick(index));
        }
    }

    fn perform_for_agent(&mut self, index: usize, output: Output) {
        match output {
            Output::SendRequest => self.multicast_request(index),
            Output::Send(id, bytes) => {
                let open = &self.agents[index].open;
                let found = open.iter().find(|(it, _)| id_of(*it) == id).copied();
                let (connection, end) = found.expect("an agent sends on a closed connection");
                self.send(connection, end, bytes);
            }
            Output::Close(id, _) => {
                let open = &mut self.agents[index].open;
                let at = open.iter().position(|(it, _)| id_of(*it) == id);
                let (connection, end) =
                    open.remove(at.expect("an agent closes a closed connection"));
                self.close(connection, end);
            }
            Output::Finish(verdict) => {
                self.agents[index].verdict = Some((self.now, verdict));
                for (connection, end) in core::mem::take(&mut self.agents[index].open) {
                    self.close(connection, end);
                }
            }
        }
    }

    /// One frame out of every address, each with its own random bytes.
    fn multicast_request(&mut self, index: usize) {
        for address in self.agents[index].asks.addresses.clone() {
            let random = self.rng.bytes();
            let session = self.agents[index].session.as_ref();
            let bytes = session.map(|session| session.request(Some(address), random));
            self.multicast(bytes.unwrap().to_vec(), address);
        }
    }
}

fn id_of(connection: usize) -> ConnectionId {
    ConnectionId(connection as u64)
}
