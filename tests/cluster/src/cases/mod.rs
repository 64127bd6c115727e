//! The cases, in the table's order.

mod daemons;
mod healthy;
mod libvirt;
mod membership;
mod migration;
mod mixed;
mod proof;
mod races;
mod records;
mod starts;

use std::fs;
use std::thread;
use std::time::Duration;

use fence_lab::agent::Running;
use fence_lab::{Verdict, wait};

use crate::case::Case;
use crate::host::PATIENCE;
use crate::names::HostId;

/// Only the host that has `vm1`.
const A: &[HostId] = &[HostId::A];
/// Only the second host.
const B: &[HostId] = &[HostId::B];
/// Only the third host.
const C: &[HostId] = &[HostId::C];
/// Every host hears it.
const EVERY: &[HostId] = &HostId::ALL;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [
        healthy::CASES,
        daemons::CASES,
        membership::CASES,
        libvirt::CASES,
        records::CASES,
        migration::CASES,
        starts::CASES,
        mixed::CASES,
        races::CASES,
        proof::CASES,
    ]
    .concat()
}

/// Waits until a host has called the agent back, and gives the request the moment that it takes from
/// there to the other hosts.
fn under_way(agent: &Running) -> Verdict {
    called_back(agent)?;
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

/// Waits until a host has called the agent back.
fn called_back(agent: &Running) -> Verdict {
    let table = format!("/proc/{}/net/tcp", agent.process.pid());
    wait::until("a host to call the agent back", PATIENCE, || {
        // Nothing to read: the agent has ended already.
        let Ok(sockets) = fs::read_to_string(&table) else {
            return true;
        };
        // Port 1229, established or just closed.
        let called = |line: &str| line.contains(":04CD ") && !line.contains(" 0A ");
        sockets.lines().any(called)
    })
}
