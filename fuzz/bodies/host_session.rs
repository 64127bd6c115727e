//! The host's session under any events in any order, held against a model that knows nothing of its
//! stages: which bytes went in, which came out, and what an order may be made of.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fence_proto::access::{Group, GroupMember, GroupSource};
use fence_proto::frame::{FRAME_LEN, RequestFrame, RequestId, Signature};
use fence_proto::handshake::is_host_challenge;
use fence_proto::host::{
    Answer, ConnectError, Datagram, Event, Output, Policy, Replay, Session, Timing, datagram,
};
use fence_proto::host_list::Entry;
use fence_proto::{
    Access, Action, DomainIdentity, DomainRef, HashAlgorithm, Key, Moment, Reason, Reply, Source,
    Uuid,
};

use super::script::Script;

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
/// Longer than any wait of a session.
const LONGEST: Duration = Duration::from_secs(30);

/// Runs the script.
pub(crate) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut model = Model::new(script.byte());
    while let Some(operation) = script.next() {
        model.step(operation, &mut script);
    }
    model.come_to_an_end();
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "what was seen so far, each by itself; stages are what is under test"
)]
struct Model {
    key: Key,
    auth: HashAlgorithm,
    streamed: bool,
    /// Peers are known by their CID, and the groups by the domain behind it.
    vsock: bool,
    policy: Arc<Policy>,
    now: Moment,
    replay: Replay,
    session: Session,
    sessions: u8,
    /// Bytes that the session had to take note of.
    received: Vec<u8>,
    sent: Vec<u8>,
    /// The last challenge that a host sent.
    issued: Option<[u8; 64]>,
    connected: bool,
    peer_gone: bool,
    /// The peer has proved itself; which domain it is is not known yet.
    identifying: bool,
    executed: bool,
    over: bool,
    /// Frames of streams that got through.
    accepted: HashSet<Vec<u8>>,
}

impl Model {
    fn new(mode: u8) -> Self {
        let key = Key::from_bytes(b"fuzz").expect("a key");
        let auth = HashAlgorithm::ALL[usize::from(mode & 3)];
        let streamed = mode & 4 == 0;
        let vsock = streamed && mode & 24 == 24;
        let source = if vsock {
            GroupSource::Guest(GroupMember::parse("guest"))
        } else {
            GroupSource::Cid(5)
        };
        let groups = Group {
            name: None,
            members: vec![GroupMember::parse("vm")],
            sources: vec![source],
        };
        let access = if mode & 8 == 0 {
            Access::unrestricted()
        } else {
            Access::groups(vec![groups])
        };
        let hashes = (SHA256, auth);
        let policy = Policy::new(Some(key.clone()), hashes, access.into(), Timing::default());
        let policy = Arc::new(policy.expect("a policy"));
        let session = start(&policy, &key, (streamed, vsock), Moment::ZERO, 0);
        Self {
            key,
            auth,
            streamed,
            vsock,
            policy,
            now: Moment::ZERO,
            replay: Replay::new(),
            session,
            sessions: 0,
            received: Vec::new(),
            sent: Vec::new(),
            issued: None,
            connected: streamed,
            peer_gone: false,
            identifying: false,
            executed: false,
            over: false,
            accepted: HashSet::new(),
        }
    }

    fn step(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 16 {
            0 if self.vsock => {
                let guest = DomainIdentity {
                    name: "guest".to_owned(),
                    uuid: Uuid([2; 16]),
                };
                self.feed(Event::Identified((script.byte() & 1 == 1).then_some(guest)));
            }
            0 => self.feed(Event::Connected),
            1 => self.feed(Event::ConnectFailed(ConnectError::Refused)),
            2 => self.feed(Event::ConnectFailed(ConnectError::Other)),
            3 => {
                let count = usize::from(script.byte());
                self.receive(script.take(count));
            }
            4 => {
                let count = usize::from(script.byte());
                let honest = self.honest_bytes();
                self.receive(honest.get(..count).unwrap_or(&honest));
            }
            5 => self.feed(Event::PeerClosed),
            6 => self.feed(Event::Answered(Answer::Reply(Reply::from_wire(
                script.byte(),
            )))),
            7 => {
                let entry = Entry {
                    name: "vm".to_owned(),
                    uuid: Uuid([1; 16]),
                    state: 1,
                };
                let entries = vec![entry; usize::from(script.byte() % 8)];
                self.feed(Event::Answered(Answer::List(entries)));
            }
            8 => self.feed(Event::Answered(Answer::NotStarted(Reason::OrderExpired))),
            9 => self.feed(Event::Tick),
            10 => self.now = self.now + Duration::from_millis(u64::from(script.byte()) * 100),
            11 => self.feed(Event::Evicted),
            12 => self.feed(Event::ShutDown),
            13 => {
                // A reflection: the host's own challenge, of this session or the one before.
                if let Some(challenge) = self.issued {
                    self.receive(&challenge);
                }
            }
            14 => {
                let honest = self.honest_bytes();
                let whole = self.received.len();
                self.receive(&honest);
                assert!(self.received.len() >= whole);
            }
            _ => self.start_another(script.byte()),
        }
    }

    /// What an honest agent would send next, as far as it can know it.
    fn honest_bytes(&self) -> Vec<u8> {
        let mut stream = Vec::new();
        if self.streamed {
            stream.extend(request(&self.key, None, self.sessions));
        }
        let sent = stream.len();
        if self.auth != HashAlgorithm::None && self.received.len() < sent + 64 {
            stream.extend([self.sessions; 64]);
        } else if let Some(challenge) = self.sent.get(64..128) {
            stream.extend([self.sessions; 64]);
            stream.extend(self.key.digest(self.auth, challenge));
        }
        stream.split_off(self.received.len().min(stream.len()))
    }

    fn receive(&mut self, bytes: &[u8]) {
        let before = self.received.len();
        let noted = self.connected && !self.over && !self.identifying && !self.executed;
        if noted && self.now < self.session.deadline() {
            self.received.extend_from_slice(bytes);
        }
        self.feed(Event::Received(bytes));
        let complete = before < FRAME_LEN && self.received.len() >= FRAME_LEN;
        if self.streamed && complete && !self.over {
            self.note_accepted();
        }
    }

    fn feed(&mut self, event: Event<'_>) {
        let late = self.now >= self.session.deadline();
        if matches!(event, Event::Connected) && !self.over && !late {
            self.connected = true;
        }
        let closes = matches!(event, Event::PeerClosed);
        let output = self.session.handle(self.now, event, &mut self.replay);
        if self.over {
            assert_eq!(output, Output::Wait, "a session that is over acts");
        }
        self.check(output, late);
        self.peer_gone |= closes;
        assert_eq!(self.session.is_over(), self.over);
        assert!(self.session.deadline() <= self.now + LONGEST);
    }

    fn check(&mut self, output: Output, late: bool) {
        match output {
            Output::Wait => {}
            Output::Send(bytes) => {
                assert!(self.sent.is_empty() && !self.executed && !late);
                assert_eq!(bytes.len(), 128);
                let challenge = self.received.rchunks(64).next().expect("a challenge");
                assert_eq!(bytes[..64], self.key.digest(self.auth, challenge));
                self.issued = bytes.last_chunk().copied();
                self.sent = bytes;
            }
            Output::Identify(cid) => {
                assert!(self.vsock && cid == 7);
                assert!(!self.identifying && !self.executed && !late && !self.over);
                self.identifying = true;
                self.check_transcript();
            }
            Output::Execute(order) => {
                assert!(!self.executed && !late && !self.over, "one order, in time");
                assert_eq!(self.identifying, self.vsock, "identified before it orders");
                assert_eq!(order.requester().guest().is_some(), self.vsock);
                self.executed = true;
                self.identifying = false;
                self.check_transcript();
                assert_eq!((order.action(), order.domain().as_str()), asked());
                assert!(order.start_by() < order.answer_by());
                assert!(order.answer_by() <= self.now + LONGEST);
                assert!(self.session.served());
            }
            Output::Cancel => assert!(self.executed && !self.over),
            Output::Finish(bytes, reason) => {
                self.over = true;
                let denied = reason == Some(Reason::NotAllowed);
                let failed = self.identifying && bytes == [1];
                assert!(
                    self.executed || denied || failed,
                    "a reply without an order"
                );
                assert!(!denied || bytes == [3]);
                assert_eq!(bytes.is_empty(), self.peer_gone && self.executed);
                if denied {
                    self.check_transcript();
                }
            }
            Output::Drop(_) => {
                assert!(!self.executed, "an order's session is not dropped");
                self.over = true;
            }
        }
    }

    /// An order (and a denial) takes a good frame and the right answer to a fresh challenge.
    fn check_transcript(&self) {
        let mut rest = self.received.as_slice();
        if self.streamed {
            let (frame, behind) = rest.split_at(FRAME_LEN);
            assert!(self.policy.demand().accept(frame).is_ok());
            rest = behind;
        }
        assert!(self.connected);
        if self.auth == HashAlgorithm::None {
            assert!(rest.is_empty());
            return;
        }
        let (challenge, answer) = rest.split_at(64);
        let issued: &[u8; 64] = self.sent.last_chunk().expect("a challenge was sent");
        assert_eq!(*answer, self.key.digest(self.auth, issued));
        let challenge = challenge.try_into().expect("64 bytes");
        assert!(!is_host_challenge(&self.key, challenge), "a reflection");
        assert!(is_host_challenge(&self.key, issued));
    }

    /// No frame of a stream gets through twice.
    fn note_accepted(&mut self) {
        let frame = self.received[..FRAME_LEN].to_vec();
        assert!(self.policy.demand().accept(&frame).is_ok());
        assert!(self.accepted.insert(frame), "a replay got through");
    }

    fn start_another(&mut self, which: u8) {
        self.come_to_an_end();
        self.sessions = which;
        let peer = (self.streamed, self.vsock);
        self.session = start(&self.policy, &self.key, peer, self.now, which);
        self.received.clear();
        self.sent.clear();
        self.connected = self.streamed;
        (self.executed, self.over, self.peer_gone) = (false, false, false);
        self.identifying = false;
    }

    /// However it stands, the deadline ends it.
    fn come_to_an_end(&mut self) {
        self.now = self.now.max(self.session.deadline());
        self.feed(Event::Tick);
        assert!(self.over, "a session outlives its deadline");
    }
}

fn asked() -> (Action, &'static str) {
    (Action::Off, "vm")
}

fn request(key: &Key, callback: Option<SocketAddr>, which: u8) -> [u8; FRAME_LEN] {
    let (action, domain) = asked();
    RequestFrame {
        action,
        domain: DomainRef::new(domain).expect("a name"),
        uuid_flag: false,
        callback,
        id: RequestId {
            random: [which; 6],
            seqno: u32::from(which),
        },
    }
    .encode(Signature::Keyed(key, SHA256))
}

fn start(
    policy: &Arc<Policy>,
    key: &Key,
    (streamed, vsock): (bool, bool),
    now: Moment,
    which: u8,
) -> Session {
    let from = SocketAddr::from(([10, 0, 0, 1], 1229));
    let policy = Arc::clone(policy);
    let random = [which; 32];
    if streamed {
        let source = if vsock {
            Source::Cid(7)
        } else {
            Source::Ip(from.ip())
        };
        return Session::accepted(policy, source, random, now);
    }
    let bytes = &request(key, Some(from), which);
    let age = Duration::ZERO;
    let call = datagram(&policy, now, Datagram { bytes, from, age }).expect("a good datagram");
    Session::calling_back(policy, call, random, now)
}
