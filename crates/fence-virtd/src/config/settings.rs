//! What the daemon is to do, typed and checked. Nothing else in the daemon sees the file's words.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use fence_cluster::seam::{NameMode, UnknownDomain};
use fence_proto::{Access, HashAlgorithm, Key};

use super::listeners::collide;
use crate::logging::Filter;

/// The key file when none is given.
pub const DEFAULT_KEY_FILE: &str = "/etc/cluster/fence_xvm.key";

/// The port of every listener when none is given.
pub const DEFAULT_PORT: u16 = 1229;

/// The hypervisor when no URI is given.
pub const DEFAULT_URI: &str = "qemu:///system";

/// The cluster's group when none is given: the packaged original's.
pub const DEFAULT_GROUP: &str = "fence-agents";

/// How long a request to the cluster may take when nothing is said: less than the agent's 30 seconds.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The process.
    pub daemon: DaemonSettings,
    /// How requests arrive: at least one listener, none in another's way.
    pub listeners: Vec<Listener>,
    /// Who acts on them.
    pub backend: BackendSettings,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct Listener {
    /// What the log calls it: the name that it was given, else its kind. No two have the same.
    pub name: String,
    /// Where and how it listens.
    pub settings: ListenerSettings,
    /// Who may fence whom through it.
    pub access: Access,
}

impl Listener {
    /// Whether it has the same key, hashes and groups.
    #[must_use]
    pub fn has_rules_of(&self, other: &Self) -> bool {
        let pair = (
            self.settings.authentication(),
            other.settings.authentication(),
        );
        let same_keys = match pair {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_keys && self.access == other.access
    }
}

/// Section `fence_virtd`, apart from `listener` and `backend`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DaemonSettings {
    /// Stay in the foreground.
    pub foreground: bool,
    /// Wait for what is not there yet at the start instead of giving up.
    pub wait_for_init: bool,
    /// What is logged.
    pub debug: Filter,
    /// Where the original looks for plugins. There are none here; a warning says so.
    pub module_path: Option<String>,
}

/// Where and how a listener listens.
#[derive(Debug, Clone)]
pub enum ListenerSettings {
    /// UDP multicast and a call-back over TCP.
    Multicast(MulticastSettings),
    /// TCP.
    Tcp(TcpSettings),
    /// Sockets between host and guest.
    Vsock(VsockSettings),
    /// Serial lines and vmchannels.
    Serial(SerialSettings),
}

impl ListenerSettings {
    /// The keys and hashes; a serial listener has none.
    #[must_use]
    pub const fn authentication(&self) -> Option<&Authentication> {
        match self {
            Self::Multicast(multicast) => Some(&multicast.authentication),
            Self::Tcp(tcp) => Some(&tcp.authentication),
            Self::Vsock(vsock) => Some(&vsock.authentication),
            Self::Serial(_) => None,
        }
    }
}

impl ListenerSettings {
    /// Whether it listens in the same place and in the same way, whatever its keys and hashes are.
    #[must_use]
    pub fn is_where(&self, other: &Self) -> bool {
        use ListenerSettings::{Multicast, Serial, Tcp, Vsock};
        match (self, other) {
            (Multicast(one), Multicast(other)) => {
                let place = (one.address, one.port, &one.interface, one.answer_unknown);
                place
                    == (
                        other.address,
                        other.port,
                        &other.interface,
                        other.answer_unknown,
                    )
            }
            (Tcp(one), Tcp(other)) => one.address == other.address,
            (Vsock(one), Vsock(other)) => one.port == other.port,
            (Serial(one), Serial(other)) => one == other,
            _ => false,
        }
    }

    /// Whether the other one cannot have its sockets while this one has its own.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        use ListenerSettings::{Tcp, Vsock};
        matches!((self, other), (Tcp(_), Tcp(_)) | (Vsock(_), Vsock(_))) && collide(self, other)
    }
}

/// Where it listens, in a few words.
impl fmt::Display for ListenerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multicast(multicast) => {
                let MulticastSettings { address, port, .. } = multicast;
                write!(f, "multicast, group {address} port {port}")?;
                let interface = multicast.interface.as_ref();
                interface.map_or(Ok(()), |interface| write!(f, " on {interface}"))
            }
            Self::Tcp(tcp) => write!(f, "tcp, {}", tcp.address),
            Self::Vsock(vsock) => write!(f, "vsock, port {}", vsock.port),
            Self::Serial(serial) => {
                let mode = match serial.mode {
                    SerialMode::Serial => "serial lines",
                    SerialMode::Vmchannel => "vmchannels",
                };
                write!(f, "serial, {mode}")?;
                let path = serial.path.as_ref();
                path.map_or(Ok(()), |path| write!(f, " below {}", path.display()))
            }
        }
    }
}

/// How a listener knows that a request is authentic.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// The shared key. Always there unless `hash` and `auth` are both none.
    pub key: Option<Key>,
    /// The weakest signature of a frame that is taken.
    pub hash: HashAlgorithm,
    /// The hash of the challenge-response.
    pub auth: HashAlgorithm,
}

impl Authentication {
    fn is(&self, other: &Self) -> bool {
        let same_key = match (&self.key, &other.key) {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_key && (self.hash, self.auth) == (other.hash, other.auth)
    }
}

/// Section `listeners { multicast }`.
#[derive(Debug, Clone)]
pub struct MulticastSettings {
    /// Keys and hashes.
    pub authentication: Authentication,
    /// The group, a multicast address of the configured family.
    pub address: IpAddr,
    /// The UDP port, never 0.
    pub port: u16,
    /// The only interface to join on; none for all.
    pub interface: Option<String>,
    /// Whether requests for domains that this host does not have are answered.
    pub answer_unknown: bool,
}

/// Section `listeners { tcp }`.
#[derive(Debug, Clone)]
pub struct TcpSettings {
    /// Keys and hashes.
    pub authentication: Authentication,
    /// Where to listen: an address of the configured family, a port that is never 0.
    pub address: SocketAddr,
}

/// Section `listeners { vsock }`.
#[derive(Debug, Clone)]
pub struct VsockSettings {
    /// Keys and hashes.
    pub authentication: Authentication,
    /// The vsock port, neither 0 nor 0xffffffff (any).
    pub port: u32,
}

/// Section `listeners { serial }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialSettings {
    /// The hypervisor whose domains are served; none for libvirt's default.
    pub uri: Option<String>,
    /// The directory in which sockets must be; absolute. None: anywhere.
    pub path: Option<PathBuf>,
    /// Which sockets of a domain are served.
    pub mode: SerialMode,
}

/// Which sockets of a domain the serial listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SerialMode {
    /// `<serial type='unix'>`.
    Serial,
    /// `<channel type='unix'>`.
    Vmchannel,
}

/// The chosen backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendSettings {
    /// libvirt on this host.
    Libvirt(LibvirtSettings),
    /// libvirt on all hosts of a corosync cluster.
    Cpg(CpgSettings),
}

impl BackendSettings {
    /// The keys whose values differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let pairs = match (self, other) {
            (Self::Libvirt(one), Self::Libvirt(other)) => vec![("uri", one.uris == other.uris)],
            (Self::Cpg(one), Self::Cpg(other)) => vec![
                ("uri", one.uris == other.uris),
                ("name_mode", one.name_mode == other.name_mode),
                ("group", one.group == other.group),
                (
                    "request_timeout",
                    one.request_timeout == other.request_timeout,
                ),
                ("unknown_domain", one.unknown_domain == other.unknown_domain),
                ("fence_proof", one.fence_proof == other.fence_proof),
                ("hosts", one.hosts == other.hosts),
            ],
            _ => vec![("backend", false)],
        };
        let different = pairs.into_iter().filter(|(_, same)| !same);
        different.map(|(key, _)| key).collect()
    }
}

/// Section `backends { libvirt }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibvirtSettings {
    /// The hypervisors, each once, at least one.
    pub uris: Vec<String>,
}

/// Section `backends { cpg }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpgSettings {
    /// The hypervisors of this host, each once, at least one.
    pub uris: Vec<String>,
    /// What the original's messages call a domain.
    pub name_mode: NameMode,
    /// The closed process group, 1 to 127 bytes.
    pub group: String,
    /// A request is decided in this time: 1 to 25 seconds.
    pub request_timeout: Duration,
    /// What is said of a domain that nobody has ever heard of.
    pub unknown_domain: UnknownDomain,
    /// How it is found out that a host was fenced; none: by what is installed.
    pub fence_proof: Option<FenceProof>,
    /// Which of corosync's hosts may run domains; empty for all.
    pub hosts: Vec<CpgHost>,
}

/// Who proves that a host was fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceProof {
    /// The history of pacemaker's fencer.
    Pacemaker,
    /// A program, by its absolute path.
    Command(PathBuf),
    /// Nobody.
    None,
}

/// A host, as corosync's configuration calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CpgHost {
    /// By its `nodeid`.
    Id(u32),
    /// By its `name`, else its address.
    Name(String),
}

impl fmt::Display for CpgHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
