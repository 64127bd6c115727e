//! The core of the cluster backend, without IO: a state machine over `(now, event)` that knows which
//! host has which domain, who has to act on a request, and what may be claimed about it.
//!
//! `docs/cluster.md` has the rules and why they hold. What is not here: corosync, libvirt, proofs of
//! fencing, clocks. The daemon feeds [`seam::Event`]s in and does what the [`seam::Output`]s say; the
//! model checker does the same with made-up hosts.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod reason;
pub mod seam;
pub mod wire;

mod begin;
#[cfg(test)]
mod bench;
mod cases;
mod cluster;
mod cx;
mod ends;
mod explain;
mod fingerprint;
mod group;
mod inventory;
mod jobs;
mod knowledge;
mod limits;
mod local;
mod membership;
mod original;
mod parts;
mod peers;
mod proofs;
mod starting;
mod turns;
mod verdict;
mod work;

pub use cluster::Cluster;
pub use limits::{MAX_CASES, MAX_DOMAINS};
pub use reason::Reason;
