//! Configuration files for a daemon under test.

use core::fmt::{self, Write};
use std::path::PathBuf;

use fence_proto::{Family, HashAlgorithm};

use crate::failure::Failure;
use crate::net::{BRIDGE, host_address};
use crate::programs::Side;

/// Where the packaged C daemon keeps its plug-ins; it has no usable default for a custom file.
pub const C_MODULES: &str = "/usr/lib/x86_64-linux-gnu/fence-virt";

/// The listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `fence_xvm`.
    Multicast,
    /// `fence_virt -T`.
    Tcp,
}

impl Transport {
    /// The listener's name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multicast => "multicast",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A group of the access rules, as it is written.
#[derive(Debug, Clone, Default)]
pub struct GroupText {
    /// Values of `uuid`.
    pub members: Vec<String>,
    /// Values of `ip`.
    pub sources: Vec<String>,
}

/// What a daemon is told.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The listener.
    pub transport: Transport,
    /// The address family.
    pub family: Family,
    /// UDP and TCP port.
    pub port: u16,
    /// Weakest packet hash.
    pub hash: HashAlgorithm,
    /// Hash of the challenges.
    pub auth: HashAlgorithm,
    /// The shared key.
    pub key_file: PathBuf,
    /// `interface` of the multicast listener; `None` leaves the key out.
    pub interface: Option<String>,
    /// `address`; `None` means the group's default for multicast, the host's own for TCP.
    pub address: Option<String>,
    /// The hypervisors.
    pub uris: Vec<String>,
    /// Access rules; none at all allow everything.
    pub groups: Vec<GroupText>,
    /// `answer_unknown` of the multicast listener: ours alone knows it.
    pub answer_unknown: bool,
    /// A whole file in the place of what the fields say, which then describe one of its listeners.
    pub whole: Option<String>,
}

impl HostConfig {
    /// sha256 both ways, everything allowed.
    #[must_use]
    pub fn new(transport: Transport, family: Family, port: u16) -> Self {
        Self {
            transport,
            family,
            port,
            hash: HashAlgorithm::Sha256,
            auth: HashAlgorithm::Sha256,
            key_file: PathBuf::new(),
            interface: (transport == Transport::Multicast).then(|| BRIDGE.to_owned()),
            address: None,
            uris: Vec::new(),
            groups: Vec::new(),
            answer_unknown: true,
            whole: None,
        }
    }

    /// The multicast group or listening address.
    #[must_use]
    pub fn address(&self) -> String {
        self.address
            .clone()
            .unwrap_or_else(|| match (self.transport, self.family) {
                (Transport::Multicast, Family::Ipv4) => "225.0.0.12".to_owned(),
                (Transport::Multicast, Family::Ipv6) => "ff05::3:1".to_owned(),
                (Transport::Tcp, family) => host_address(family).to_string(),
            })
    }

    /// What an agent must use against a daemon with this configuration.
    ///
    /// The C TCP listener writes the value of `auth` into `hash` and leaves `auth` at sha256 (row
    /// L21), so against it the configuration means something else than it says.
    #[must_use]
    pub fn effective(&self, side: Side) -> (HashAlgorithm, HashAlgorithm) {
        match (side, self.transport) {
            (Side::C, Transport::Tcp) => (self.auth, HashAlgorithm::Sha256),
            _ => (self.hash, self.auth),
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// None that can happen; writing to a string is fallible in form.
    pub fn text(&self, side: Side) -> Result<String, Failure> {
        if let Some(whole) = &self.whole {
            return Ok(whole.clone());
        }
        let mut text = String::new();
        writeln!(text, "fence_virtd {{\n\tlistener = \"{}\";", self.transport)?;
        writeln!(text, "\tbackend = \"libvirt\";")?;
        if side == Side::C {
            writeln!(text, "\tmodule_path = \"{C_MODULES}\";")?;
        }
        writeln!(text, "}}\nlisteners {{\n\t{} {{", self.transport)?;
        writeln!(text, "\t\tkey_file = \"{}\";", self.key_file.display())?;
        writeln!(
            text,
            "\t\thash = \"{}\";\n\t\tauth = \"{}\";",
            self.hash, self.auth
        )?;
        writeln!(text, "\t\tfamily = \"{}\";", self.family.name())?;
        writeln!(
            text,
            "\t\taddress = \"{}\";\n\t\tport = \"{}\";",
            self.address(),
            self.port
        )?;
        if let Some(interface) = &self.interface {
            writeln!(text, "\t\tinterface = \"{interface}\";")?;
        }
        if !self.answer_unknown && side == Side::Ours {
            writeln!(text, "\t\tanswer_unknown = \"no\";")?;
        }
        writeln!(text, "\t}}\n}}\nbackends {{\n\tlibvirt {{")?;
        for (index, uri) in self.uris.iter().enumerate() {
            let number = if index == 0 {
                String::new()
            } else {
                index.to_string()
            };
            writeln!(text, "\t\turi{number} = \"{uri}\";")?;
        }
        writeln!(text, "\t}}\n}}")?;
        write_groups(&self.groups, &mut text)?;
        Ok(text)
    }
}

/// Appends the access rules, if there are any.
///
/// # Errors
/// None that can happen; writing to a string is fallible in form.
pub fn write_groups(groups: &[GroupText], text: &mut String) -> Result<(), Failure> {
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(text, "groups {{")?;
    for group in groups {
        writeln!(text, "\tgroup {{")?;
        for member in &group.members {
            writeln!(text, "\t\tuuid = \"{member}\";")?;
        }
        for source in &group.sources {
            writeln!(text, "\t\tip = \"{source}\";")?;
        }
        writeln!(text, "\t}}")?;
    }
    writeln!(text, "}}")?;
    Ok(())
}
