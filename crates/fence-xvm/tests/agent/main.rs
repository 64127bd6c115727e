//! The agents as programs: what they say, how they exit, and what they do with hosts of every kind.
//! Everything here stays on the loopback interface and needs no privileges, but for `namespace`,
//! which makes network namespaces of its own and needs root or user namespaces for it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is all test code; the helpers beside the tests fail like them"
)]

mod check;
mod command_line;
mod common;
mod documents;
mod host;
mod line;
mod multicast;
mod namespace;
mod serial;
mod tcp;
