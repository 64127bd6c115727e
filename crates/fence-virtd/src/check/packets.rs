//! Which packets fencing needs, for the firewall.

use std::net::IpAddr;

use fence_doctor::firewall::{Direction, Kind, Packet};

use super::network;
use crate::config::{MulticastSettings, Settings};
use crate::links::Link;

/// The packets, each with what it is needed for.
pub(super) fn needed(settings: &Settings, links: &[Link]) -> Vec<(Packet, String)> {
    let mut packets = Vec::new();
    for multicast in network::multicast(settings) {
        packets.extend(of_multicast(multicast, links));
    }
    for tcp in network::tcp(settings).filter(|it| !it.address.ip().is_loopback()) {
        let ip = tcp.address.ip();
        let holder = links.iter().find(|link| link.addresses.contains(&ip));
        let packet = Packet {
            direction: Direction::In,
            kind: Kind::Tcp(tcp.address.port()),
            is_ipv6: ip.is_ipv6(),
            to: (!ip.is_unspecified()).then_some(ip),
            interface: holder.map(|link| link.name.clone()),
        };
        packets.push((packet, "guests' requests do not arrive".to_owned()));
    }
    packets
}

fn of_multicast(multicast: &MulticastSettings, links: &[Link]) -> Vec<(Packet, String)> {
    let is_ipv6 = multicast.address.is_ipv6();
    let interface = multicast.interface.clone();
    let packet = |direction, kind, to| Packet {
        direction,
        kind,
        is_ipv6,
        to,
        interface: interface.clone(),
    };
    // Where the calls leave is known if guests are behind one interface.
    let mut all = vec![
        (
            packet(
                Direction::In,
                Kind::Udp(multicast.port),
                Some(multicast.address),
            ),
            "guests' requests do not arrive".to_owned(),
        ),
        // The agent's default; a guest may wish for another port.
        (
            packet(Direction::Out, Kind::Tcp(multicast.port), None),
            "this host cannot call guests back".to_owned(),
        ),
        (
            packet(Direction::In, Kind::TcpAnswer, None),
            "what guests answer to a call-back does not arrive".to_owned(),
        ),
    ];
    if asks_for_memberships(multicast, links) {
        all.push((
            packet(Direction::In, Kind::Membership, query_address(is_ipv6)),
            "this host is not asked which groups it wants, and its membership runs out".to_owned(),
        ));
    }
    all
}

/// On a bridge of this host alone, which does not snoop, nobody has to ask.
fn asks_for_memberships(multicast: &MulticastSettings, links: &[Link]) -> bool {
    let Some(name) = &multicast.interface else {
        return true;
    };
    let link = links.iter().find(|link| link.name == *name);
    link.and_then(|link| link.bridge)
        .is_none_or(|bridge| bridge.snooping)
}

/// All systems.
fn query_address(is_ipv6: bool) -> Option<IpAddr> {
    if is_ipv6 { "ff02::1" } else { "224.0.0.1" }.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::links::Bridge;
    use crate::scratch::Scratch;

    fn kinds(section: &str, listener: &str, snooping: bool) -> Vec<(Direction, Kind)> {
        let scratch = Scratch::new();
        let path = scratch.path("conf");
        let text = format!(
            "fence_virtd {{ listener = \"{listener}\"; backend = \"libvirt\"; }} listeners {{ {section} }}"
        );
        std::fs::write(&path, text).unwrap();
        let settings = config::survey(&path).unwrap().loaded.settings;
        let bridge = Link {
            name: "virbr0".to_owned(),
            bridge: Some(Bridge {
                snooping,
                querier: false,
            }),
            ..Link::default()
        };
        let packets = needed(&settings, &[bridge]);
        packets
            .into_iter()
            .map(|(packet, _)| (packet.direction, packet.kind))
            .collect()
    }

    #[test]
    fn multicast_needs_requests_call_backs_their_answers_and_queries_where_somebody_snoops() {
        let section = "multicast { interface = \"virbr0\"; port = \"7\"; }";
        let three = [
            (Direction::In, Kind::Udp(7)),
            (Direction::Out, Kind::Tcp(7)),
            (Direction::In, Kind::TcpAnswer),
        ];
        assert_eq!(kinds(section, "multicast", false), three);
        let four = kinds(section, "multicast", true);
        assert_eq!(four[3], (Direction::In, Kind::Membership));
        assert_eq!(kinds("multicast { }", "multicast", false).len(), 4);
    }

    #[test]
    fn tcp_needs_its_port_unless_it_is_for_this_host_alone() {
        let open = kinds("tcp { address = \"0.0.0.0\"; }", "tcp", false);
        assert_eq!(open, [(Direction::In, Kind::Tcp(1229))]);
        assert!(kinds("tcp { }", "tcp", false).is_empty());
    }
}
