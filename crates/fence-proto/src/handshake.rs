//! Challenge-response in both roles (section 4).
//!
//! Order on the wire: the agent's challenge, the host's answer, the host's challenge, the agent's
//! answer; 64 bytes each. Two things are missing in it, and the frames cannot change:
//!
//! - The host answers before the agent has proved anything, with the same function and key. Whoever
//!   gets a host to answer another host's challenge is through.
//! - Nothing says which request the handshake is for. An agent that answers a call-back which an
//!   older request provoked takes that one's reply for its own.
//!
//! A challenge may be any 64 bytes that never repeat. Ours are 32 random bytes, a tag by which every
//! holder of the key knows that a host made them, and a tag over the request ([`Purpose`]). To a C
//! agent it is noise. A host refuses to answer a challenge with the first tag, whichever host made it
//! and however long ago; that covers a challenge that this daemon has itself issued and not yet
//! retired, without a table. Our agent answers one with the first tag only if the second is its own
//! request's; without the first it comes from a C host, and is answered.

use subtle::ConstantTimeEq;

use crate::action::Action;
use crate::domain::DomainRef;
use crate::hash::HashAlgorithm;
use crate::key::{DIGEST_FIELD, DigestField, Key};
use crate::reason::Reason;

/// Bytes of a challenge and of an answer.
pub const CHALLENGE_LEN: usize = DIGEST_FIELD;

/// A challenge: 64 bytes that never repeat.
pub type Challenge = [u8; CHALLENGE_LEN];

/// Say which use of the key a tag belongs to.
const HOST_LABEL: &[u8] = b"fence-virt host challenge v1";
const PURPOSE_LABEL: &[u8] = b"fence-virt request of a challenge v1";

/// Bytes of each tag; the chance of a false one is 2⁻¹²⁸.
const TAG_LEN: usize = 16;

type Tag = [u8; TAG_LEN];

/// The request that a handshake is for: what all its retransmissions have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose(Vec<u8>);

impl Purpose {
    /// The purpose of a request, from its fields as they travel.
    #[must_use]
    pub fn new(action: Action, seqno: u32, domain: &DomainRef) -> Self {
        let mut bytes = vec![action.to_wire()];
        bytes.extend_from_slice(&seqno.to_le_bytes());
        bytes.extend_from_slice(&domain.to_field());
        Self(bytes)
    }
}

/// Makes a host's challenge for a request from fresh random bytes.
#[must_use]
pub fn host_challenge(key: &Key, random: [u8; 32], purpose: &Purpose) -> Challenge {
    let mut challenge = [0; CHALLENGE_LEN];
    let (host, request) = (host_tag(key, &random), purpose_tag(key, &random, purpose));
    let bytes = random.iter().chain(&host).chain(&request);
    for (to, from) in challenge.iter_mut().zip(bytes) {
        *to = *from;
    }
    challenge
}

/// Whether a host that holds `key` made this challenge.
#[must_use]
pub fn is_host_challenge(key: &Key, challenge: &Challenge) -> bool {
    let (random, host, _) = parts(challenge);
    host_tag(key, &random).ct_eq(&host).into()
}

/// Whether a host made this challenge for this request.
fn is_for(key: &Key, challenge: &Challenge, purpose: &Purpose) -> bool {
    let (random, _, request) = parts(challenge);
    purpose_tag(key, &random, purpose).ct_eq(&request).into()
}

fn parts(challenge: &Challenge) -> ([u8; 32], Tag, Tag) {
    let mut random = [0; 32];
    let (mut host, mut request) = (Tag::default(), Tag::default());
    let fields = random.iter_mut().chain(&mut host).chain(&mut request);
    for (to, from) in fields.zip(challenge) {
        *to = *from;
    }
    (random, host, request)
}

fn host_tag(key: &Key, random: &[u8; 32]) -> Tag {
    tag(key, &[HOST_LABEL, random])
}

fn purpose_tag(key: &Key, random: &[u8; 32], purpose: &Purpose) -> Tag {
    tag(key, &[PURPOSE_LABEL, random, &purpose.0])
}

fn tag(key: &Key, parts: &[&[u8]]) -> Tag {
    let mut tag = Tag::default();
    for (to, from) in tag.iter_mut().zip(key.recognition_tag(&parts.concat())) {
        *to = from;
    }
    tag
}

/// Proof that the peer holds the key, or that the configuration asks for none. Only this module
/// makes it.
#[derive(Debug)]
pub struct Authenticated(());

/// What a handshake wants next.
#[derive(Debug)]
pub enum Step {
    /// More bytes of the peer.
    Wait,
    /// Send these, then wait for bytes.
    Send(Vec<u8>),
    /// Send these (if any); the handshake is complete.
    Done(Vec<u8>, Authenticated),
    /// Close without a word.
    Drop(Reason),
}

/// Collects exactly 64 bytes out of any chunks.
#[derive(Debug, Default)]
struct Field {
    bytes: Vec<u8>,
}

impl Field {
    /// Takes from `input` what is missing; the field once it is complete.
    fn take(&mut self, input: &mut &[u8]) -> Option<DigestField> {
        let missing = CHALLENGE_LEN.saturating_sub(self.bytes.len());
        let (head, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
        self.bytes.extend_from_slice(head);
        *input = rest;
        let field = self.bytes.as_slice().try_into().ok()?;
        self.bytes.clear();
        Some(field)
    }
}

/// The host's half. Starts by waiting for the agent's challenge.
#[derive(Debug)]
pub struct HostHandshake {
    auth: HashAlgorithm,
    challenge: Challenge,
    challenged: bool,
    field: Field,
}

impl HostHandshake {
    /// A handshake with `auth`, or what it takes to skip it: with [`HashAlgorithm::None`] nothing
    /// is exchanged and the peer counts as authenticated (the configuration says so).
    ///
    /// # Errors
    /// `Err` holds the proof when there is nothing to exchange.
    pub fn new(auth: HashAlgorithm, challenge: Challenge) -> Result<Self, Authenticated> {
        if auth == HashAlgorithm::None {
            return Err(Authenticated(()));
        }
        Ok(Self {
            auth,
            challenge,
            challenged: false,
            field: Field::default(),
        })
    }

    /// Takes bytes of the agent. Bytes that have no place in the protocol end it.
    pub fn push(&mut self, key: &Key, mut input: &[u8]) -> Step {
        let Some(received) = self.field.take(&mut input) else {
            return Step::Wait;
        };
        if !input.is_empty() {
            return Step::Drop(Reason::UnexpectedBytes);
        }
        if self.challenged {
            return if key.verify(self.auth, &self.challenge, &received) {
                Step::Done(Vec::new(), Authenticated(()))
            } else {
                Step::Drop(Reason::BadResponse)
            };
        }
        if is_host_challenge(key, &received) {
            return Step::Drop(Reason::ReflectedChallenge);
        }
        self.challenged = true;
        // Answer and challenge in one packet: the agent reads one after the other.
        let mut bytes = key.digest(self.auth, &received).to_vec();
        bytes.extend_from_slice(&self.challenge);
        Step::Send(bytes)
    }
}

/// The agent's half. It speaks first: send [`Self::opening`], then push what comes.
#[derive(Debug)]
pub struct AgentHandshake {
    auth: HashAlgorithm,
    challenge: Challenge,
    purpose: Purpose,
    host_proved: bool,
    field: Field,
}

impl AgentHandshake {
    /// A handshake for a request, with `auth` and a challenge of 64 fresh random bytes.
    ///
    /// # Errors
    /// `Err` holds the proof when `auth` is none and there is nothing to exchange.
    pub fn new(
        auth: HashAlgorithm,
        challenge: Challenge,
        purpose: Purpose,
    ) -> Result<Self, Authenticated> {
        if auth == HashAlgorithm::None {
            return Err(Authenticated(()));
        }
        Ok(Self {
            auth,
            challenge,
            purpose,
            host_proved: false,
            field: Field::default(),
        })
    }

    /// The agent's challenge, to be sent at once.
    #[must_use]
    pub const fn opening(&self) -> &Challenge {
        &self.challenge
    }

    /// Whether the host has proved that it knows the key. Its challenge must not be answered on
    /// two connections at a time: each host that gets an answer acts.
    #[must_use]
    pub const fn host_proved(&self) -> bool {
        self.host_proved
    }

    /// Takes bytes of the host and says how many of them belong to the handshake; what is behind
    /// them is the reply. With [`Step::Done`] the answer in it is to be sent.
    pub fn push(&mut self, key: &Key, input: &[u8]) -> (Step, usize) {
        let mut rest = input;
        let step = self.advance(key, &mut rest);
        (step, input.len().saturating_sub(rest.len()))
    }

    fn advance(&mut self, key: &Key, rest: &mut &[u8]) -> Step {
        if !self.host_proved {
            let Some(answer) = self.field.take(rest) else {
                return Step::Wait;
            };
            if !key.verify(self.auth, &self.challenge, &answer) {
                return Step::Drop(Reason::BadResponse);
            }
            self.host_proved = true;
        }
        let Some(challenge) = self.field.take(rest) else {
            return Step::Wait;
        };
        if challenge == self.challenge {
            return Step::Drop(Reason::ReflectedChallenge);
        }
        if is_host_challenge(key, &challenge) && !is_for(key, &challenge, &self.purpose) {
            return Step::Drop(Reason::OtherRequest);
        }
        Step::Done(
            key.digest(self.auth, &challenge).to_vec(),
            Authenticated(()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTH: HashAlgorithm = HashAlgorithm::Sha256;

    fn key() -> Key {
        Key::from_bytes(b"a shared key").unwrap()
    }

    fn host(random: u8) -> HostHandshake {
        HostHandshake::new(AUTH, host_challenge(&key(), [random; 32], &purpose())).unwrap()
    }

    fn purpose() -> Purpose {
        Purpose::new(Action::Off, 7, &DomainRef::new("vm").unwrap())
    }

    fn agent() -> AgentHandshake {
        AgentHandshake::new(AUTH, [9; 64], purpose()).unwrap()
    }

    /// What an agent says to a host that proves itself with this challenge.
    fn agent_meets(challenge: Challenge) -> Step {
        let key = key();
        let mut bytes = key.digest(AUTH, &[9; 64]).to_vec();
        bytes.extend(challenge);
        agent().push(&key, &bytes).0
    }

    #[test]
    fn call_back_for_another_request_is_not_answered() {
        let domain = DomainRef::new("vm").unwrap();
        let other = DomainRef::new("vm2").unwrap();
        for purpose in [
            Purpose::new(Action::Monitor, 7, &domain),
            Purpose::new(Action::Off, 8, &domain),
            Purpose::new(Action::Off, 7, &other),
        ] {
            let step = agent_meets(host_challenge(&key(), [1; 32], &purpose));
            assert_eq!(reason(step), Reason::OtherRequest, "{purpose:?}");
        }
        let own = agent_meets(host_challenge(&key(), [1; 32], &purpose()));
        assert!(matches!(own, Step::Done(..)));
    }

    #[test]
    fn challenge_of_a_c_host_is_answered() {
        assert!(matches!(agent_meets([0x5c; 64]), Step::Done(..)));
    }

    fn sent(step: Step) -> Vec<u8> {
        match step {
            Step::Send(bytes) => bytes,
            other => panic!("expected bytes to send, not {other:?}"),
        }
    }

    fn reason(step: Step) -> Reason {
        match step {
            Step::Drop(reason) => reason,
            other => panic!("expected a drop, not {other:?}"),
        }
    }

    #[test]
    fn both_halves_agree_in_chunks_of_any_size() {
        for size in [1, 63, 64, 65, 128] {
            let key = key();
            let mut host = host(1);
            let mut agent = agent();
            let mut to_agent = Vec::new();
            for chunk in agent.opening().chunks(size) {
                if let Step::Send(bytes) = host.push(&key, chunk) {
                    to_agent = bytes;
                }
            }
            let mut answer = Vec::new();
            for chunk in to_agent.chunks(size) {
                if let (Step::Done(bytes, _), used) = agent.push(&key, chunk) {
                    assert_eq!(used, chunk.len());
                    answer = bytes;
                }
            }
            assert!(agent.host_proved());
            let mut done = false;
            for chunk in answer.chunks(size) {
                done |= matches!(host.push(&key, chunk), Step::Done(..));
            }
            assert!(done, "chunks of {size}");
        }
    }

    #[test]
    fn reply_behind_the_handshake_is_left_to_the_caller() {
        let key = key();
        let mut agent = agent();
        let mut bytes = key.digest(AUTH, &[9; 64]).to_vec();
        bytes.extend([7; 64]);
        bytes.push(0);
        let (step, used) = agent.push(&key, &bytes);
        assert!(matches!(step, Step::Done(..)));
        assert_eq!(used, 128);
    }

    #[test]
    fn own_challenge_on_a_second_connection_is_refused() {
        let key = key();
        let mut first = host(1);
        let answer = sent(first.push(&key, &[5; 64]));
        let mut second = host(2);
        assert_eq!(
            reason(second.push(&key, &answer[64..])),
            Reason::ReflectedChallenge
        );
    }

    #[test]
    fn challenge_of_another_host_with_the_same_key_is_refused() {
        let mut here = host(1);
        let elsewhere = host_challenge(&key(), [0xaa; 32], &purpose());
        assert_eq!(
            reason(here.push(&key(), &elsewhere)),
            Reason::ReflectedChallenge
        );
        let other_key = Key::from_bytes(b"another").unwrap();
        assert!(!is_host_challenge(&other_key, &elsewhere));
    }

    #[test]
    fn wrong_answers_are_refused_by_both() {
        let key = key();
        let mut host = host(1);
        sent(host.push(&key, &[5; 64]));
        assert_eq!(reason(host.push(&key, &[0; 64])), Reason::BadResponse);
        let mut agent = agent();
        assert_eq!(reason(agent.push(&key, &[0; 64]).0), Reason::BadResponse);
        assert!(!agent.host_proved());
    }

    #[test]
    fn agent_does_not_answer_its_own_challenge() {
        let key = key();
        let mut agent = agent();
        let mut bytes = key.digest(AUTH, &[9; 64]).to_vec();
        bytes.extend([9; 64]);
        assert_eq!(
            reason(agent.push(&key, &bytes).0),
            Reason::ReflectedChallenge
        );
    }

    #[test]
    fn bytes_without_a_place_end_the_handshake() {
        assert_eq!(
            reason(host(1).push(&key(), &[5; 65])),
            Reason::UnexpectedBytes
        );
    }

    #[test]
    fn none_exchanges_nothing() {
        assert!(HostHandshake::new(HashAlgorithm::None, [0; 64]).is_err());
        assert!(AgentHandshake::new(HashAlgorithm::None, [0; 64], purpose()).is_err());
    }
}
