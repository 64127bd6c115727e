//! What the cluster consists of, by name: hosts, domains, addresses.

use core::fmt;

/// A physical host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostId {
    /// Corosync's node 1; has `vm1`.
    A,
    /// Corosync's node 2; has `vm2`.
    B,
    /// Corosync's node 3; has `vm3`. The highest id: of C daemons the one that answers for the unknown.
    C,
}

impl HostId {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    /// Its place in arrays.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Corosync's id of it.
    pub(crate) const fn node(self) -> u8 {
        self as u8 + 1
    }

    /// Its name, for corosync, pacemaker and the kernel.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::A => "host-a",
            Self::B => "host-b",
            Self::C => "host-c",
        }
    }

    /// Its address in the network of the cluster: corosync, migration.
    pub(crate) fn cluster_address(self) -> String {
        format!("10.78.1.{}", self.node())
    }

    /// Its address in the network of the guests: requests and call-backs.
    pub(crate) fn guest_address(self) -> String {
        format!("10.78.2.{}", self.node())
    }

    /// The domain that it has in a healthy cluster.
    pub(crate) const fn domain(self) -> Domain {
        match self {
            Self::A => VM1,
            Self::B => VM2,
            Self::C => VM3,
        }
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Domain {
    /// libvirt's name.
    pub(crate) name: &'static str,
    /// libvirt's UUID.
    pub(crate) uuid: &'static str,
}

/// The one that is fenced.
pub(crate) const VM1: Domain = Domain {
    name: "vm1",
    uuid: "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c01",
};
/// Of the second host; never fenced but where a case says so.
pub(crate) const VM2: Domain = Domain {
    name: "vm2",
    uuid: "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c02",
};
/// Of the third host.
pub(crate) const VM3: Domain = Domain {
    name: "vm3",
    uuid: "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c03",
};
/// Has the name of [`VM1`], and is another one.
pub(crate) const IMPOSTOR: Domain = Domain {
    name: "vm1",
    uuid: "6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c11",
};

/// A name that no domain has.
pub(crate) const NOBODY: &str = "nobody";

/// The agents' addresses in the network of the guests.
pub(crate) const AGENT_ADDRESSES: [&str; 2] = ["10.78.2.9", "10.78.2.10"];
