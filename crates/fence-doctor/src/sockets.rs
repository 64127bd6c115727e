//! Who has a port: from the kernel's tables of sockets, and from what processes have open.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Processes looked at, at most: a machine may have very many.
const MAX_PROCESSES: usize = 100_000;

/// Descriptors looked at in one process, at most.
const MAX_DESCRIPTORS: usize = 100_000;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Sockets that are bound.
    Udp,
    /// Sockets that listen.
    Tcp,
}

impl Protocol {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// A socket that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The kernel's number of the socket.
    pub inode: u64,
}

/// A process that has a socket open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// What the kernel calls it: the first 15 bytes of its program's name.
    pub name: String,
}

/// Reads one of `/proc/net/{udp,udp6,tcp,tcp6}`. Lines that are not understood are left out.
#[must_use]
pub fn parse(table: &str, protocol: Protocol) -> Vec<Bound> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| bound(line, protocol))
        .collect()
}

fn bound(line: &str, protocol: Protocol) -> Option<Bound> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    // State 0A is LISTEN.
    if protocol == Protocol::Tcp && *fields.get(3)? != "0A" {
        return None;
    }
    Some(Bound {
        address: self::address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The kernel prints words of four bytes, each as a number of this machine.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at..at.checked_add(8)?)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// Whether a socket there keeps another one from having the same port at `wanted`.
#[must_use]
pub fn is_in_the_way(bound: &Bound, wanted: IpAddr, port: u16) -> bool {
    let same = bound.address == wanted;
    let all = bound.address.is_unspecified() || wanted.is_unspecified();
    // A socket for all of IPv6 may be one for all of IPv4, too.
    let family = bound.address.is_ipv4() == wanted.is_ipv4()
        || (bound.address.is_ipv6() && bound.address.is_unspecified());
    bound.port == port && family && (same || all)
}

/// Reads the tables of this network namespace.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn read(protocol: Protocol) -> std::io::Result<Vec<Bound>> {
    let names = match protocol {
        Protocol::Udp => ["udp", "udp6"],
        Protocol::Tcp => ["tcp", "tcp6"],
    };
    let mut all = parse(
        &fs::read_to_string(format!("/proc/net/{}", names[0]))?,
        protocol,
    );
    // There is none without IPv6.
    let six = fs::read_to_string(format!("/proc/net/{}", names[1])).unwrap_or_default();
    all.extend(parse(&six, protocol));
    Ok(all)
}

/// The processes that have these sockets open, as far as we may see.
#[must_use]
pub fn owners(inodes: &BTreeSet<u64>) -> Vec<Owner> {
    let mut owners = Vec::new();
    if inodes.is_empty() {
        return owners;
    }
    for pid in processes() {
        if has_open(pid, inodes) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            owners.push(Owner {
                pid,
                name: name.trim_end().to_owned(),
            });
        }
    }
    owners
}

/// The numbers of all processes that we may see.
#[must_use]
pub fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.take(MAX_PROCESSES).collect()
}

fn has_open(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries.flatten().take(MAX_DESCRIPTORS).any(|entry| {
        let target = fs::read_link(entry.path()).ok();
        target
            .as_ref()
            .and_then(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']'))
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode: u64| inodes.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \u{20}  0: 0100007F:04CD 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n\
        \u{20}  1: 0100007F:04CD 0200007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n\
        rubbish\n";

    #[test]
    fn tables_are_read_and_rubbish_is_left_out() {
        let listening = parse(TABLE, Protocol::Tcp);
        assert_eq!(listening.len(), 1);
        assert_eq!(listening[0].port, 1229);
        assert_eq!(listening[0].inode, 4711);
        if cfg!(target_endian = "little") {
            assert_eq!(listening[0].address, IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        assert_eq!(parse(TABLE, Protocol::Udp).len(), 2);
    }

    #[test]
    fn sockets_of_this_process_are_found_with_their_owner() {
        let tcp = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let tcp = tcp.unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (protocol, local) in [
            (Protocol::Tcp, tcp.local_addr().unwrap()),
            (Protocol::Udp, udp.local_addr().unwrap()),
        ] {
            let all = read(protocol).unwrap();
            let mine = all.into_iter().find(|bound| {
                is_in_the_way(bound, local.ip(), local.port()) && bound.address == local.ip()
            });
            let owners = owners(&BTreeSet::from([mine.unwrap().inode]));
            assert!(owners.iter().any(|owner| owner.pid == std::process::id()));
        }
    }

    #[test]
    fn all_addresses_are_in_the_way_of_each() {
        let bound = |address: &str| Bound {
            address: address.parse().unwrap(),
            port: 1229,
            inode: 1,
        };
        let wanted = |text: &str| text.parse().unwrap();
        assert!(is_in_the_way(&bound("10.0.0.1"), wanted("10.0.0.1"), 1229));
        assert!(!is_in_the_way(&bound("10.0.0.1"), wanted("10.0.0.1"), 1230));
        assert!(!is_in_the_way(&bound("10.0.0.1"), wanted("10.0.0.2"), 1229));
        assert!(is_in_the_way(&bound("0.0.0.0"), wanted("10.0.0.2"), 1229));
        assert!(is_in_the_way(&bound("10.0.0.1"), wanted("0.0.0.0"), 1229));
        assert!(is_in_the_way(&bound("::"), wanted("10.0.0.2"), 1229));
        assert!(!is_in_the_way(&bound("::1"), wanted("10.0.0.2"), 1229));
    }
}
