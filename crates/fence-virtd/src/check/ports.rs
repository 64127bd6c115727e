//! Who has the listeners' ports, and whether a daemon runs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};

use fence_doctor::Finding;
use fence_doctor::sockets::{self, Bound, Owner, Protocol};
use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::network;
use crate::config::{ListenerSettings, Settings};

const CHECK: &str = "port";

/// What the kernel calls the daemon, ours and the original.
const NAME: &str = "fence_virtd";

/// How much of a process's map of its memory is read, at most.
const MAX_MAP: u64 = 4 << 20;

/// A daemon that runs in this network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Daemon {
    pub(super) pid: u32,
    /// It has loaded plug-ins of the original.
    pub(super) original: bool,
}

/// A port that a listener wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
}

/// Who has what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub(super) daemons: Vec<Daemon>,
    /// For each port that is wanted: who has it. `Err` if that cannot be told.
    pub(super) ports: Vec<(Wanted, Result<Vec<Holder>, String>)>,
    /// For each vsock port: what the kernel says to somebody who wants it.
    pub(super) vsock: Vec<(u32, Option<Errno>)>,
}

/// A socket in the way, and the processes that have it, as far as we may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) address: IpAddr,
    pub(super) owners: Vec<Owner>,
}

/// Looks.
pub(super) fn gather(settings: &Settings) -> Facts {
    let mut facts = Facts {
        daemons: daemons(),
        ..Facts::default()
    };
    for wanted in wanted(settings) {
        let holders = sockets::read(wanted.protocol)
            .map(|all| holders(&all, &wanted))
            .map_err(|error| error.to_string());
        facts.ports.push((wanted, holders));
    }
    for listener in &settings.listeners {
        if let ListenerSettings::Vsock(vsock) = &listener.settings {
            facts.vsock.push((vsock.port, try_vsock(vsock.port)));
        }
    }
    facts
}

fn wanted(settings: &Settings) -> Vec<Wanted> {
    let multicast = network::multicast(settings).map(|it| Wanted {
        protocol: Protocol::Udp,
        address: SocketAddr::new(it.address, it.port),
    });
    let tcp = network::tcp(settings).map(|it| Wanted {
        protocol: Protocol::Tcp,
        address: it.address,
    });
    let mut wanted: Vec<Wanted> = multicast.chain(tcp).collect();
    wanted.dedup();
    wanted
}

fn holders(all: &[Bound], wanted: &Wanted) -> Vec<Holder> {
    let in_the_way = all
        .iter()
        .filter(|bound| sockets::is_in_the_way(bound, wanted.address.ip(), wanted.address.port()));
    let holders = in_the_way.map(|bound| Holder {
        address: bound.address,
        owners: sockets::owners(&BTreeSet::from([bound.inode])),
    });
    holders.collect()
}

/// Whether this could listen there. It does not, so nobody can connect to it.
fn try_vsock(port: u32) -> Option<Errno> {
    const ANY: u32 = u32::MAX;
    let tried = Socket::new(Domain::VSOCK, Type::STREAM, None)
        .and_then(|socket| socket.bind(&SockAddr::vsock(ANY, port)));
    tried
        .err()
        .map(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}

/// The daemons that share this process's network.
fn daemons() -> Vec<Daemon> {
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    let ours = network("self");
    let others = sockets::processes()
        .into_iter()
        .filter(|pid| *pid != std::process::id());
    let named = others.filter(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim_end() == NAME
    });
    let here = named.filter(|pid| match network(&pid.to_string()) {
        Ok(theirs) => ours.as_ref().is_ok_and(|ours| *ours == theirs),
        // What we may not see may be here; what has ended is nowhere.
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    });
    let here = here.filter(|pid| serves(*pid));
    here.map(|pid| Daemon {
        pid,
        original: is_original(pid),
    })
    .collect()
}

/// Whether it is not just another check or a wizard.
fn serves(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0);
    !words
        .skip(1)
        .any(|word| matches!(word, b"--check" | b"-c" | b"--configure"))
}

/// The original consists of plug-ins, which it maps.
fn is_original(pid: u32) -> bool {
    let Ok(map) = fs::File::open(format!("/proc/{pid}/maps")) else {
        return false;
    };
    let lines = BufReader::new(map.take(MAX_MAP)).lines();
    lines.map_while(Result::ok).any(|line| {
        let path = line.rsplit(' ').next().unwrap_or_default();
        path.contains("/fence-virt/") && path.ends_with(".so")
    })
}

/// Judges.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![daemon(&facts.daemons)];
    for (wanted, holders) in &facts.ports {
        findings.push(match holders {
            Ok(holders) => port(wanted, holders),
            Err(error) => Finding::warning(
                CHECK,
                format!("who has {} cannot be told: {error}", name(wanted)),
                "run this as root",
            ),
        });
    }
    let runs = !facts.daemons.is_empty();
    findings.extend(
        facts
            .vsock
            .iter()
            .map(|(port, errno)| vsock(*port, *errno, runs)),
    );
    findings
}

fn daemon(daemons: &[Daemon]) -> Finding {
    const DAEMON: &str = "daemon";
    match daemons {
        [] => Finding::warning(
            DAEMON,
            "fence_virtd does not run here",
            "systemctl enable --now fence_virtd; what it says: journalctl -u fence_virtd",
        ),
        [
            Daemon {
                pid,
                original: true,
            },
        ] => Finding::ok(
            DAEMON,
            format!("the original fence_virtd runs, process {pid}"),
        ),
        [Daemon { pid, .. }] => Finding::ok(DAEMON, format!("fence_virtd runs, process {pid}")),
        many => {
            let pids: Vec<_> = many.iter().map(|it| it.pid.to_string()).collect();
            Finding::warning(
                DAEMON,
                format!(
                    "{} daemons run here: processes {}",
                    many.len(),
                    fence_doctor::finding::some_of(&pids)
                ),
                "one daemon can serve several listeners: put them into one file, and stop the others",
            )
        }
    }
}

fn name(wanted: &Wanted) -> String {
    format!("{} {}", wanted.protocol.name(), wanted.address)
}

fn port(wanted: &Wanted, holders: &[Holder]) -> Finding {
    let name = name(wanted);
    let is_daemon = |owner: &Owner| owner.name == NAME;
    let owners: Vec<&Owner> = holders.iter().flat_map(|holder| &holder.owners).collect();
    let strangers = owners.iter().filter(|owner| !is_daemon(owner));
    let strangers: Vec<_> = strangers
        .map(|it| format!("{} ({})", it.name, it.pid))
        .collect();
    if holders.is_empty() {
        return Finding::ok(CHECK, format!("{name} is free"));
    }
    if !strangers.is_empty() {
        let strangers = fence_doctor::finding::some_of(&strangers);
        return Finding::problem(
            CHECK,
            format!("{name} is in use by {strangers}"),
            "stop that program, or set another port here and on all guests",
        );
    }
    if holders.iter().any(|holder| holder.owners.is_empty()) {
        return Finding::warning(
            CHECK,
            format!("{name} is in use by a program that cannot be seen from here"),
            "run this as root to see whose it is",
        );
    }
    Finding::ok(CHECK, format!("{name} is fence_virtd's"))
}

fn vsock(port: u32, errno: Option<Errno>, runs: bool) -> Finding {
    let name = format!("vsock port {port}");
    match errno {
        None => Finding::ok(CHECK, format!("{name} is free")),
        Some(Errno::EADDRINUSE) if runs => Finding::ok(
            CHECK,
            format!("{name} is in use, most likely by fence_virtd"),
        ),
        Some(Errno::EADDRINUSE) => Finding::problem(
            CHECK,
            format!("{name} is in use by another program"),
            "stop that program (ss --vsock -lp names it), or set another port",
        ),
        Some(Errno::EAFNOSUPPORT | Errno::ESOCKTNOSUPPORT | Errno::ENODEV) => Finding::problem(
            CHECK,
            "this kernel has no vsock",
            "modprobe vhost_vsock, and for good: echo vhost_vsock > /etc/modules-load.d/vsock.conf",
        ),
        Some(errno) => Finding::problem(
            CHECK,
            format!("{name} cannot be had: {}", errno.desc()),
            "run this as root, or set a port above 1023",
        ),
    }
}

#[cfg(test)]
mod tests {
    use fence_doctor::Verdict;

    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            protocol: Protocol::Udp,
            address: "225.0.0.12:1229".parse().unwrap(),
        }
    }

    fn holder(owners: &[&str]) -> Holder {
        let owner = |name: &&str| Owner {
            pid: 7,
            name: (*name).to_owned(),
        };
        Holder {
            address: "0.0.0.0".parse().unwrap(),
            owners: owners.iter().map(owner).collect(),
        }
    }

    #[test]
    fn port_is_free_ours_a_strangers_or_nobody_knows_whose() {
        let verdict = |holders: &[Holder]| port(&wanted(), holders).verdict;
        assert_eq!(verdict(&[]), Verdict::Ok);
        assert_eq!(verdict(&[holder(&["fence_virtd"])]), Verdict::Ok);
        assert_eq!(verdict(&[holder(&["python3"])]), Verdict::Problem);
        assert_eq!(
            verdict(&[holder(&["fence_virtd"]), holder(&["python3"])]),
            Verdict::Problem
        );
        assert_eq!(
            verdict(&[holder(&["fence_virtd"]), holder(&[])]),
            Verdict::Warning
        );
    }

    #[test]
    fn vsock_is_judged_by_what_the_kernel_says() {
        assert_eq!(vsock(1229, None, false).verdict, Verdict::Ok);
        assert_eq!(
            vsock(1229, Some(Errno::EADDRINUSE), true).verdict,
            Verdict::Ok
        );
        assert_eq!(
            vsock(1229, Some(Errno::EADDRINUSE), false).verdict,
            Verdict::Problem
        );
        let none = vsock(1229, Some(Errno::EAFNOSUPPORT), false);
        assert!(none.cure.unwrap().contains("modprobe"));
        assert_eq!(
            vsock(7, Some(Errno::EACCES), false).verdict,
            Verdict::Problem
        );
    }

    #[test]
    fn no_daemon_is_a_warning_and_so_are_two() {
        let running = |count: u32| {
            let daemons: Vec<_> = (0..count)
                .map(|pid| Daemon {
                    pid,
                    original: false,
                })
                .collect();
            daemon(&daemons).verdict
        };
        assert_eq!(
            [running(0), running(1), running(2)],
            [Verdict::Warning, Verdict::Ok, Verdict::Warning]
        );
    }
}
