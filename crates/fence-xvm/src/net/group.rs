//! Requests to a multicast group: one frame per local address, out of the interface that has it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use socket2::{Domain, Protocol, Socket, Type};

use crate::settings::Multicast;

/// Routers that a request may pass: the bridge of the guest's host and one more (section 2).
const HOPS: u32 = 2;

/// The unspecified address of a group's family.
pub(super) const fn any_address(group: IpAddr) -> IpAddr {
    match group {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// What one round of requests came to.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Addresses that a frame left from.
    pub(super) sent: usize,
    /// The last thing that went wrong.
    pub(super) error: Option<String>,
}

/// Where requests go.
#[derive(Debug)]
pub(super) struct Group {
    settings: Multicast,
    callback_port: u16,
}

impl Group {
    pub(super) const fn new(settings: Multicast, callback_port: u16) -> Self {
        Self {
            settings,
            callback_port,
        }
    }

    /// The port that hosts are told to call.
    pub(super) const fn callback_port(&self) -> u16 {
        self.callback_port
    }

    /// Sends one frame per local address; `frame` makes it for the address to be called. One that
    /// cannot be sent does not keep the others from being sent. Addresses are looked up each time:
    /// an interface may come up while the agent asks.
    pub(super) fn send_round<E>(
        &self,
        mut frame: impl FnMut(SocketAddr) -> Result<Vec<u8>, E>,
    ) -> Result<Round, E> {
        let mut round = Round::default();
        let locals = match self.local_addresses() {
            Ok(locals) => locals,
            Err(error) => {
                round.error = Some(format!("cannot list the local addresses: {error}"));
                return Ok(round);
            }
        };
        for local in locals {
            let frame = frame(SocketAddr::new(local.ip(), self.callback_port))?;
            match self.send(local, &frame) {
                Ok(()) => round.sent = round.sent.saturating_add(1),
                Err(error) => {
                    round.error = Some(format!("cannot send from {}: {error}", local.ip()))
                }
            }
        }
        Ok(round)
    }

    /// Where requests leave from, port 0; for IPv6 with the index of the interface in the scope.
    pub(super) fn local_addresses(&self) -> nix::Result<Vec<SocketAddr>> {
        let only = self.settings.interface.as_deref();
        let locals = getifaddrs()?.filter_map(|entry| {
            let other = only.is_some_and(|only| only != entry.interface_name);
            if other || !entry.flags.contains(InterfaceFlags::IFF_UP) {
                return None;
            }
            let address = entry.address?;
            let local = if let Some(v4) = address.as_sockaddr_in() {
                SocketAddr::from((v4.ip(), 0))
            } else {
                let ip = address.as_sockaddr_in6()?.ip();
                // Gone between the two calls: nothing to send out of.
                let index = if_nametoindex(entry.interface_name.as_str()).ok()?;
                SocketAddrV6::new(ip, 0, 0, index).into()
            };
            self.can_be_called_at(local.ip()).then_some(local)
        });
        Ok(locals.collect())
    }

    /// Addresses of the group's family. For IPv6 not the loopback, and link-local ones only if the
    /// user named the interface: a host cannot know which of its links is meant (section 2).
    fn can_be_called_at(&self, ip: IpAddr) -> bool {
        match (self.settings.group, ip) {
            (IpAddr::V4(_), IpAddr::V4(ip)) => !ip.is_unspecified(),
            (IpAddr::V6(_), IpAddr::V6(ip)) => {
                let link_local = ip.is_unicast_link_local();
                !ip.is_loopback() && (!link_local || self.settings.interface.is_some())
            }
            _ => false,
        }
    }

    fn send(&self, local: SocketAddr, frame: &[u8]) -> io::Result<()> {
        let port = self.settings.port;
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let group: SocketAddr = match (self.settings.group, local) {
            (IpAddr::V4(group), SocketAddr::V4(local)) => {
                socket.set_multicast_if_v4(local.ip())?;
                socket.set_multicast_ttl_v4(HOPS)?;
                socket.set_multicast_loop_v4(true)?;
                (group, port).into()
            }
            (IpAddr::V6(group), SocketAddr::V6(local)) => {
                socket.set_multicast_if_v6(local.scope_id())?;
                socket.set_multicast_hops_v6(HOPS)?;
                socket.set_multicast_loop_v6(true)?;
                SocketAddrV6::new(group, port, 0, local.scope_id()).into()
            }
            _ => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        // So that the request comes from the address that is to be called back.
        socket.bind(&local.into())?;
        socket.send_to(frame, &group.into())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn group(group: &str, interface: Option<&str>) -> Group {
        let settings = Multicast {
            group: group.parse().unwrap(),
            port: 1229,
            retransmit: Duration::from_secs(2),
            interface: interface.map(str::to_owned),
        };
        Group::new(settings, 1229)
    }

    #[test]
    fn addresses_of_the_family_are_taken_loopback_only_for_ipv4() {
        let locals = group("225.0.0.12", None).local_addresses().unwrap();
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        assert!(locals.contains(&loopback), "{locals:?}");
        assert!(locals.iter().all(SocketAddr::is_ipv4));
        let locals = group("ff05::3:1", None).local_addresses().unwrap();
        let good = |local: &SocketAddr| local.is_ipv6() && !local.ip().is_loopback();
        assert!(locals.iter().all(good), "{locals:?}");
    }

    #[test]
    fn named_interface_is_the_only_one() {
        let locals = group("225.0.0.12", Some("lo")).local_addresses().unwrap();
        assert!(!locals.is_empty());
        assert!(
            locals.iter().all(|local| local.ip().is_loopback()),
            "{locals:?}"
        );
        let none = group("225.0.0.12", Some("nothing-here")).local_addresses();
        assert_eq!(none, Ok(vec![]));
    }

    #[test]
    fn link_local_addresses_need_a_named_interface() {
        let link_local: IpAddr = "fe80::1".parse().unwrap();
        assert!(!group("ff05::3:1", None).can_be_called_at(link_local));
        assert!(group("ff05::3:1", Some("lo")).can_be_called_at(link_local));
        assert!(!group("225.0.0.12", Some("lo")).can_be_called_at(link_local));
    }
}
