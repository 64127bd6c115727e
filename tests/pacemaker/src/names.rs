//! The nodes of the cluster and the domains that they are.

use core::fmt;

/// The host's bridge.
pub(crate) const BRIDGE: &str = "virbr0";

/// The host's address there.
pub(crate) const HOST: &str = "192.168.122.1";

/// A node: a guest, as pacemaker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeId {
    /// Corosync's node 1.
    First,
    /// Corosync's node 2.
    Second,
    /// Corosync's node 3.
    Third,
}

impl NodeId {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::First, Self::Second, Self::Third];

    /// Corosync's id of it.
    pub(crate) const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Its name for corosync, pacemaker and its kernel.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::First => "node1",
            Self::Second => "node2",
            Self::Third => "node3",
        }
    }

    /// Its name for libvirt: another one, so that nothing works without a map.
    pub(crate) const fn domain(self) -> &'static str {
        match self {
            Self::First => "vm1",
            Self::Second => "vm2",
            Self::Third => "vm3",
        }
    }

    /// libvirt's UUID of it.
    pub(crate) fn uuid(self) -> String {
        format!("6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c{:02}", self.number())
    }

    /// Its address on the host's bridge, where the host is [`HOST`].
    pub(crate) fn address(self) -> String {
        format!("192.168.122.{}", 10 + self.number())
    }

    /// The others.
    pub(crate) fn others(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |other| *other != self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
