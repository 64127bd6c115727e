//! A bridge with a host and two guests, in network namespaces: what libvirt's virbr0 is to guests.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};

use crate::error::BenchError;

/// The host's interface.
pub(crate) const BRIDGE: &str = "virbr0";

/// The host's address on the bridge.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 229, 0, 1);

/// Three namespaces that vanish with the value.
#[derive(Debug)]
pub(crate) struct Lan {
    prefix: String,
}

/// A guest on the bridge.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    namespace: String,
    /// Its address.
    pub(crate) address: Ipv4Addr,
}

impl Lan {
    /// Builds it; needs root.
    pub(crate) fn new() -> Result<Self, BenchError> {
        let lan = Self {
            prefix: format!("fence-bench-{}", std::process::id()),
        };
        let host = lan.host_namespace();
        for name in [host.clone(), lan.guest(1).namespace, lan.guest(2).namespace] {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        ip(&format!(
            "-n {host} link add {BRIDGE} type bridge mcast_snooping 0"
        ))?;
        ip(&format!("-n {host} addr add {HOST}/24 dev {BRIDGE}"))?;
        ip(&format!("-n {host} link set {BRIDGE} up"))?;
        ip(&format!("-n {host} route add 224.0.0.0/4 dev {BRIDGE}"))?;
        for number in [1, 2] {
            let Guest { namespace, address } = lan.guest(number);
            ip(&format!(
                "-n {host} link add vnet{number} type veth peer name eth0 netns {namespace}"
            ))?;
            ip(&format!(
                "-n {host} link set vnet{number} master {BRIDGE} up"
            ))?;
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
            ip(&format!("-n {namespace} route add default via {HOST}"))?;
        }
        Ok(lan)
    }

    /// The namespace where daemons run.
    pub(crate) fn host_namespace(&self) -> String {
        format!("{}-dom0", self.prefix)
    }

    /// A guest by its number, 1 or 2.
    pub(crate) fn guest(&self, number: u8) -> Guest {
        Guest {
            namespace: format!("{}-g{number}", self.prefix),
            address: Ipv4Addr::new(10, 229, 0, number.saturating_add(10)),
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let guests = [self.guest(1).namespace, self.guest(2).namespace];
        for name in guests.iter().chain([&self.host_namespace()]) {
            // One that was not made cannot be removed.
            let _ignored = ip(&format!("netns del {name}"));
        }
    }
}

impl Guest {
    /// Runs something on a thread of its own inside the guest's network.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<Result<T, BenchError>> {
        let path = std::path::PathBuf::from("/run/netns").join(&self.namespace);
        thread::spawn(move || {
            let namespace = File::open(&path).map_err(BenchError::file(&path))?;
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .map_err(BenchError::io("enter a guest's network"))?;
            Ok(work())
        })
    }
}

fn ip(arguments: &str) -> Result<(), BenchError> {
    let failed = |message: String| BenchError::Command {
        command: format!("ip {arguments}"),
        message,
    };
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
