//! The nodes of the cluster and the domains that they are.

use core::fmt;

/// A node: a guest, as pacemaker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeId {
    /// Corosync's node 1.
    Alpha,
    /// Corosync's node 2.
    Beta,
    /// Corosync's node 3.
    Gamma,
}

impl NodeId {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Alpha, Self::Beta, Self::Gamma];

    /// Corosync's id of it.
    pub(crate) const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Its name for corosync, pacemaker and its kernel.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Alpha => "alpha",
            Self::Beta => "beta",
            Self::Gamma => "gamma",
        }
    }

    /// Its name for libvirt: another one, so that nothing works without a map.
    pub(crate) const fn domain(self) -> &'static str {
        match self {
            Self::Alpha => "vm-alpha",
            Self::Beta => "vm-beta",
            Self::Gamma => "vm-gamma",
        }
    }

    /// libvirt's UUID of it.
    pub(crate) fn uuid(self) -> String {
        format!("6f1dd3a0-45a1-4b6e-9d5c-0a4f7c2e9c{:02}", self.number())
    }

    /// Its address on the host's bridge.
    pub(crate) fn address(self) -> String {
        format!("10.77.0.{}", 10 + self.number())
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
