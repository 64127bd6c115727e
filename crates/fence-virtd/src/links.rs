//! The machine's network interfaces, as far as they matter for hearing guests: what the wizard offers and `--check`
//! judges. What the multicast listener joins is its own affair (`listener/multicast/interfaces.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

/// Where the kernel tells of interfaces.
const SYS: &str = "/sys/class/net";

/// How a bridge treats multicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    /// It sends groups only where somebody has asked for them.
    pub snooping: bool,
    /// It asks itself who wants which group.
    pub querier: bool,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// It is up.
    pub up: bool,
    /// It has a carrier: something is at the other end.
    pub running: bool,
    /// It can do multicast.
    pub multicast: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The bridge or bond that it is a port of; not a VRF, whose members keep their traffic.
    pub master: Option<String>,
    /// Set if it is a bridge whose settings can be read.
    pub bridge: Option<Bridge>,
}

impl Link {
    /// Whether the multicast listener joins groups on it when no interface is named.
    #[must_use]
    pub const fn is_worth_joining(&self) -> bool {
        self.up && self.multicast && self.master.is_none()
    }
}

/// All interfaces, by name.
///
/// # Errors
/// If the kernel does not list them.
pub fn all() -> io::Result<Vec<Link>> {
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    for entry in getifaddrs()? {
        let link = links
            .entry(entry.interface_name.clone())
            .or_insert_with(|| link(&entry));
        let address = entry.address.and_then(|address| {
            let four = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
        });
        link.addresses.extend(address);
    }
    Ok(links.into_values().collect())
}

fn link(entry: &InterfaceAddress) -> Link {
    let name = &entry.interface_name;
    let directory = Path::new(SYS).join(name);
    let has = |flag| entry.flags.contains(flag);
    Link {
        name: name.clone(),
        up: has(InterfaceFlags::IFF_UP),
        running: has(InterfaceFlags::IFF_RUNNING),
        multicast: has(InterfaceFlags::IFF_MULTICAST),
        addresses: Vec::new(),
        master: master(&directory),
        bridge: bridge(&directory),
    }
}

fn master(directory: &Path) -> Option<String> {
    let master = directory.join("master");
    let target = fs::read_link(&master).ok()?;
    let vrf = fs::read_to_string(master.join("uevent"))
        .is_ok_and(|uevent| uevent.lines().any(|line| line == "DEVTYPE=vrf"));
    let name = target.file_name()?.to_str()?.to_owned();
    (!vrf).then_some(name)
}

fn bridge(directory: &Path) -> Option<Bridge> {
    let flag = |name: &str| {
        let text = fs::read_to_string(directory.join("bridge").join(name)).ok()?;
        Some(text.trim() != "0")
    };
    Some(Bridge {
        snooping: flag("multicast_snooping")?,
        querier: flag("multicast_querier")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_with_its_address_and_is_no_bridge() {
        let all = all().unwrap();
        let lo = all.iter().find(|link| link.name == "lo").unwrap();
        assert!(lo.bridge.is_none() && lo.master.is_none());
        assert!(!lo.is_worth_joining());
        assert!(!lo.up || lo.addresses.contains(&"127.0.0.1".parse().unwrap()));
    }
}
