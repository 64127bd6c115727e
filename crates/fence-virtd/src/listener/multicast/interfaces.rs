//! The machine's network interfaces, as far as joining groups on them goes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// An interface that exists at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its name.
    pub(super) name: String,
    /// Its index, which changes when it is deleted and made again.
    pub(super) index: u32,
    /// Whether it is up.
    pub(super) up: bool,
    /// Whether it is up, can do multicast, and is not a port of a bridge or bond: what arrives on
    /// a guest's tap device is delivered on the bridge, and joins per socket are few (20).
    pub(super) worth_joining: bool,
}

/// All interfaces, by name.
pub(super) fn all() -> io::Result<Vec<Interface>> {
    let mut flags: BTreeMap<String, InterfaceFlags> = BTreeMap::new();
    for address in getifaddrs()? {
        flags.entry(address.interface_name).or_insert(address.flags);
    }
    Ok(flags
        .into_iter()
        .filter_map(|(name, flags)| interface(name, flags))
        .collect())
}

fn interface(name: String, flags: InterfaceFlags) -> Option<Interface> {
    // One that vanished since it was listed has no index.
    let index = if_nametoindex(name.as_str()).ok()?;
    let up = flags.contains(InterfaceFlags::IFF_UP);
    let worth_joining = up && flags.contains(InterfaceFlags::IFF_MULTICAST) && !has_master(&name);
    Some(Interface {
        name,
        index,
        up,
        worth_joining,
    })
}

/// A member of a VRF has a master too, but keeps its own traffic.
fn has_master(name: &str) -> bool {
    let master = Path::new("/sys/class/net").join(name).join("master");
    master.exists()
        && !fs::read_to_string(master.join("uevent"))
            .is_ok_and(|uevent| uevent.lines().any(|line| line == "DEVTYPE=vrf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_not_joined_unless_named() {
        let all = all().unwrap();
        let lo = all.iter().find(|interface| interface.name == "lo").unwrap();
        assert!(lo.index > 0);
        assert!(!lo.worth_joining);
    }
}
