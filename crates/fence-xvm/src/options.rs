//! The one table of options. It drives the command line, stdin, the usage text, the metadata and
//! the manual pages.
//!
//! Names, letters, types, defaults and marks are those of the original (protocol.md section 10);
//! `interface`, `separator` and the long options are new, and types say more than the original's
//! `string` where every value that it takes is of that type (row D35).

use crate::role::Role;

/// Names an option in code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is described by its row of the table")]
pub enum Opt {
    Debug,
    SerialDevice,
    SerialParams,
    ChannelAddress,
    IpFamily,
    MulticastAddress,
    Interface,
    IpPort,
    Retrans,
    Auth,
    Hash,
    KeyFile,
    Plug,
    Port,
    Domain,
    UseUuid,
    Action,
    OldAction,
    Timeout,
    IpAddr,
    Vsock,
    Delay,
    Separator,
    NodeName,
    NotForUs,
    Check,
    Json,
    Help,
    Version,
    Manual,
}

/// Whether an option takes a value, and what the value is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// No value on the command line.
    None,
    /// Always a value.
    Required(&'static str),
    /// A value only if it is attached to the letter.
    Optional(&'static str),
}

/// The type that the metadata tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// `boolean`
    Boolean,
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `second`: a number of seconds
    Second,
    /// `select`: one of these
    Select(&'static [&'static str]),
}

/// The hashes, as the metadata lists them.
const HASHES: Content = Content::Select(&["none", "sha1", "sha256", "sha512"]);

impl Content {
    /// The word in the metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Second => "second",
            Self::Select(_) => "select",
        }
    }

    /// What there is to choose from, if that is all that is allowed.
    #[must_use]
    pub const fn choices(self) -> &'static [&'static str] {
        match self {
            Self::Select(choices) => choices,
            _ => &[],
        }
    }
}

/// Where an option is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Everywhere: metadata, usage, manual.
    Everywhere {
        /// Pacemaker's word for "the resource needs it".
        required: bool,
        /// The parameter that this one replaces.
        obsoletes: Option<&'static str>,
    },
    /// Metadata only, marked as deprecated.
    Deprecated {
        /// As above.
        required: bool,
    },
    /// Usage and manual only: it is no parameter.
    CommandLine,
    /// Nowhere.
    Nowhere,
}

/// One row.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its name in code.
    pub id: Opt,
    /// The letters of the command line.
    pub letters: &'static [char],
    /// The name on stdin, in the metadata, and of the long option.
    pub name: &'static str,
    /// The value on the command line.
    pub argument: Argument,
    /// The type in the metadata.
    pub content: Content,
    /// The default that is told; the real one is next to the code that needs it.
    pub default: Option<&'static str>,
    /// The only role that has it, if it is not for both.
    pub only: Option<Role>,
    /// Where it is shown.
    pub shown: Shown,
    /// One sentence of help.
    pub help: &'static str,
}

impl OptionSpec {
    /// Whether the role has the option.
    #[must_use]
    pub fn is_for(&self, role: Role) -> bool {
        self.only.is_none_or(|only| only == role)
    }
}

const ORDINARY: Shown = Shown::Everywhere {
    required: false,
    obsoletes: None,
};

/// The options of a role, in the order of the table.
pub fn for_role(role: Role) -> impl Iterator<Item = &'static OptionSpec> {
    OPTIONS.iter().filter(move |spec| spec.is_for(role))
}

/// Finds an option by its letter.
#[must_use]
pub fn by_letter(role: Role, letter: char) -> Option<&'static OptionSpec> {
    for_role(role).find(|spec| spec.letters.contains(&letter))
}

/// Finds an option by its name, in either case, with `-` or `_`.
#[must_use]
pub fn by_name(role: Role, name: &str) -> Option<&'static OptionSpec> {
    let name = name.replace('-', "_");
    for_role(role).find(|spec| spec.name.eq_ignore_ascii_case(&name))
}

/// The row of an option.
#[must_use]
pub fn spec(id: Opt) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|spec| spec.id == id)
}

/// A row with the values that most rows have.
const fn row(id: Opt, letters: &'static [char], name: &'static str) -> OptionSpec {
    OptionSpec {
        id,
        letters,
        name,
        argument: Argument::None,
        content: Content::String,
        default: None,
        only: None,
        shown: ORDINARY,
        help: "",
    }
}

/// Every option of both agents.
pub static OPTIONS: [OptionSpec; 31] = [
    OptionSpec {
        content: Content::Boolean,
        help: "Say on stderr what is done; more often, more of it. On stdin: a level.",
        ..row(Opt::Debug, &['d'], "debug")
    },
    OptionSpec {
        argument: Argument::Required("device"),
        default: Some("/dev/ttyS1"),
        only: Some(Role::Virt),
        help: "Ask over this serial device, which must lead to the host, as /dev/ttyS1 may.",
        ..row(Opt::SerialDevice, &['D'], "serial_device")
    },
    OptionSpec {
        argument: Argument::Required("parameters"),
        default: Some("115200,8N1"),
        only: Some(Role::Virt),
        help: "Speed, data bits, parity and stop bits of the serial device, or its speed alone.",
        ..row(Opt::SerialParams, &['P'], "serial_params")
    },
    OptionSpec {
        argument: Argument::Required("address"),
        default: Some("10.0.2.179"),
        only: Some(Role::Virt),
        help: "The IP address of the VM channel, which is used if no other way is named.",
        ..row(Opt::ChannelAddress, &['A'], "channel_address")
    },
    OptionSpec {
        content: Content::Select(&["auto", "ipv4", "ipv6"]),
        argument: Argument::Required("family"),
        default: Some("auto"),
        only: Some(Role::Xvm),
        help: "The IP family: ipv4, ipv6, or auto: that of the multicast address, else ipv4.",
        ..row(Opt::IpFamily, &['i'], "ip_family")
    },
    OptionSpec {
        argument: Argument::Required("address"),
        only: Some(Role::Xvm),
        help: "The multicast group that the hosts listen to; without it 225.0.0.12 or ff05::3:1.",
        ..row(Opt::MulticastAddress, &['a'], "multicast_address")
    },
    OptionSpec {
        argument: Argument::Required("interface"),
        only: Some(Role::Xvm),
        help: "Ask out of this network interface only; without it, out of all that are up.",
        ..row(Opt::Interface, &['I'], "interface")
    },
    OptionSpec {
        content: Content::Integer,
        argument: Argument::Required("port"),
        default: Some("1229"),
        help: "The port of multicast and of the call-back, or of TCP, VM channel or vsock.",
        ..row(Opt::IpPort, &['p'], "ipport")
    },
    OptionSpec {
        content: Content::Integer,
        argument: Argument::Required("tenths"),
        default: Some("20"),
        only: Some(Role::Xvm),
        help: "Tenths of a second between two requests.",
        ..row(Opt::Retrans, &['r'], "retrans")
    },
    OptionSpec {
        argument: Argument::Required("address"),
        default: Some("127.0.0.1"),
        only: Some(Role::Virt),
        help: "Use TCP and connect to this IP address.",
        ..row(Opt::IpAddr, &['T'], "ipaddr")
    },
    OptionSpec {
        argument: Argument::Optional("cid"),
        content: Content::Integer,
        default: Some("2"),
        only: Some(Role::Virt),
        help: "Use vsock and connect to this CID, attached to the letter; 2 is the host.",
        ..row(Opt::Vsock, &['S'], "vsock")
    },
    OptionSpec {
        content: HASHES,
        argument: Argument::Required("auth"),
        default: Some("sha256"),
        help: "How host and agent prove themselves: none, sha1, sha256 or sha512, as on the host.",
        ..row(Opt::Auth, &['C'], "auth")
    },
    OptionSpec {
        content: HASHES,
        argument: Argument::Required("hash"),
        default: Some("sha256"),
        help: "How requests are signed: none, sha1, sha256 or sha512, at least as on the host.",
        ..row(Opt::Hash, &['c'], "hash")
    },
    OptionSpec {
        argument: Argument::Required("file"),
        default: Some("/etc/cluster/fence_xvm.key"),
        help: "The file with the key that is shared with the hosts.",
        ..row(Opt::KeyFile, &['k'], "key_file")
    },
    OptionSpec {
        argument: Argument::Required("domain"),
        shown: Shown::Everywhere {
            required: true,
            obsoletes: Some("port"),
        },
        help: "The virtual machine to fence: its libvirt domain name or UUID.",
        ..row(Opt::Plug, &['n'], "plug")
    },
    OptionSpec {
        argument: Argument::Required("domain"),
        shown: Shown::Deprecated { required: true },
        help: "The virtual machine to fence; plug is its name today.",
        ..row(Opt::Port, &['H'], "port")
    },
    OptionSpec {
        argument: Argument::Required("domain"),
        shown: Shown::Deprecated { required: false },
        help: "The virtual machine to fence; plug is its name today.",
        ..row(Opt::Domain, &[], "domain")
    },
    OptionSpec {
        content: Content::Boolean,
        default: Some("0"),
        only: Some(Role::Xvm),
        help: "Mark the domain as a UUID. Hosts go by its form; only very old ones need the mark.",
        ..row(Opt::UseUuid, &['u'], "use_uuid")
    },
    OptionSpec {
        argument: Argument::Required("action"),
        default: Some("reboot"),
        help: "What to do: null, off, on, reboot, status, list, list-status, monitor, \
               validate-all or metadata.",
        ..row(Opt::Action, &['o'], "action")
    },
    OptionSpec {
        argument: Argument::Required("action"),
        default: Some("reboot"),
        shown: Shown::Nowhere,
        help: "The older name of action, which wins if both are there.",
        ..row(Opt::OldAction, &[], "option")
    },
    OptionSpec {
        content: Content::Second,
        argument: Argument::Required("seconds"),
        default: Some("30"),
        help: "Seconds until the agent gives up, everything included but the delay.",
        ..row(Opt::Timeout, &['t'], "timeout")
    },
    OptionSpec {
        content: Content::Second,
        argument: Argument::Required("seconds"),
        default: Some("0"),
        help: "Seconds to wait before off, on and reboot.",
        ..row(Opt::Delay, &['w'], "delay")
    },
    OptionSpec {
        argument: Argument::Required("text"),
        help: "Put this between the fields of a list, as fence-agents do: name, UUID, and with \
               list-status ON or OFF. Without it the list has the form of the original.",
        ..row(Opt::Separator, &[], "separator")
    },
    OptionSpec {
        argument: Argument::Required("node"),
        shown: Shown::Nowhere,
        help: "The cluster's name for the node; the domain if nothing else names one.",
        ..row(Opt::NodeName, &[], "nodename")
    },
    OptionSpec {
        argument: Argument::Required("text"),
        shown: Shown::Nowhere,
        help: "Passed by some callers and ignored.",
        ..row(Opt::NotForUs, &[], "agent")
    },
    OptionSpec {
        argument: Argument::Required("text"),
        shown: Shown::Nowhere,
        help: "Passed by some callers and ignored.",
        ..row(Opt::NotForUs, &[], "self")
    },
    OptionSpec {
        content: Content::Boolean,
        shown: Shown::CommandLine,
        help: "Look for what would keep this guest from fencing, and ask every host; fences nothing.",
        ..row(Opt::Check, &[], "check")
    },
    OptionSpec {
        content: Content::Boolean,
        shown: Shown::CommandLine,
        help: "With --check: print JSON.",
        ..row(Opt::Json, &[], "json")
    },
    OptionSpec {
        content: Content::Boolean,
        shown: Shown::CommandLine,
        help: "Show this help.",
        ..row(Opt::Help, &['h', '?'], "help")
    },
    OptionSpec {
        content: Content::Boolean,
        shown: Shown::CommandLine,
        help: "Show the version.",
        ..row(Opt::Version, &['V'], "version")
    },
    OptionSpec {
        content: Content::Boolean,
        shown: Shown::Nowhere,
        help: "Print the manual page.",
        ..row(Opt::Manual, &[], "generate_man")
    },
];
