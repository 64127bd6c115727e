//! Interfaces, bridges and routes: whether guests' requests get to this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use fence_doctor::Finding;

use crate::config::{ListenerSettings, MulticastSettings, Settings, TcpSettings};
use crate::links::Link;

const INTERFACE: &str = "interface";
const SNOOPING: &str = "snooping";
const ROUTE: &str = "route";

/// Where packets to a group would leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) group: IpAddr,
    /// The address that they would leave from, or why there is none.
    pub(super) from: Result<IpAddr, String>,
}

/// Asks the kernel; nothing is sent.
pub(super) fn route_to(group: IpAddr) -> Route {
    let any = match group {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(group, 9))?;
        socket.local_addr()
    });
    Route {
        group,
        from: asked.map(|it| it.ip()).map_err(|error| error.to_string()),
    }
}

/// The groups of the multicast listeners.
pub(super) fn groups(settings: &Settings) -> Vec<IpAddr> {
    let mut groups: Vec<IpAddr> = multicast(settings).map(|it| it.address).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

pub(super) fn multicast(settings: &Settings) -> impl Iterator<Item = &MulticastSettings> {
    settings
        .listeners
        .iter()
        .filter_map(|it| match &it.settings {
            ListenerSettings::Multicast(multicast) => Some(multicast),
            _ => None,
        })
}

pub(super) fn tcp(settings: &Settings) -> impl Iterator<Item = &TcpSettings> {
    settings
        .listeners
        .iter()
        .filter_map(|it| match &it.settings {
            ListenerSettings::Tcp(tcp) => Some(tcp),
            _ => None,
        })
}

/// Everything about interfaces.
pub(super) fn judge(settings: &Settings, links: &[Link], routes: &[Route]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for multicast in multicast(settings) {
        findings.extend(interfaces(multicast, links));
        findings.extend(bridges(multicast, links));
    }
    findings.extend(tcp(settings).map(|tcp| address(tcp, links)));
    findings.extend(routes.iter().map(|it| route(it, links)));
    findings.dedup();
    findings
}

/// The interfaces that a listener joins its group on.
fn joined<'l>(multicast: &MulticastSettings, links: &'l [Link]) -> Vec<&'l Link> {
    let wanted = |link: &&Link| match &multicast.interface {
        Some(name) => link.name == *name,
        None => link.is_worth_joining(),
    };
    links.iter().filter(wanted).collect()
}

fn interfaces(multicast: &MulticastSettings, links: &[Link]) -> Vec<Finding> {
    let joined = joined(multicast, links);
    let Some(name) = &multicast.interface else {
        let names: Vec<_> = joined.iter().map(|link| link.name.clone()).collect();
        return vec![if names.is_empty() {
            Finding::problem(
                INTERFACE,
                "no interface is up that can do multicast",
                "bring up the guests' bridge: virsh net-start default, or ip link set BRIDGE up",
            )
        } else {
            let names = names.join(", ");
            Finding::ok(
                INTERFACE,
                format!("{} is heard on {names}", multicast.address),
            )
        }];
    };
    let Some(link) = joined.first() else {
        let all: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        let all = all.join(", ");
        return vec![Finding::problem(
            INTERFACE,
            format!("there is no interface {name}; there are {all}"),
            "start the network that makes it (virsh net-start default), or name another in interface",
        )];
    };
    vec![interface(link, multicast)]
}

fn interface(link: &Link, multicast: &MulticastSettings) -> Finding {
    let name = &link.name;
    if !link.up {
        return Finding::problem(
            INTERFACE,
            format!("{name} is down"),
            format!("ip link set {name} up"),
        );
    }
    if !link.multicast {
        let cure = format!("ip link set {name} multicast on");
        return Finding::problem(INTERFACE, format!("{name} cannot do multicast"), cure);
    }
    if let Some(master) = &link.master {
        return Finding::problem(
            INTERFACE,
            format!(
                "{name} is a port of {master}: what guests send arrives on {master}, not on {name}"
            ),
            format!("set interface to {master}"),
        );
    }
    let same = |it: &&IpAddr| it.is_ipv4() == multicast.address.is_ipv4();
    let Some(address) = link.addresses.iter().find(same) else {
        return Finding::warning(
            INTERFACE,
            format!(
                "{name} has no address of the group's family: guests behind it can be called back by a route only"
            ),
            format!("give it an address: ip addr add ADDRESS dev {name}"),
        );
    };
    let carrier = if link.running {
        ""
    } else {
        ", no guest is connected to it now"
    };
    Finding::ok(INTERFACE, format!("{name} is up with {address}{carrier}"))
}

fn bridges(multicast: &MulticastSettings, links: &[Link]) -> Vec<Finding> {
    let of = |link: &&Link| link.bridge.map(|bridge| (link.name.clone(), bridge));
    let all = joined(multicast, links);
    let bridges = all.iter().filter_map(of);
    let judged = bridges.map(|(name, bridge)| match (bridge.snooping, bridge.querier) {
        (false, _) => Finding::ok(SNOOPING, format!("{name} forwards multicast to every port")),
        (true, true) => Finding::ok(SNOOPING, format!("{name} snoops and is a querier")),
        (true, false) => Finding::warning(
            SNOOPING,
            format!(
                "{name} snoops multicast without being a querier: if nothing else on that network asks who wants the group, \
                 memberships run out after some minutes and requests no longer arrive"
            ),
            format!(
                "echo 1 > /sys/class/net/{name}/bridge/multicast_querier, or echo 0 > /sys/class/net/{name}/bridge/multicast_snooping; \
                 make that last in the network's configuration"
            ),
        ),
    });
    judged.collect()
}

fn address(tcp: &TcpSettings, links: &[Link]) -> Finding {
    let ip = tcp.address.ip();
    if ip.is_unspecified() {
        return Finding::ok(
            INTERFACE,
            format!("tcp listens on every address, port {}", tcp.address.port()),
        );
    }
    let has = |link: &&Link| link.addresses.contains(&ip);
    match links.iter().find(has) {
        Some(link) if link.up => Finding::ok(INTERFACE, format!("{ip} belongs to {}", link.name)),
        Some(link) => Finding::problem(
            INTERFACE,
            format!("{ip} belongs to {}, which is down", link.name),
            format!("ip link set {} up", link.name),
        ),
        None => Finding::problem(
            INTERFACE,
            format!("no interface of this host has the address {ip}"),
            "start the network that has it, or set address in section tcp to another",
        ),
    }
}

fn route(route: &Route, links: &[Link]) -> Finding {
    let group = route.group;
    match &route.from {
        Ok(from) => {
            let link = links.iter().find(|link| link.addresses.contains(from));
            let name = link.map_or("another interface", |link| link.name.as_str());
            Finding::ok(ROUTE, format!("packets to {group} leave by {name}"))
        }
        Err(error) => Finding::warning(
            ROUTE,
            format!(
                "there is no route to {group} ({error}): fence_virtd hears guests all the same, but the original does not \
                 without interface, nor does fence_xvm on this host reach anybody"
            ),
            match group {
                IpAddr::V4(_) => "ip route add 224.0.0.0/4 dev BRIDGE",
                IpAddr::V6(_) => "ip -6 route add ff00::/8 dev BRIDGE table local",
            },
        ),
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
