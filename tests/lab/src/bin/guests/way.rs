//! How a guest reaches the host.

use core::fmt::Write;

use fence_lab::net::{BRIDGE, host_address};
use fence_lab::{Failure, Side};
use fence_proto::Family;

use crate::stage::Stage;

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `fence_xvm` over IPv4.
    Multicast4,
    /// `fence_xvm` over IPv6.
    Multicast6,
    /// `fence_virt -T`.
    Tcp,
    /// `fence_virt -D`.
    Serial,
    /// `fence_virt -A`.
    Vmchannel,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Multicast4,
        Self::Multicast6,
        Self::Tcp,
        Self::Serial,
        Self::Vmchannel,
    ];

    /// For reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Multicast4 => "multicast ipv4",
            Self::Multicast6 => "multicast ipv6",
            Self::Tcp => "tcp",
            Self::Serial => "serial",
            Self::Vmchannel => "vmchannel",
        }
    }

    /// The address family.
    pub(crate) const fn family(self) -> Family {
        match self {
            Self::Multicast6 => Family::Ipv6,
            _ => Family::Ipv4,
        }
    }

    /// The agent's command line in a guest, but for what it is to do.
    pub(crate) fn agent(self, side: Side) -> String {
        let (program, options) = match self {
            Self::Multicast4 => ("fence_xvm", "-i ipv4 -a 225.0.0.12".to_owned()),
            Self::Multicast6 => ("fence_xvm", "-i ipv6 -a ff05::3:1".to_owned()),
            Self::Tcp => ("fence_virt", format!("-T {}", host_address(Family::Ipv4))),
            Self::Serial => ("fence_virt", "-D /dev/ttyS1".to_owned()),
            Self::Vmchannel => ("fence_virt", "-A 10.0.2.179".to_owned()),
        };
        format!("/opt/{side}/{program} {options}")
    }

    /// The listener in the daemon's configuration.
    pub(crate) const fn listener(self) -> &'static str {
        match self {
            Self::Multicast4 | Self::Multicast6 => "multicast",
            Self::Tcp => "tcp",
            Self::Serial | Self::Vmchannel => "serial",
        }
    }

    /// What is in the listener's section.
    pub(crate) fn section(self, stage: &Stage, side: Side) -> Result<String, Failure> {
        let mut text = String::new();
        let family = self.family();
        match self {
            Self::Multicast4 => writeln!(text, "interface = \"{BRIDGE}\";")?,
            Self::Multicast6 => {
                writeln!(text, "interface = \"{BRIDGE}\"; family = \"ipv6\";")?;
            }
            Self::Tcp => writeln!(text, "address = \"{}\";", host_address(family))?,
            Self::Serial => writeln!(text, "mode = \"serial\";")?,
            Self::Vmchannel => writeln!(text, "mode = \"vmchannel\";")?,
        }
        let is_line = self.listener() == "serial";
        if is_line {
            let path = stage.directory.join(self.name());
            writeln!(text, "uri = \"{}\";", stage.host.uri())?;
            writeln!(text, "path = \"{}\";", path.display())?;
        }
        // The original wants a key for lines too, and never uses it.
        if !is_line || side == Side::C {
            let key = stage.directory.join("key");
            writeln!(text, "key_file = \"{}\";", key.display())?;
        }
        Ok(text)
    }
}
