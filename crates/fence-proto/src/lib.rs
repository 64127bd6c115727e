//! The core of the fence_virt replacement, without IO.
//!
//! What is here: the frames on the wire, keyed hashes, the challenge-response handshake in both
//! roles, replies and host lists, access groups, and the sessions of host and agent as state
//! machines over `(now, event)`.
//!
//! What is not here: sockets, clocks, randomness, libvirt, files, logging. A caller passes time and
//! random bytes in, and does what the returned actions say. The wire format is described in
//! `docs/protocol.md`; section numbers in this crate refer to it.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod access;
pub mod action;
pub mod agent;
pub mod domain;
pub mod fencing;
pub mod frame;
pub mod handshake;
pub mod hash;
pub mod host;
pub mod host_list;
pub mod key;
pub mod order;
pub mod reason;
pub mod reply;
pub mod serial;
pub mod time;

pub use access::{Access, Requester, Source};
pub use action::Action;
pub use domain::{DomainIdentity, DomainRef, Uuid};
pub use frame::{Family, RequestFrame};
pub use hash::HashAlgorithm;
pub use key::Key;
pub use order::Order;
pub use reason::Reason;
pub use reply::Reply;
pub use time::Moment;
