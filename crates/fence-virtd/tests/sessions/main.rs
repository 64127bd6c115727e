//! Sessions over real sockets on loopback, against a backend that does as it is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
mod daemon;
mod multicast;
mod reload;
mod silence;
mod supervisor;
mod tcp;
mod vsock;
