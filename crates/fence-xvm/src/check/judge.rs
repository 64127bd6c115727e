//! What the things that were found mean: pure.

use core::time::Duration;
use std::io;
use std::net::IpAddr;

use fence_doctor::Finding;
use fence_doctor::finding::some_of;
use fence_doctor::firewall::{Direction, Kind, Packet};
use fence_doctor::key::{self, Looks};
use fence_doctor::sockets::Owner;
use fence_proto::agent::{CloseCause, Failure, Verdict};
use fence_proto::{Family, HashAlgorithm, Key, Reason, Reply};

use crate::net::survey::{HostAnswer, Survey};
use crate::settings::{Multicast, Network, Settings};

pub(super) const KEY: &str = "key";
const ADDRESS: &str = "address";
const PORT: &str = "port";
pub(super) const HOST: &str = "host";

/// Of a key that can be read, and the warning about its file.
pub(super) fn key(settings: &Settings, key: &Key, warning: Option<&str>) -> Finding {
    const NEW: &str = "give all hosts and guests a new key: (umask 077; dd if=/dev/urandom of=FILE bs=4096 count=1)";
    let path = settings.key_file.display();
    if let Some(warning) = warning {
        let warning = warning.trim_start_matches("warning: ");
        return Finding::warning(KEY, warning, format!("chmod 0600 {path}"));
    }
    let looks = Looks {
        length: key.len(),
        values: key.distinct_values(),
    };
    if let Some(weakness) = key::weakness(looks) {
        return Finding::warning(KEY, format!("the key in {path} {weakness}"), NEW);
    }
    if settings.auth >= settings.hash && key.allows_length_extension(settings.auth) {
        let found = format!(
            "the key in {path} ({} bytes) has a length that lets an eavesdropper turn an answered challenge into a signed request",
            key.len()
        );
        return Finding::warning(KEY, found, NEW);
    }
    Finding::ok(KEY, format!("{path}: {} bytes", key.len()))
}

/// Without a key.
pub(super) fn no_key(settings: &Settings) -> Finding {
    match settings.hash == HashAlgorithm::None && settings.auth == HashAlgorithm::None {
        true => Finding::warning(
            KEY,
            "hash and auth are none: whoever answers is believed",
            "use a key on hosts and guests, and hash and auth sha256",
        ),
        false => Finding::skipped(KEY, "this way to the host needs no key"),
    }
}

/// Of the addresses that hosts would be told to call.
pub(super) fn addresses(multicast: &Multicast, announced: &io::Result<Vec<IpAddr>>) -> Finding {
    let family = Family::of(multicast.group).name();
    let announced = match announced {
        Ok(announced) => announced,
        Err(error) => {
            let found = format!("the addresses of this guest cannot be listed: {error}");
            return Finding::problem(ADDRESS, found, "run this as root");
        }
    };
    let names: Vec<_> = announced.iter().map(ToString::to_string).collect();
    let cure = multicast.interface.as_ref().map_or_else(
        || format!("bring up an interface with an {family} address that the hosts can reach"),
        |name| {
            format!(
                "ip link set {name} up, and give it an {family} address; or leave interface out"
            )
        },
    );
    if announced.is_empty() {
        let found = format!("this guest has no {family} address that a host could call back");
        return Finding::problem(ADDRESS, found, cure);
    }
    if announced.iter().all(IpAddr::is_loopback) {
        let found = "this guest has a loopback address only, and hosts cannot call that back";
        return Finding::warning(ADDRESS, found, cure);
    }
    Finding::ok(
        ADDRESS,
        format!("hosts are told to call {}", some_of(&names)),
    )
}

/// Of the port that hosts call back.
pub(super) fn port(port: u16, tried: &io::Result<()>, owners: &[Owner]) -> Finding {
    match tried {
        Ok(()) => Finding::ok(PORT, format!("TCP port {port} is free for call-backs")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let names = owners.iter().map(|it| format!("{} ({})", it.name, it.pid));
            let names: Vec<_> = names.collect();
            let by = if names.is_empty() {
                "another program".to_owned()
            } else {
                some_of(&names)
            };
            Finding::warning(
                PORT,
                format!(
                    "TCP port {port} is in use by {by}: half of the time-out is spent waiting for it"
                ),
                "end that program if it is not another agent, or choose another port with ipport here and on the hosts",
            )
        }
        Err(error) => Finding::problem(
            PORT,
            format!("nobody can call back on TCP port {port}: {error}"),
            "choose another port with ipport here and on the hosts",
        ),
    }
}

/// The packets that this way to the hosts needs.
pub(super) fn packets(network: &Network) -> Vec<(Packet, String)> {
    let packet =
        |direction, kind, to: Option<IpAddr>, is_ipv6, interface: Option<&String>| Packet {
            direction,
            kind,
            is_ipv6,
            to,
            interface: interface.cloned(),
        };
    match network {
        Network::Multicast(multicast) => {
            let Multicast {
                group,
                port,
                interface,
                ..
            } = multicast;
            let interface = interface.as_ref();
            let six = group.is_ipv6();
            vec![
                (
                    packet(
                        Direction::Out,
                        Kind::Udp(*port),
                        Some(*group),
                        six,
                        interface,
                    ),
                    "requests do not leave".to_owned(),
                ),
                (
                    packet(Direction::In, Kind::Tcp(*port), None, six, interface),
                    "hosts cannot call back".to_owned(),
                ),
            ]
        }
        Network::Tcp(address) => {
            let (ip, six) = (address.ip(), address.is_ipv6());
            vec![
                (
                    packet(
                        Direction::Out,
                        Kind::Tcp(address.port()),
                        Some(ip),
                        six,
                        None,
                    ),
                    "the host cannot be reached".to_owned(),
                ),
                (
                    packet(Direction::In, Kind::TcpAnswer, None, six, None),
                    "what the host answers does not arrive".to_owned(),
                ),
            ]
        }
        Network::Vsock { .. } => Vec::new(),
    }
}

/// Of all that called back.
pub(super) fn survey(settings: &Settings, multicast: &Multicast, survey: &Survey) -> Vec<Finding> {
    if survey.asked_from == 0 {
        let why = survey.send_error.clone().unwrap_or_default();
        return vec![Finding::problem(
            HOST,
            format!("no request could be sent to {}: {why}", multicast.group),
            "bring up an interface with an address, or name another with interface",
        )];
    }
    if survey.hosts.is_empty() {
        let Multicast { group, port, .. } = multicast;
        return vec![Finding::problem(
            HOST,
            format!("no host called back after two requests to {group} port {port}"),
            "on each host: fence_virtd --check; the group, the port and the key must be the same here and there, and the \
             firewalls between let the call-back through",
        )];
    }
    survey
        .hosts
        .iter()
        .map(|host| answer(settings, host))
        .collect()
}

/// Of one that called back.
fn answer(settings: &Settings, host: &HostAnswer) -> Finding {
    let (key_file, auth) = (settings.key_file.display(), settings.auth);
    let same = format!("make {key_file} the host's key, and auth ({auth}) the same on both");
    let peer = &host.peer;
    let after = milliseconds(host.after);
    match &host.verdict {
        Ok(verdict) => verdict_of(peer, after, verdict, &same),
        Err(CloseCause::Dropped(Reason::BadResponse)) => Finding::problem(
            HOST,
            format!("{peer} called back after {after} ms and does not prove that it has our key"),
            same,
        ),
        Err(cause) => Finding::warning(
            HOST,
            format!("{peer} called back after {after} ms and is no host of ours ({cause})"),
            "find out which program that is; it cannot answer for a host",
        ),
    }
}

/// Of an answer, by whichever way.
pub(super) fn verdict_of(peer: &str, after: u128, verdict: &Verdict, same: &str) -> Finding {
    let said = |what: &str| format!("{peer} answered after {after} ms{what}");
    const LOG: &str = "the host's log says why; fence_virtd --check there tells more";
    match verdict {
        Verdict::Replied(Reply::Success) => Finding::ok(HOST, said("")),
        Verdict::Replied(Reply::Off) => {
            Finding::ok(HOST, said(": the domain is off there, or not known"))
        }
        Verdict::Replied(Reply::PermissionDenied) => Finding::problem(
            HOST,
            said(": its groups do not allow that to this guest"),
            "add this guest's address and the domain to a group in the host's fence_virt.conf",
        ),
        Verdict::Replied(_) => Finding::problem(
            HOST,
            said(": its hypervisor does not answer, or the domain is not known"),
            LOG,
        ),
        Verdict::Listed(_) => Finding::ok(HOST, said("")),
        Verdict::Failed(Failure::ClosedUnproven | Failure::Dropped(_)) => Finding::problem(
            HOST,
            format!(
                "{peer} closed the connection after {after} ms, before it had proved that it has our key"
            ),
            same,
        ),
        Verdict::Failed(Failure::TimedOut) => Finding::problem(
            HOST,
            format!("{peer} was connected, and had not answered after {after} ms"),
            LOG,
        ),
        Verdict::Failed(_) => {
            Finding::problem(HOST, format!("{peer} gave no answer in {after} ms"), LOG)
        }
    }
}

pub(super) const fn milliseconds(time: Duration) -> u128 {
    time.as_millis()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
