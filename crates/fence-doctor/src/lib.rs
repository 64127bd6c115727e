//! What `fence_virtd --check` and `fence_xvm --check` share: findings and how they are told, what a
//! firewall does with a packet, who has a port, and running things that may hang.
//!
//! Decisions are functions of what was read; reading is [`program`], [`patience`] and [`sockets::read`]. No libvirt,
//! no corosync: the agent links this.

pub mod finding;
pub mod firewall;
pub mod key;
pub mod patience;
pub mod program;
pub mod render;
pub mod sockets;

pub use finding::{Finding, Report, Verdict};
