//! From the options to what the program does: typed and validated before anything else sees it.

use core::fmt;
use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use fence_proto::{Action, DomainRef, Family, HashAlgorithm};

use crate::input::{Given, Input, InputError};
use crate::listing::ListForm;
use crate::options::Opt;
use crate::role::Role;
use crate::serial_params::SerialParams;
use crate::target;
use crate::value::{self, Command};

/// The default key file.
const KEY_FILE: &str = "/etc/cluster/fence_xvm.key";

/// The default groups (section 2).
const GROUP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(225, 0, 0, 12));
const GROUP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 3, 1));

/// The default address of the VM channel (section 6).
const CHANNEL: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 179);

/// The default port of every network transport.
const PORT: u16 = 1229;

/// What the program is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Print the usage text.
    Usage,
    /// Print the version.
    Version,
    /// Print the manual page.
    Manual,
    /// Print the metadata.
    Metadata,
    /// Check the settings.
    Validate(Box<Settings>),
    /// Look for what would keep this guest from fencing.
    Check {
        /// The settings.
        settings: Box<Settings>,
        /// Whether programs read the result.
        json: bool,
    },
    /// Ask a host.
    Ask(Action, Box<Settings>),
}

/// Everything about a request but the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How much to say on stderr.
    pub debug: u8,
    /// The domain; empty where none is needed.
    pub domain: DomainRef,
    /// Whether to mark it as a UUID.
    pub use_uuid: bool,
    /// The bound on the whole request.
    pub timeout: Duration,
    /// How long to wait before a request that changes something.
    pub delay: Duration,
    /// How the request is signed.
    pub hash: HashAlgorithm,
    /// How host and agent prove themselves.
    pub auth: HashAlgorithm,
    /// Where the key is.
    pub key_file: PathBuf,
    /// Whether the caller named the key file.
    pub key_file_given: bool,
    /// How hosts are reached.
    pub mode: Mode,
    /// How a list is written.
    pub list: ListForm,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mode.fmt(f)?;
        write!(f, ", time-out {} s", self.timeout.as_secs())?;
        if matches!(self.mode, Mode::Line(_)) {
            return Ok(());
        }
        let (hash, auth) = (self.hash, self.auth);
        let key_file = self.key_file.display();
        write!(f, ", hash {hash}, auth {auth}, key file {key_file}")
    }
}

/// How hosts are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Over a network that others share.
    Network(Network),
    /// By a line that belongs to this guest alone: no key, no handshake.
    Line(Line),
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Line(line) => line.fmt(f),
        }
    }
}

/// A network to the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// By multicast, with call-backs.
    Multicast(Multicast),
    /// By TCP.
    Tcp(SocketAddr),
    /// By vsock.
    Vsock {
        /// The peer's CID.
        cid: u32,
        /// The peer's port.
        port: u32,
    },
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multicast(multicast) => {
                let Multicast { group, port, .. } = multicast;
                write!(f, "multicast to {group} port {port}")?;
                match &multicast.interface {
                    Some(interface) => write!(f, " on {interface}"),
                    None => Ok(()),
                }
            }
            Self::Tcp(address) => write!(f, "TCP to {address}"),
            Self::Vsock { cid, port } => write!(f, "vsock to CID {cid} port {port}"),
        }
    }
}

/// A line to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A serial device.
    Serial {
        /// The device.
        device: PathBuf,
        /// Its speed and framing.
        params: SerialParams,
    },
    /// A VM channel: a TCP connection that the hypervisor takes.
    Channel(SocketAddr),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { device, params } => {
                write!(f, "serial device {} at {params}", device.display())
            }
            Self::Channel(address) => write!(f, "VM channel {address}"),
        }
    }
}

/// Where multicast requests go, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multicast {
    /// The group.
    pub group: IpAddr,
    /// Its port, and the port of the call-back.
    pub port: u16,
    /// Time between two requests.
    pub retransmit: Duration,
    /// The only interface to ask out of.
    pub interface: Option<String>,
}

/// Makes the plan. Help, version and metadata are answered whatever the other options say (row
/// L32).
///
/// # Errors
/// [`InputError`] for the first option that is wrong.
pub fn plan(role: Role, input: &Input) -> Result<Plan, InputError> {
    for (id, plan) in [
        (Opt::Help, Plan::Usage),
        (Opt::Version, Plan::Version),
        (Opt::Manual, Plan::Manual),
    ] {
        if input.last(id).is_some() {
            return Ok(plan);
        }
    }
    let action = input
        .last(Opt::Action)
        .or_else(|| input.last(Opt::OldAction));
    let command = action.map_or(Ok(Command::Ask(Action::Reboot)), value::command)?;
    let json = input.last(Opt::Json).is_some();
    if input.last(Opt::Check).is_some() {
        // Whatever the action: nothing is done.
        let settings = Box::new(settings(role, input)?);
        return Ok(Plan::Check { settings, json });
    }
    if json {
        return Err(InputError::JsonAlone);
    }
    match command {
        Command::Metadata => Ok(Plan::Metadata),
        Command::ValidateAll => Ok(Plan::Validate(Box::new(settings(role, input)?))),
        Command::ListStatus => {
            let mut settings = settings(role, input)?;
            if let ListForm::Separated { has_state, .. } = &mut settings.list {
                *has_state = true;
            }
            Ok(Plan::Ask(Action::List, Box::new(settings)))
        }
        Command::Ask(action) => {
            let settings = settings(role, input)?;
            if action.needs_domain() && settings.domain.is_empty() {
                return Err(InputError::NoDomain(action.name()));
            }
            Ok(Plan::Ask(action, Box::new(settings)))
        }
    }
}

fn settings(role: Role, input: &Input) -> Result<Settings, InputError> {
    let key_file = input
        .last(Opt::KeyFile)
        .map(|given| value::text(given, "the path of the key file"))
        .transpose()?;
    Ok(Settings {
        debug: debug(input)?,
        domain: target::domain(input)?,
        use_uuid: or(input, Opt::UseUuid, false, value::flag)?,
        timeout: or(input, Opt::Timeout, Duration::from_secs(30), value::timeout)?,
        delay: or(input, Opt::Delay, Duration::ZERO, value::delay)?,
        hash: or(input, Opt::Hash, HashAlgorithm::Sha256, value::hash)?,
        auth: or(input, Opt::Auth, HashAlgorithm::Sha256, value::hash)?,
        key_file: key_file.unwrap_or(KEY_FILE).into(),
        key_file_given: key_file.is_some(),
        mode: mode(role, input)?,
        list: list(input)?,
    })
}

/// The value of an option's last occurrence, or its default.
fn or<T>(
    input: &Input,
    id: Opt,
    default: T,
    read: impl Fn(&Given) -> Result<T, InputError>,
) -> Result<T, InputError> {
    input.last(id).map_or(Ok(default), read)
}

/// On the command line each `-d` counts one; a value sets the level.
fn debug(input: &Input) -> Result<u8, InputError> {
    input.all(Opt::Debug).try_fold(0_u8, |level, given| {
        let value = value::level(given)?;
        Ok(if given.value.is_some() {
            value
        } else {
            level.saturating_add(1)
        })
    })
}

fn list(input: &Input) -> Result<ListForm, InputError> {
    let separator = input.last(Opt::Separator).map(value::separator);
    Ok(separator
        .transpose()?
        .map_or(ListForm::Original, |separator| ListForm::Separated {
            separator,
            has_state: false,
        }))
}

fn mode(role: Role, input: &Input) -> Result<Mode, InputError> {
    let port = or(input, Opt::IpPort, PORT, value::port)?;
    if role == Role::Xvm {
        let multicast = multicast(input, port)?;
        return Ok(Mode::Network(Network::Multicast(multicast)));
    }
    // What is said of a line must be right even where the line is not used.
    let line = line(input, port)?;
    let network = match (input.last(Opt::IpAddr), input.last(Opt::Vsock)) {
        (Some(_), Some(_)) => return Err(InputError::TwoTransports),
        (Some(address), None) => Network::Tcp(value::tcp_address(address, port)?),
        (None, Some(cid)) => Network::Vsock {
            cid: value::cid(cid)?,
            port: u32::from(port),
        },
        (None, None) => return Ok(Mode::Line(line)),
    };
    Ok(Mode::Network(network))
}

/// The serial device if one is named, else the VM channel, as the original does. It says that
/// /dev/ttyS1 is the default device, but never opens it unasked.
fn line(input: &Input, port: u16) -> Result<Line, InputError> {
    let device = input.last(Opt::SerialDevice);
    let device = device
        .map(|given| value::text(given, "the path of a serial device"))
        .transpose()?;
    let default = SerialParams::default();
    let params = or(input, Opt::SerialParams, default, value::serial_params)?;
    let channel = SocketAddr::from((CHANNEL, port));
    let channel = or(input, Opt::ChannelAddress, channel, |given| {
        value::tcp_address(given, port)
    })?;
    Ok(
        device.map_or(Line::Channel(channel), |device| Line::Serial {
            device: device.into(),
            params,
        }),
    )
}

fn multicast(input: &Input, port: u16) -> Result<Multicast, InputError> {
    let family = or(input, Opt::IpFamily, None, family)?;
    let group = match (input.last(Opt::MulticastAddress), family) {
        (None, Some(Family::Ipv6)) => GROUP_V6,
        (None, _) => GROUP_V4,
        (Some(given), family) => {
            let group = value::multicast_group(given)?;
            // The address decides for `auto` (row F21).
            if let Some(family) = family.filter(|family| *family != Family::of(group)) {
                let family = family.name();
                return Err(value::bad(
                    given,
                    format!("an {family} address, as ip_family says"),
                ));
            }
            group
        }
    };
    Ok(Multicast {
        group,
        port,
        retransmit: or(
            input,
            Opt::Retrans,
            Duration::from_secs(2),
            value::retransmit,
        )?,
        interface: input
            .last(Opt::Interface)
            .map(value::interface)
            .transpose()?,
    })
}

fn family(given: &Given) -> Result<Option<Family>, InputError> {
    let value = given.value.as_deref().unwrap_or_default();
    match value.to_ascii_lowercase().as_str() {
        "auto" => Ok(None),
        "ipv4" => Ok(Some(Family::Ipv4)),
        "ipv6" => Ok(Some(Family::Ipv6)),
        _ => Err(value::bad(given, "auto, ipv4 or ipv6")),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
