//! What this machine's firewall does with the packets that fencing needs.
//!
//! Rules are read in the form of `nft -j list ruleset` ([`nft`]) and of `iptables-save` ([`iptables`]), and each becomes: does it
//! apply to this packet (yes, no, perhaps), and what then. [`walk`] follows them. Whatever is not understood is "perhaps",
//! so that a rule set is only complained about if the packet cannot get through.

pub mod iptables;
pub mod nft;
pub mod read;
pub mod walk;

use std::net::IpAddr;

pub use read::{Firewall, read};
pub use walk::Fate;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To this machine.
    In,
    /// From this machine.
    Out,
}

/// What kind of packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UDP to this port.
    Udp(u16),
    /// The first of a TCP connection to this port.
    Tcp(u16),
    /// A packet that belongs to a TCP connection that this machine has made.
    TcpAnswer,
    /// IGMP, or MLD with IPv6: who wants which multicast group.
    Membership,
}

/// A packet, as far as it is known before it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Which way.
    pub direction: Direction,
    /// What it is.
    pub kind: Kind,
    /// Whether it is IPv6.
    pub is_ipv6: bool,
    /// Where it goes, if that is known.
    pub to: Option<IpAddr>,
    /// Through which interface, if that is known.
    pub interface: Option<String>,
}

impl Packet {
    /// Names of its protocol, as rules write it.
    const fn protocols(&self) -> &'static [&'static str] {
        match (self.kind, self.is_ipv6) {
            (Kind::Udp(_), _) => &["udp", "17"],
            (Kind::Tcp(_) | Kind::TcpAnswer, _) => &["tcp", "6"],
            (Kind::Membership, false) => &["igmp", "2"],
            (Kind::Membership, true) => &["ipv6-icmp", "icmpv6", "58"],
        }
    }

    /// Connection tracking's word for it.
    const fn state(&self) -> &'static str {
        match self.kind {
            Kind::Udp(_) | Kind::Tcp(_) => "new",
            Kind::TcpAnswer => "established",
            // It is followed as new, or not at all.
            Kind::Membership => "new",
        }
    }

    fn is_multicast(&self) -> Option<bool> {
        match self.kind {
            Kind::Membership => Some(true),
            _ => self.to.map(|to| to.is_multicast()),
        }
    }

    /// What it is called in a report.
    #[must_use]
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Udp(port) => format!("UDP port {port}"),
            Kind::Tcp(port) => format!("TCP port {port}"),
            Kind::TcpAnswer => "answers over TCP".to_owned(),
            Kind::Membership if self.is_ipv6 => "MLD (ICMPv6)".to_owned(),
            Kind::Membership => "IGMP".to_owned(),
        }
    }
}

/// Whether a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// That depends on what is not known, or was not understood.
    Perhaps,
}

impl Truth {
    const fn of(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }

    const fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Perhaps => Self::Perhaps,
        }
    }

    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Perhaps,
        }
    }

    const fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// Whether an interface is the one that a rule names: `virbr+` and `virbr*` mean all that begin so.
fn interface_is(packet: &Packet, pattern: &str) -> Truth {
    let Some(interface) = &packet.interface else {
        // Guests are not on the loopback.
        return if pattern == "lo" {
            Truth::No
        } else {
            Truth::Perhaps
        };
    };
    let begins = pattern.strip_suffix(['+', '*']);
    Truth::of(begins.map_or(interface == pattern, |begin| interface.starts_with(begin)))
}

/// The ports that the kernel gives to connections that this machine makes (net.ipv4.ip_local_port_range).
const OWN_PORTS: (u64, u64) = (32_768, 60_999);

/// Whether the packet goes to one of these ports. Answers come to one that nobody knows before.
fn port_within(packet: &Packet, low: u64, high: u64) -> Truth {
    match packet.kind {
        Kind::Udp(port) | Kind::Tcp(port) => Truth::of((low..=high).contains(&u64::from(port))),
        Kind::TcpAnswer if low <= OWN_PORTS.0 && high >= OWN_PORTS.1 => Truth::Yes,
        Kind::TcpAnswer if high < OWN_PORTS.0 || low > OWN_PORTS.1 => Truth::No,
        Kind::TcpAnswer => Truth::Perhaps,
        Kind::Membership => Truth::No,
    }
}

/// Whether the packet goes to this address or net.
fn goes_to(packet: &Packet, net: &str) -> Truth {
    let (address, length) = net
        .split_once('/')
        .map_or((net, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return Truth::Perhaps;
    };
    if address.is_ipv6() != packet.is_ipv6 {
        return Truth::No;
    }
    let Some(to) = packet.to else {
        return Truth::Perhaps;
    };
    let whole: u32 = if packet.is_ipv6 { 128 } else { 32 };
    let length = length.map_or(Some(whole), |length| length.parse().ok());
    let Some(spare) = length.and_then(|length| whole.checked_sub(length)) else {
        return Truth::Perhaps;
    };
    Truth::of(bits(to).checked_shr(spare) == bits(address).checked_shr(spare))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn request() -> Packet {
        Packet {
            direction: Direction::In,
            kind: Kind::Udp(1229),
            is_ipv6: false,
            to: Some("225.0.0.12".parse().unwrap()),
            interface: Some("virbr0".to_owned()),
        }
    }

    #[test]
    fn nets_and_interfaces_are_compared() {
        let packet = request();
        assert_eq!(goes_to(&packet, "224.0.0.0/4"), Truth::Yes);
        assert_eq!(goes_to(&packet, "225.0.0.12"), Truth::Yes);
        assert_eq!(goes_to(&packet, "0.0.0.0/0"), Truth::Yes);
        assert_eq!(goes_to(&packet, "10.0.0.0/8"), Truth::No);
        assert_eq!(goes_to(&packet, "ff00::/8"), Truth::No);
        assert_eq!(goes_to(&packet, "225.0.0.12/99"), Truth::Perhaps);
        assert_eq!(interface_is(&packet, "virbr+"), Truth::Yes);
        assert_eq!(interface_is(&packet, "eth0"), Truth::No);
        let anywhere = Packet {
            interface: None,
            to: None,
            ..packet
        };
        assert_eq!(interface_is(&anywhere, "eth0"), Truth::Perhaps);
        assert_eq!(interface_is(&anywhere, "lo"), Truth::No);
        assert_eq!(goes_to(&anywhere, "224.0.0.0/4"), Truth::Perhaps);
    }
}
