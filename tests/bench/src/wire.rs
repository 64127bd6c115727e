//! Requests that are ready to be sent, and how an exchange can fail.
//!
//! Hosts drop what they have seen before, so every request has its own seqno, random bytes and
//! challenge. They are made before the clock starts.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use fence_proto::frame::{FRAME_LEN, RequestId, Signature};
use fence_proto::key::{DIGEST_FIELD, DigestField};
use fence_proto::{Action, DomainRef, HashAlgorithm, Key, RequestFrame};

use crate::error::BenchError;

/// The hash of frames and challenges in all rows: the default of both programs.
pub(crate) const ALGORITHM: HashAlgorithm = HashAlgorithm::Sha256;

/// What an agent says before it hears anything in TCP mode: frame and challenge.
pub(crate) const OPENING_LEN: usize = FRAME_LEN + DIGEST_FIELD;

/// What a host says before its reply: the answer and its own challenge.
pub(crate) const HOST_OPENING_LEN: usize = 2 * DIGEST_FIELD;

/// One request, made in advance.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The frame, and the agent's challenge behind it.
    pub(crate) opening: [u8; OPENING_LEN],
    /// What a host with the key answers to the challenge.
    pub(crate) expected: DigestField,
}

impl Request {
    /// The frame alone.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.opening[..FRAME_LEN]
    }

    /// The challenge alone.
    pub(crate) fn challenge(&self) -> &[u8] {
        &self.opening[FRAME_LEN..]
    }
}

/// Makes requests, no two alike.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    key: Key,
    seed: DigestField,
    made: u64,
}

impl Requests {
    /// A maker of requests under `key`, different from every other maker.
    pub(crate) fn new(key: &Key) -> Result<Self, BenchError> {
        let mut seed = [0; DIGEST_FIELD];
        getrandom::fill(&mut seed).map_err(BenchError::io("read random bytes"))?;
        Ok(Self {
            key: key.clone(),
            seed,
            made: 0,
        })
    }

    /// A maker that shares nothing with this one.
    pub(crate) fn fork(&self) -> Result<Self, BenchError> {
        Self::new(&self.key)
    }

    /// The key that signs.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The next request.
    pub(crate) fn next(
        &mut self,
        action: Action,
        domain: &DomainRef,
        callback: Option<SocketAddr>,
    ) -> Request {
        self.made += 1;
        let mut challenge = self.seed;
        for (byte, count) in challenge.iter_mut().zip(self.made.to_le_bytes()) {
            *byte ^= count;
        }
        let [a, b, c, d, e, f, g, h, i, j, ..] = challenge;
        let frame = RequestFrame {
            action,
            domain: domain.clone(),
            uuid_flag: false,
            callback,
            id: RequestId {
                random: [e, f, g, h, i, j],
                seqno: u32::from_le_bytes([a, b, c, d]),
            },
        };
        let mut opening = [0; OPENING_LEN];
        let (front, back) = opening.split_at_mut(FRAME_LEN);
        front.copy_from_slice(&frame.encode(Signature::Keyed(&self.key, ALGORITHM)));
        back.copy_from_slice(&challenge);
        Request {
            opening,
            expected: self.key.digest(ALGORITHM, &challenge),
        }
    }
}

/// How one exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// Nobody listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The host closed before its reply.
    Closed,
    /// No reply in time.
    TimedOut,
    /// The host does not hold the key.
    BadResponse,
    /// A reply that is not the expected one.
    Reply(u8),
    /// Anything else, as the system numbers it.
    System(i32),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::System(error.raw_os_error().unwrap_or(0)),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Closed => f.write_str("closed early"),
            Self::TimedOut => f.write_str("timed out"),
            Self::BadResponse => f.write_str("wrong response"),
            Self::Reply(byte) => write!(f, "reply {byte}"),
            Self::System(errno) => write!(f, "{}", io::Error::from_raw_os_error(*errno)),
        }
    }
}
