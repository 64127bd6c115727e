//! The host's side: from a datagram or a connection to an order, and from its outcome to a reply.
//!
//! The ladder is well-formed → authentic → fresh → affordable → proved → allowed → act:
//!
//! | step | where |
//! |---|---|
//! | well-formed, authentic | [`crate::frame::Demand::accept`], called by [`datagram`] and [`Session`] |
//! | fresh | [`Replay`]: retransmissions and replays; [`datagram`]: old datagrams |
//! | affordable | [`Admission`]: how many sessions, per source and in total |
//! | proved | [`crate::handshake::HostHandshake`], inside [`Session`] |
//! | allowed | [`crate::Access`]: a stranger in [`Session`], the domain in the backend |
//! | act | an [`crate::Order`], which only a [`Session`] and a [`Line`] make |
//!
//! A [`Line`] is a serial line or VM channel, where the socket is the proof: it needs no handshake.

mod admission;
mod datagram;
mod events;
pub mod line;
mod policy;
mod presence;
mod replay;
mod session;

pub use admission::{Admission, Admitted, Limits, Party, SessionId};
pub use datagram::{CallBack, Datagram, datagram};
pub use events::{Answer, ConnectError, Event, Output};
pub use line::Line;
pub use policy::{MissingKey, Policy, Timing};
pub use presence::{Presence, concerns_owner, may_answer};
pub use replay::{Replay, RequestKey};
pub use session::Session;
