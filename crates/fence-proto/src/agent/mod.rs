//! The agent's session: ask, be called back or connect, authenticate, read the result; all of it
//! bounded by one total time-out.
//!
//! What is here: the decisions, as a function of `(now, event)`. What is not here: sockets, the
//! clock, random bytes and the choice of local addresses. The shell reports [`Event`]s, carries out
//! [`Output`]s and calls [`AgentSession::handle`] with [`Event::Tick`] when
//! [`AgentSession::deadline`] is reached. Random bytes come with the event that needs them.
//!
//! Multicast mode serves several call-backs side by side, so that a bad, silent or noisy peer costs
//! nothing (row L15). A host acts as soon as its challenge is answered; therefore only one host at a
//! time gets an answer, and all others are closed at that moment. If that host's connection ends
//! without a reply byte, nothing is known: the session goes on asking until the time-out.
//!
//! Serial lines and VM channels have no handshake and a session of their own: [`serial`].

mod connection;
pub mod serial;
mod session;
#[cfg(test)]
mod tests;

pub use session::AgentSession;

use core::time::Duration;

use crate::action::Action;
use crate::domain::DomainRef;
use crate::handshake::Challenge;
use crate::hash::HashAlgorithm;
use crate::host_list::ReceivedEntry;
use crate::key::Key;
use crate::reason::Reason;
use crate::reply::Reply;

/// The most connections that are served side by side. The oldest unproven one gives way.
pub const MAX_CONNECTIONS: usize = 16;

/// How the agent reaches its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Requests go to a multicast group, again and again; hosts call back (section 2).
    Multicast {
        /// Time between two requests.
        retransmit: Duration,
    },
    /// One connection that the agent makes: TCP or vsock (section 3).
    Stream,
}

/// A hash or an authentication is wanted but there is no key (row L24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hash and auth other than none need a key")]
pub struct KeyMissing;

/// The key and what it is used for. There is a key unless both uses are none.
#[derive(Debug, Clone)]
pub struct Credentials {
    key: Option<Key>,
    hash: HashAlgorithm,
    auth: HashAlgorithm,
}

impl Credentials {
    /// Puts them together.
    ///
    /// # Errors
    /// [`KeyMissing`] if there is no key but a use for it.
    pub fn new(
        key: Option<Key>,
        hash: HashAlgorithm,
        auth: HashAlgorithm,
    ) -> Result<Self, KeyMissing> {
        let unused = hash == HashAlgorithm::None && auth == HashAlgorithm::None;
        if key.is_none() && !unused {
            return Err(KeyMissing);
        }
        Ok(Self { key, hash, auth })
    }
}

/// What to ask, how, and for how long.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// How hosts are reached.
    pub transport: Transport,
    /// What is asked of them.
    pub action: Action,
    /// For which domain; empty where none is needed.
    pub domain: DomainRef,
    /// Whether `domain` is meant as a UUID.
    pub uuid_flag: bool,
    /// Key, hash and authentication.
    pub credentials: Credentials,
    /// The bound on everything together (row L14).
    pub timeout: Duration,
    /// Identifies the request in all its retransmissions; random.
    pub seqno: u32,
}

/// A connection, as the shell numbers it. Numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Multicast: the listener is open, requests may be sent.
    Listening,
    /// Multicast: a host (or anybody) has connected.
    Accepted {
        /// The new connection.
        connection: ConnectionId,
        /// 64 fresh random bytes.
        challenge: Challenge,
    },
    /// Stream: the connection is made.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// 64 fresh random bytes.
        challenge: Challenge,
        /// Fresh random bytes for the frame.
        random: [u8; 6],
    },
    /// Stream: the connection cannot be made.
    ConnectFailed,
    /// The peer has sent bytes.
    Bytes(ConnectionId, &'a [u8]),
    /// The connection has ended, in whatever way.
    Closed(ConnectionId),
    /// Time has passed.
    Tick,
}

/// What the shell is to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Multicast: send the group one frame out of every local address; each frame is made by
    /// [`AgentSession::request`] with its own random bytes.
    SendRequest,
    /// Send these bytes.
    Send(ConnectionId, Vec<u8>),
    /// Close the connection; it is forgotten here.
    Close(ConnectionId, CloseCause),
    /// The session has ended. Everything still open is to be closed.
    Finish(Verdict),
}

/// Why the session closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer did not behave as a host that holds the key.
    Dropped(Reason),
    /// Another host has been given the order.
    OtherHostChosen,
}

impl core::fmt::Display for CloseCause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Dropped(reason) => reason.fmt(f),
            Self::OtherHostChosen => f.write_str("other-host-chosen"),
        }
    }
}

/// How the session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A host replied; never [`Reply::HostListFollows`], and never in reply to `list` with
    /// [`Reply::Success`].
    Replied(Reply),
    /// The whole host list.
    Listed(Vec<ReceivedEntry>),
    /// There is no result.
    Failed(Failure),
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The total time-out is over.
    TimedOut,
    /// Stream: no connection. Serial: the line was closed before the request was sent.
    NotConnected,
    /// Stream: the peer did not behave as a host that holds the key.
    Dropped(Reason),
    /// Stream: the connection ended before the host had proved that it holds the key. A host that
    /// refuses a frame does that.
    ClosedUnproven,
    /// Stream, serial: the connection ended before a reply: nobody knows what was done (rows F1, F5).
    ClosedWithoutReply,
    /// The host list ended in the middle (row L6).
    ListCut,
    /// Serial: the time-out was over before the host list was whole.
    ListUnfinished,
    /// The host list is longer than any agent keeps.
    ListTooLong,
    /// `list` was answered with success, but without a list.
    ListMissing,
    /// Something else than `list` was answered with a list.
    ListUnexpected,
    /// Serial: there was always something to read before the request was sent.
    NeverQuiet,
}

/// What was tried: counters for messages and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Rounds of requests sent to the group.
    pub rounds: u32,
    /// Connections accepted or made.
    pub connections: u32,
    /// Connections dropped because the peer failed to prove that it holds the key.
    pub unproven: u32,
    /// Connections that ended although the host's challenge was answered, or nothing was to be
    /// answered, and that brought no reply.
    pub without_reply: u32,
    /// Serial: responses to requests of others, which were ignored.
    pub stale: u32,
    /// Serial: bytes that were thrown away before the request was sent.
    pub discarded: u64,
}
