//! The test lab: what the interop matrix and the hostile suite are made of.
//!
//! Guests and host are network namespaces on one machine, the hypervisor is libvirt's test driver,
//! the programs are ours or the packaged C ones. The two binaries `interop` and `hostile` hold the
//! cases; this library holds what they share. It knows the wire format through `fence-proto` and
//! nothing else of the product: daemon and agent are only ever run as programs.

pub mod agent;
pub mod config;
pub mod domains;
pub mod failure;
pub mod forge;
pub mod host;
pub mod libvirtd;
pub mod line;
pub mod machine;
pub mod net;
pub mod peer;
pub mod process;
pub mod procs;
pub mod programs;
pub mod proxy;
pub mod reaper;
pub mod report;
pub mod suite;
pub mod vm;
pub mod wait;

pub use agent::{Agent, Answer};
pub use config::{HostConfig, Transport};
pub use failure::{Failure, Verdict};
pub use host::Host;
pub use net::{Guest, Net};
pub use programs::{Programs, Side};
pub use report::{Group, Report};
