//! What goes into a session and what comes out.

use crate::domain::DomainIdentity;
use crate::host_list::Entry;
use crate::order::Order;
use crate::reason::Reason;
use crate::reply::Reply;

/// What happens to a session.
#[derive(Debug)]
pub enum Event<'a> {
    /// The call-back is connected.
    Connected,
    /// The call-back could not be connected.
    ConnectFailed(ConnectError),
    /// Bytes of the peer.
    Received(&'a [u8]),
    /// The peer closed or reset the connection.
    PeerClosed,
    /// Which domain the peer is, or that nobody can tell.
    Identified(Option<DomainIdentity>),
    /// What came of the order.
    Answered(Answer),
    /// Time has passed: to be said when [`Session::deadline`] is reached.
    Tick,
    /// A newer session takes this one's place.
    Evicted,
    /// The daemon is ending.
    ShutDown,
}

/// Why a call-back was not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// Refused or reset: another host has won, or the agent is gone. Not an error.
    Refused,
    /// Anything else: unreachable, filtered.
    Other,
}

/// What a backend made of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The reply to send.
    Reply(Reply),
    /// The domains to list.
    List(Vec<Entry>),
    /// The order was never started.
    NotStarted(Reason),
}

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Nothing but wait for the next event or [`Session::deadline`].
    Wait,
    /// Send these bytes.
    Send(Vec<u8>),
    /// Find out which domain has this vsock CID now: the groups go by it, and the peer has proved
    /// itself.
    Identify(u32),
    /// Have the backend execute this.
    Execute(Order),
    /// The requester is gone: if the order was not started, it must not be.
    Cancel,
    /// Send these bytes (if any) and close. A [`Reason`] says that the order was not carried out.
    Finish(Vec<u8>, Option<Reason>),
    /// Close without a word.
    Drop(Reason),
}
