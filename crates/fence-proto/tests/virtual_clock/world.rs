//! The world: one clock, one network, and everybody on it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fence_proto::agent::{Event, Verdict};
use fence_proto::host::Limits;
use fence_proto::{HashAlgorithm, Moment};

use crate::agent::{Agent, Asks};
use crate::domains::{Domain, Domains, Execution};
use crate::host::Host;
use crate::link::{Connection, End, Item, Link, Node};
use crate::rng::Rng;
use crate::stranger::Stranger;

/// What can happen.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    StartAgent(usize),
    AgentTick(usize),
    /// A request arrives at a host.
    Datagram {
        host: usize,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A request arrives at a stranger.
    Overheard {
        stranger: usize,
        callback: SocketAddr,
    },
    /// A stranger says something.
    Say {
        connection: usize,
        end: End,
        bytes: Vec<u8>,
    },
    Visit {
        stranger: usize,
        callback: SocketAddr,
    },
    /// A connection knocks at an address.
    Knock {
        connection: usize,
        at: SocketAddr,
    },
    /// A connection knocks at host 0's TCP listener.
    Accepting {
        connection: usize,
    },
    Connected {
        connection: usize,
    },
    Refused {
        connection: usize,
    },
    Arrival {
        connection: usize,
        end: End,
        item: Item,
    },
    Readable {
        connection: usize,
        end: End,
    },
    Reset {
        connection: usize,
    },
    HostTick {
        host: usize,
        task: u64,
    },
    OrderStarts {
        host: usize,
        task: u64,
    },
    OrderDone {
        host: usize,
        task: u64,
    },
    Freeze(usize),
    Resume(usize),
}

/// An address that nobody has: what is sent there is lost without an error.
pub(crate) const NOWHERE: [u8; 4] = [10, 0, 8, 8];

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) rng: Rng,
    pub(crate) link: Link,
    queue: BTreeMap<(Moment, u64), Happening>,
    scheduled: u64,
    pub(crate) connections: Vec<Connection>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) strangers: Vec<Stranger>,
    pub(crate) domains: Domains,
    pub(crate) executions: Vec<Execution>,
}

/// The key of everybody who has one.
pub(crate) const KEY: &[u8] = b"the key of the whole cluster";
/// What both sides use, unless a test says otherwise.
pub(crate) const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

impl World {
    /// A network with `hosts` hosts, all of which can act on the domains vm0 to vm3.
    pub(crate) fn new(seed: u64, link: Link, hosts: usize) -> Self {
        let mut domains = Domains::default();
        for name in ["vm0", "vm1", "vm2", "vm3"] {
            let (on, owner) = (true, None);
            domains.define(name, Domain { on, owner });
        }
        let host = || Host::new(SHA256, KEY, Limits::default());
        Self {
            now: Moment::ZERO,
            rng: Rng::new(seed),
            link,
            queue: BTreeMap::new(),
            scheduled: 0,
            connections: Vec::new(),
            agents: Vec::new(),
            hosts: (0..hosts).map(|_| host()).collect(),
            strangers: Vec::new(),
            domains,
            executions: Vec::new(),
        }
    }

    pub(crate) fn schedule(&mut self, when: Moment, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((when, self.scheduled), happening);
    }

    /// Starts an agent after a while; its number.
    pub(crate) fn agent(&mut self, after: Duration, asks: Asks) -> usize {
        self.agents.push(Agent::new(asks));
        let index = self.agents.len() - 1;
        self.schedule(self.now + after, Happening::StartAgent(index));
        index
    }

    /// Runs until nothing is left to happen.
    pub(crate) fn run(&mut self) {
        while let Some(((when, _), happening)) = self.queue.pop_first() {
            self.now = when;
            self.happen(happening);
        }
    }

    /// Lets time pass in which nothing happens.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub(crate) fn verdict(&self, agent: usize) -> &Verdict {
        let ended = self.agents[agent].verdict.as_ref();
        &ended.expect("every agent has ended").1
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::StartAgent(agent) => self.start_agent(agent),
            Happening::AgentTick(agent) => {
                if self.agents[agent].is_running() {
                    self.tell_agent(agent, Event::Tick);
                }
            }
            Happening::Overheard { stranger, callback } => self.stranger_hears(stranger, callback),
            Happening::Visit { stranger, callback } => self.visit(stranger, callback),
            Happening::Say {
                connection,
                end,
                bytes,
            } => self.send(connection, end, bytes),
            Happening::Knock { connection, at } => self.knock(connection, at),
            Happening::Accepting { connection } => {
                self.connections[connection].accept(Node::Host(0));
                self.answer_knock(connection, true);
                self.at_host(0, now, Happening::Accepting { connection });
            }
            Happening::Connected { connection } => self.connected(connection, happening),
            Happening::Refused { connection } => self.refused(connection, happening),
            Happening::Arrival {
                connection,
                end,
                item,
            } => self.arrive(connection, end, item),
            Happening::Reset { connection } => self.reset(connection),
            Happening::Freeze(host) => self.freeze(host),
            Happening::Resume(host) => self.resume(host),
            Happening::Readable { connection, end } => self.readable(connection, end),
            Happening::Datagram { host, .. }
            | Happening::HostTick { host, .. }
            | Happening::OrderStarts { host, .. }
            | Happening::OrderDone { host, .. } => self.at_host(host, now, happening),
        }
    }

    /// A request goes to everybody, over a link that is bad for each of them by itself.
    pub(crate) fn multicast(&mut self, bytes: Vec<u8>, from: SocketAddr) {
        for host in 0..self.hosts.len() {
            for arrival in self.link.datagram(&mut self.rng, self.now) {
                let bytes = bytes.clone();
                self.schedule(arrival, Happening::Datagram { host, from, bytes });
            }
        }
        for stranger in 0..self.strangers.len() {
            self.schedule(
                self.now,
                Happening::Overheard {
                    stranger,
                    callback: from,
                },
            );
        }
    }

    pub(crate) fn open_connection(&mut self, connector: Node) -> usize {
        let fate = self.link.fate(&mut self.rng, self.now);
        self.connections.push(Connection::new(connector, fate));
        let connection = self.connections.len() - 1;
        if let Some(when) = self.connections[connection].reset_at() {
            self.schedule(when, Happening::Reset { connection });
        }
        connection
    }

    pub(crate) fn send_to_host(&mut self, connection: usize) {
        let when = self.now + self.link.segment(&mut self.rng);
        self.schedule(when, Happening::Accepting { connection });
    }

    pub(crate) fn send_to_address(&mut self, connection: usize, at: SocketAddr) {
        if at.ip() != IpAddr::from(NOWHERE) {
            let when = self.now + self.link.segment(&mut self.rng);
            self.schedule(when, Happening::Knock { connection, at });
        }
    }

    fn knock(&mut self, connection: usize, at: SocketAddr) {
        if self.connections[connection].is_closed(End::Connector) {
            return;
        }
        let agent = self.agents.iter().position(|agent| agent.listens_at(at));
        let mut strangers = self.strangers.iter();
        let stranger = strangers.position(|stranger| stranger.listens_at == Some(at));
        self.answer_knock(connection, agent.is_some() || stranger.is_some());
        if let Some(agent) = agent {
            self.connections[connection].accept(Node::Agent(agent));
            self.agent_accepts(agent, connection);
        } else if let Some(stranger) = stranger {
            self.connections[connection].accept(Node::Stranger(stranger));
            self.stranger_connected(stranger, connection, End::Acceptor);
        }
    }

    fn answer_knock(&mut self, connection: usize, accepted: bool) {
        let delay = self.link.segment(&mut self.rng);
        let when = self.connections[connection].arrival(End::Connector, self.now, delay);
        if let Some(when) = when {
            let answer = if accepted {
                Happening::Connected { connection }
            } else {
                Happening::Refused { connection }
            };
            self.schedule(when, answer);
        }
    }

    fn connected(&mut self, connection: usize, happening: Happening) {
        let now = self.now;
        match self.connections[connection].node(End::Connector) {
            _ if self.connections[connection].is_closed(End::Connector) => {}
            Some(Node::Agent(agent)) => self.agent_connected(agent, connection),
            Some(Node::Host(host)) => self.at_host(host, now, happening),
            Some(Node::Stranger(stranger)) => {
                self.stranger_connected(stranger, connection, End::Connector);
            }
            None => {}
        }
    }

    fn refused(&mut self, connection: usize, happening: Happening) {
        match self.connections[connection].node(End::Connector) {
            Some(Node::Agent(agent)) => self.tell_agent(agent, Event::ConnectFailed),
            Some(Node::Host(host)) => self.at_host(host, self.now, happening),
            Some(Node::Stranger(_)) | None => {}
        }
    }

    /// Sends bytes from one end to the other, in order.
    pub(crate) fn send(&mut self, connection: usize, from: End, bytes: Vec<u8>) {
        let to_be_sent = !bytes.is_empty() && !self.connections[connection].is_closed(from);
        if to_be_sent {
            self.send_item(connection, from, Item::Bytes(bytes));
        }
    }

    pub(crate) fn close(&mut self, connection: usize, end: End) {
        if self.connections[connection].close(end) {
            self.send_item(connection, end, Item::Closed);
        }
    }

    fn send_item(&mut self, connection: usize, from: End, item: Item) {
        let delay = self.link.segment(&mut self.rng);
        let (now, end) = (self.now, from.other());
        if let Some(when) = self.connections[connection].arrival(end, now, delay) {
            self.schedule(
                when,
                Happening::Arrival {
                    connection,
                    end,
                    item,
                },
            );
        }
    }

    fn arrive(&mut self, connection: usize, end: End, item: Item) {
        let it = &mut self.connections[connection];
        if !it.is_closed(end) {
            it.arrived(end, item);
            self.readable(connection, end);
        } else if item != Item::Closed && !it.is_closed(end.other()) {
            // Bytes for somebody who has closed: a reset comes back.
            self.send_item(connection, end, Item::Closed);
        }
    }

    fn readable(&mut self, connection: usize, end: End) {
        let now = self.now;
        match self.connections[connection].node(end) {
            Some(Node::Host(host)) => {
                self.at_host(host, now, Happening::Readable { connection, end });
            }
            Some(Node::Agent(agent)) => {
                while let Some(item) = self.connections[connection].take(end) {
                    self.agent_receives(agent, connection, &item);
                }
            }
            Some(Node::Stranger(stranger)) => {
                while let Some(item) = self.connections[connection].take(end) {
                    self.stranger_receives(stranger, connection, item);
                }
            }
            None => {}
        }
    }

    fn reset(&mut self, connection: usize) {
        for end in [End::Connector, End::Acceptor] {
            self.arrive(connection, end, Item::Closed);
        }
    }
}
