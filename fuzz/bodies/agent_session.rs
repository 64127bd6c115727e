//! The agent's session under any events in any order, held against a model of every connection's
//! bytes: a result is never believed of a peer that has not proved itself, and never two hosts at a
//! time are told to act.

use std::collections::BTreeMap;
use std::time::Duration;

use fence_proto::agent::{
    AgentConfig, AgentSession, ConnectionId, Credentials, Event, MAX_CONNECTIONS, Output,
    Transport, Verdict,
};
use fence_proto::frame::{Demand, FRAME_LEN};
use fence_proto::{Action, DomainRef, HashAlgorithm, Key, Moment, Reply};

use super::script::Script;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the script.
pub(crate) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut model = Model::new(script.byte());
    while let Some(operation) = script.next() {
        model.step(operation, &mut script);
    }
    model.now = model.now.max(model.session.gives_up());
    model.feed(Event::Tick);
    assert!(model.verdict.is_some(), "the time-out ends it");
}

/// What went over one connection.
struct Peer {
    challenge: [u8; 64],
    received: Vec<u8>,
    sent: Vec<u8>,
    /// Bytes received before the host's challenge was answered.
    before_answer: Option<usize>,
}

struct Model {
    key: Key,
    auth: HashAlgorithm,
    action: Action,
    stream: bool,
    now: Moment,
    session: AgentSession,
    next: u64,
    open: BTreeMap<u64, Peer>,
    listening: bool,
    last_round: Option<Moment>,
    verdict: Option<Verdict>,
}

const RETRANSMIT: Duration = Duration::from_secs(2);

impl Model {
    fn new(mode: u8) -> Self {
        let key = Key::from_bytes(b"fuzz").expect("a key");
        let auth = HashAlgorithm::ALL[usize::from(mode & 3)];
        let stream = mode & 4 != 0;
        let action = [Action::Off, Action::List][usize::from(mode >> 3 & 1)];
        let transport = if stream {
            Transport::Stream
        } else {
            Transport::Multicast {
                retransmit: RETRANSMIT,
            }
        };
        let hash = HashAlgorithm::Sha256;
        let config = AgentConfig {
            transport,
            action,
            domain: DomainRef::new("vm").expect("a name"),
            uuid_flag: false,
            credentials: Credentials::new(Some(key.clone()), hash, auth).expect("credentials"),
            timeout: TIMEOUT,
            seqno: 1,
        };
        Self {
            key,
            auth,
            action,
            stream,
            now: Moment::ZERO,
            session: AgentSession::new(config, Moment::ZERO),
            next: 0,
            open: BTreeMap::new(),
            listening: false,
            last_round: None,
            verdict: None,
        }
    }

    fn step(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 10 {
            0 => {
                self.listening = true;
                self.feed(Event::Listening);
            }
            1 => self.connect(script.byte()),
            2 => self.feed(Event::ConnectFailed),
            3 => {
                let (which, count) = (script.byte(), usize::from(script.byte()));
                self.receive(which, script.take(count));
            }
            4 | 5 => {
                let (which, random) = (script.byte(), script.byte());
                let honest = self.honest_bytes(which, random);
                self.receive(which, &honest);
            }
            6 => {
                let which = script.byte();
                if let Some(id) = self.id(which) {
                    self.open.remove(&id);
                    self.feed(Event::Closed(ConnectionId(id)));
                }
            }
            7 => self.feed(Event::Tick),
            8 => self.now = self.now + Duration::from_millis(u64::from(script.byte()) * 20),
            // Of a connection that was never there.
            _ => self.feed(Event::Bytes(ConnectionId(u64::MAX), &[0])),
        }
    }

    fn connect(&mut self, random: u8) {
        let id = self.next;
        self.next += 1;
        // A shell makes one connection in stream mode, and accepts none.
        if self.verdict.is_some() || (self.stream && id > 0) {
            return;
        }
        let mut challenge = [random; 64];
        challenge[0] = u8::try_from(id & 0xff).unwrap_or(0);
        let peer = Peer {
            challenge,
            received: Vec::new(),
            sent: Vec::new(),
            before_answer: None,
        };
        self.open.insert(id, peer);
        let connection = ConnectionId(id);
        self.feed(if self.stream {
            Event::Connected {
                connection,
                challenge,
                random: [random; 6],
            }
        } else {
            Event::Accepted {
                connection,
                challenge,
            }
        });
    }

    fn id(&self, which: u8) -> Option<u64> {
        let index = usize::from(which) % self.open.len().max(1);
        self.open.keys().nth(index).copied()
    }

    /// What an honest host would send next: answer and challenge, then a reply.
    fn honest_bytes(&self, which: u8, random: u8) -> Vec<u8> {
        let Some(peer) = self.id(which).and_then(|id| self.open.get(&id)) else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        if self.auth != HashAlgorithm::None {
            bytes.extend(self.key.digest(self.auth, &peer.challenge));
            bytes.extend([random; 64]);
        }
        if bytes.len() > peer.received.len() {
            return bytes.split_off(peer.received.len());
        }
        let list = self.action == Action::List && random & 1 == 0;
        vec![if list { 253 } else { random >> 6 }]
    }

    fn receive(&mut self, which: u8, bytes: &[u8]) {
        let Some(id) = self.id(which) else {
            return;
        };
        if let Some(peer) = self.open.get_mut(&id) {
            peer.received.extend_from_slice(bytes);
        }
        self.feed(Event::Bytes(ConnectionId(id), bytes));
    }

    fn feed(&mut self, event: Event<'_>) {
        let mut outputs = Vec::new();
        let from = match &event {
            Event::Bytes(ConnectionId(id), _) => Some(*id),
            _ => None,
        };
        self.session.handle(self.now, event, &mut outputs);
        assert!(
            self.verdict.is_none() || outputs.is_empty(),
            "a session that has ended acts"
        );
        for output in outputs {
            assert!(self.verdict.is_none(), "nothing follows the verdict");
            self.check(output, from);
        }
        assert!(self.open.len() <= MAX_CONNECTIONS || self.verdict.is_some());
        assert!(self.answered() <= 1 || self.auth == HashAlgorithm::None);
        assert!(self.session.deadline() <= self.session.gives_up());
        assert!(self.session.gives_up() <= Moment::ZERO + TIMEOUT);
    }

    /// Hosts that may act at this moment.
    fn answered(&self) -> usize {
        let peers = self.open.values();
        peers.filter(|peer| peer.before_answer.is_some()).count()
    }

    fn check(&mut self, output: Output, from: Option<u64>) {
        match output {
            Output::SendRequest => {
                assert!(self.listening && !self.stream);
                let early = self
                    .last_round
                    .is_some_and(|last| self.now < last + RETRANSMIT);
                assert!(!early, "rounds come in their time");
                self.last_round = Some(self.now);
            }
            Output::Send(ConnectionId(id), bytes) => self.check_sent(id, &bytes),
            Output::Close(ConnectionId(id), _) => {
                assert!(self.open.remove(&id).is_some(), "closed what is not open");
            }
            Output::Finish(verdict) => {
                if !matches!(verdict, Verdict::Failed(_)) {
                    self.check_result(&verdict, from);
                }
                self.verdict = Some(verdict);
            }
        }
    }

    fn check_sent(&mut self, id: u64, bytes: &[u8]) {
        let peer = self.open.get_mut(&id).expect("sends on an open connection");
        if self.stream && peer.sent.is_empty() {
            let demand = Demand {
                key: Some(&self.key),
                weakest: HashAlgorithm::Sha256,
            };
            assert!(demand.accept(bytes).is_ok());
        } else {
            let opening = if self.stream { FRAME_LEN } else { 0 };
            assert_ne!(self.auth, HashAlgorithm::None);
            if peer.sent.len() == opening {
                assert_eq!(bytes, peer.challenge);
            } else {
                assert_eq!(peer.sent.len(), opening + 64, "one answer");
                // Answered is only who has answered.
                assert_eq!(peer.received.len(), 128);
                let proof = self.key.digest(self.auth, &peer.challenge);
                assert_eq!(peer.received[..64], proof);
                let answer = self.key.digest(self.auth, &peer.received[64..]);
                assert_eq!(bytes, answer);
                peer.before_answer = Some(peer.received.len());
            }
        }
        peer.sent.extend_from_slice(bytes);
    }

    /// A result is what a proven host said after its challenge was answered.
    fn check_result(&self, verdict: &Verdict, from: Option<u64>) {
        let peer = from.and_then(|id| self.open.get(&id));
        let peer = peer.expect("a result comes of a connection");
        let start = if self.auth == HashAlgorithm::None {
            0
        } else {
            peer.before_answer.expect("a result before the handshake")
        };
        let reply = peer.received.get(start..).and_then(<[u8]>::first);
        let reply = Reply::from_wire(*reply.expect("a reply byte"));
        match verdict {
            Verdict::Replied(it) => {
                assert_eq!(*it, reply);
                assert_ne!(reply, Reply::HostListFollows);
                assert!(self.action != Action::List || reply != Reply::Success);
            }
            Verdict::Listed(_) => {
                assert_eq!((self.action, reply), (Action::List, Reply::HostListFollows));
            }
            Verdict::Failed(_) => {}
        }
    }
}
