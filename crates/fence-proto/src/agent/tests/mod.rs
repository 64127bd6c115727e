//! Tests of the agent's session.

mod multicast;
mod properties;
mod stream;
mod virtual_clock;

use super::*;
use crate::handshake::{Challenge, HostHandshake, Step};
use crate::time::Moment;

pub(super) const AUTH: HashAlgorithm = HashAlgorithm::Sha256;

pub(super) fn key() -> Key {
    Key::from_bytes(b"the key of these tests").unwrap()
}

pub(super) fn wrong_key() -> Key {
    Key::from_bytes(b"another key").unwrap()
}

pub(super) fn at(millis: u64) -> Moment {
    Moment::from_epoch(Duration::from_millis(millis))
}

pub(super) fn config(transport: Transport, action: Action, auth: HashAlgorithm) -> AgentConfig {
    AgentConfig {
        transport,
        action,
        domain: DomainRef::new("vm1").unwrap(),
        uuid_flag: false,
        credentials: Credentials::new(Some(key()), HashAlgorithm::Sha256, auth).unwrap(),
        timeout: Duration::from_secs(30),
        seqno: 0x1234,
    }
}

pub(super) const MULTICAST: Transport = Transport::Multicast {
    retransmit: Duration::from_secs(2),
};

/// A session that is watched: what it puts out is collected per event.
pub(super) struct Watched {
    pub(super) session: AgentSession,
    next: u64,
}

impl Watched {
    pub(super) fn new(config: AgentConfig) -> Self {
        Self {
            session: AgentSession::new(config, at(0)),
            next: 0,
        }
    }

    /// A session that has sent its first request at 0.
    pub(super) fn listening(action: Action, auth: HashAlgorithm) -> Self {
        let mut watched = Self::new(config(MULTICAST, action, auth));
        assert_eq!(watched.event(0, Event::Listening), [Output::SendRequest]);
        watched
    }

    /// A session that is connected; the frame and its opening were sent.
    pub(super) fn connected(action: Action, auth: HashAlgorithm) -> (Self, Talk) {
        let mut watched = Self::new(config(Transport::Stream, action, auth));
        let connection = ConnectionId(0);
        let outputs = watched.event(
            0,
            Event::Connected {
                connection,
                challenge: [9; 64],
                random: [3; 6],
            },
        );
        let mut sent = sent_to(&outputs, connection);
        let frame: Vec<_> = sent.drain(..176).collect();
        assert_eq!(frame, watched.session.request(None, [3; 6]));
        let talk = Talk::new(connection, &key(), auth, 1, &sent);
        (watched, talk)
    }

    pub(super) fn event(&mut self, millis: u64, event: Event<'_>) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.session.handle(at(millis), event, &mut outputs);
        outputs
    }

    /// A peer connects; what it hears is in the answer.
    pub(super) fn accept(&mut self, millis: u64) -> (ConnectionId, Vec<Output>) {
        let connection = ConnectionId(self.next);
        self.next += 1;
        let challenge = [u8::try_from(self.next).unwrap(); 64];
        let event = Event::Accepted {
            connection,
            challenge,
        };
        (connection, self.event(millis, event))
    }

    /// A host connects and proves that it has the key, up to its challenge.
    pub(super) fn host(&mut self, millis: u64, key: &Key) -> Talk {
        let (connection, outputs) = self.accept(millis);
        let opening = sent_to(&outputs, connection);
        Talk::new(
            connection,
            key,
            AUTH,
            u8::try_from(self.next).unwrap(),
            &opening,
        )
    }

    /// A host connects, and the agent answers its challenge.
    pub(super) fn answered_host(&mut self, millis: u64) -> ConnectionId {
        let talk = self.host(millis, &key());
        let outputs = self.event(millis, Event::Bytes(talk.id, &talk.says));
        assert_eq!(sent_to(&outputs, talk.id).len(), 64, "{outputs:?}");
        talk.id
    }
}

/// A challenge as a C host makes it: noise.
pub(super) fn c_challenge(random: u8) -> Challenge {
    let mut challenge = [0x5c; 64];
    challenge[0] = random;
    challenge
}

/// A host's side of a connection, after it has heard the agent's opening.
pub(super) struct Talk {
    pub(super) id: ConnectionId,
    /// The host's answer and challenge.
    pub(super) says: Vec<u8>,
    pub(super) handshake: Option<HostHandshake>,
}

impl Talk {
    fn new(id: ConnectionId, key: &Key, auth: HashAlgorithm, random: u8, opening: &[u8]) -> Self {
        let mut talk = Self {
            id,
            says: Vec::new(),
            handshake: HostHandshake::new(auth, c_challenge(random)).ok(),
        };
        if let Some(handshake) = &mut talk.handshake {
            match handshake.push(key, opening) {
                Step::Send(bytes) => talk.says = bytes,
                other => panic!("the opening is a challenge, not {other:?}"),
            }
        }
        talk
    }
}

/// All bytes that outputs send to a connection.
pub(super) fn sent_to(outputs: &[Output], id: ConnectionId) -> Vec<u8> {
    let mut all = Vec::new();
    for output in outputs {
        if let Output::Send(to, bytes) = output
            && *to == id
        {
            all.extend_from_slice(bytes);
        }
    }
    all
}

pub(super) fn verdict(outputs: &[Output]) -> Option<&Verdict> {
    outputs.iter().find_map(|output| match output {
        Output::Finish(verdict) => Some(verdict),
        _ => None,
    })
}

pub(super) fn failure(outputs: &[Output]) -> Option<Failure> {
    match verdict(outputs) {
        Some(Verdict::Failed(failure)) => Some(*failure),
        _ => None,
    }
}

#[test]
fn key_can_only_be_missing_where_none_is_used() {
    let none = HashAlgorithm::None;
    assert!(Credentials::new(None, none, none).is_ok());
    assert!(Credentials::new(None, HashAlgorithm::Sha1, none).is_err());
    assert!(Credentials::new(None, none, HashAlgorithm::Sha1).is_err());
    assert!(Credentials::new(Some(key()), HashAlgorithm::Sha1, AUTH).is_ok());
}
