//! Interfaces, bridges, routes, firewalls and ports, each red and green.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

use fence_lab::net::BRIDGE;
use fence_lab::wait::PATIENCE;
use fence_lab::{Side, Transport, Verdict, ensure};

use crate::Case;
use crate::stage::{PORT, Stage};

pub(crate) const CASES: &[Case] = &[
    (
        "check: a healthy host is fine, beside a daemon that goes on serving",
        healthy,
    ),
    (
        "check: an interface that is missing, down or a port",
        interface,
    ),
    ("check: a bridge that snoops without a querier", snooping),
    ("check: no route to the group", route),
    (
        "check: nftables that lets nothing or something through",
        nftables,
    ),
    (
        "check: iptables that lets nothing or something through",
        iptables,
    ),
    ("check: a port that a stranger has", port),
    ("check: an address that is not this host's", address),
    ("check: the original daemon is told from ours", original),
];

fn healthy(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Multicast);
    stage
        .check(&config)?
        .expect("daemon", "warning", "does not run")?;
    let mut host = stage
        .launch(Side::Ours, "host")
        .start_ready(config.clone())?;
    for _ in 0..3 {
        let checked = stage.check(&config)?;
        for check in [
            "config",
            "key",
            "daemon",
            "port",
            "interface",
            "snooping",
            "route",
            "firewall",
            "libvirt",
        ] {
            checked.expect(check, "ok", "")?;
        }
        ensure!(checked.code == 0, "exit code {}", checked.code);
    }
    stage
        .check(&config)?
        .expect("port", "ok", "fence_virtd's")?;
    // It is still there, and answers.
    stage.check_guest(&[])?.expect("host", "ok", " ms")?;
    ensure!(host.process.is_running(), "the daemon has ended");
    Ok(())
}

fn interface(stage: &Stage) -> Verdict {
    let mut config = stage.config(Transport::Multicast);
    stage.check(&config)?.expect("interface", "ok", BRIDGE)?;
    stage.net.dom0.ip(&format!("link set {BRIDGE} down\n"))?;
    stage
        .check(&config)?
        .expect("interface", "problem", "is down")?;
    stage.net.dom0.ip(&format!(
        "link set {BRIDGE} up\nlink set {BRIDGE} multicast off\n"
    ))?;
    stage
        .check(&config)?
        .expect("interface", "problem", "cannot do multicast")?;
    stage
        .net
        .dom0
        .ip(&format!("link set {BRIDGE} multicast on\n"))?;
    config.interface = Some("g1".to_owned());
    stage
        .check(&config)?
        .expect("interface", "problem", "is a port of")?;
    config.interface = Some("nothing0".to_owned());
    stage
        .check(&config)?
        .expect("interface", "problem", "there is no interface nothing0")?;
    config.interface = None;
    stage.check(&config)?.expect("interface", "ok", BRIDGE)
}

fn snooping(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Multicast);
    stage
        .check(&config)?
        .expect("snooping", "ok", "every port")?;
    stage.bridge("mcast_snooping 1")?;
    stage
        .check(&config)?
        .expect("snooping", "warning", "querier")?;
    stage.bridge("mcast_querier 1")?;
    stage
        .check(&config)?
        .expect("snooping", "ok", "is a querier")
}

fn route(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Multicast);
    stage.check(&config)?.expect("route", "ok", BRIDGE)?;
    stage
        .net
        .dom0
        .ip(&format!("route del 224.0.0.0/4 dev {BRIDGE}\n"))?;
    stage.check(&config)?.expect("route", "warning", "no route")
}

fn nftables(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Multicast);
    stage.bridge("mcast_snooping 1 mcast_querier 1")?;
    stage.check(&config)?.expect("firewall", "ok", "")?;
    let nft = |rule: &str| stage.in_dom0(&["nft", rule]);
    nft(
        "add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }",
    )?;
    nft("add rule inet f in iifname lo accept; add rule inet f in tcp dport 22 accept")?;
    let checked = stage.check(&config)?;
    for what in ["UDP port 1229", "answers over TCP", "IGMP"] {
        checked.expect("firewall", "warning", what)?;
    }
    nft("add rule inet f in ct state established,related accept")?;
    nft("add rule inet f in ip protocol igmp accept")?;
    stage
        .check(&config)?
        .expect("firewall", "warning", "UDP port 1229")?;
    nft(&format!(
        "add rule inet f in iifname {BRIDGE} udp dport {{ 53, 1200-1300 }} accept"
    ))?;
    stage.check(&config)?.expect("firewall", "ok", "")?;
    nft("insert rule inet f in udp dport 1229 drop")?;
    stage
        .check(&config)?
        .expect("firewall", "problem", "drops UDP port 1229")?;
    nft("flush ruleset")?;
    nft("add table ip o; add chain ip o out { type filter hook output priority 0; policy drop; }")?;
    stage
        .check(&config)?
        .expect("firewall", "warning", "call guests back")?;
    nft("add rule ip o out oifname \"br*\" accept")?;
    stage.check(&config)?.expect("firewall", "ok", "")
}

fn iptables(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Tcp);
    let iptables = |words: &str| {
        let words: Vec<_> = std::iter::once("iptables")
            .chain(words.split(' '))
            .collect();
        stage.in_dom0(&words)
    };
    stage.check(&config)?.expect("firewall", "ok", "")?;
    iptables("-P INPUT DROP")?;
    iptables("-A INPUT -i lo -j ACCEPT")?;
    stage
        .check(&config)?
        .expect("firewall", "warning", "TCP port 1229")?;
    iptables("-N OWN")?;
    iptables("-A INPUT -j OWN")?;
    iptables("-A OWN -p tcp -m multiport --dports 22,1229 -j ACCEPT")?;
    stage.check(&config)?.expect("firewall", "ok", "")?;
    iptables("-I OWN -p tcp --dport 1229 -j REJECT")?;
    stage
        .check(&config)?
        .expect("firewall", "problem", "TCP port 1229")
}

fn port(stage: &Stage) -> Verdict {
    let multicast = stage.config(Transport::Multicast);
    let tcp = stage.config(Transport::Tcp);
    stage.check(&multicast)?.expect("port", "ok", "free")?;
    stage.check(&tcp)?.expect("port", "ok", "free")?;
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let sockets = stage
        .net
        .dom0
        .inside(|| (UdpSocket::bind((any, PORT)), TcpListener::bind((any, PORT))))?;
    let (udp, listener) = (sockets.0?, sockets.1?);
    let me = format!("({})", std::process::id());
    stage.check(&multicast)?.expect("port", "problem", &me)?;
    stage.check(&tcp)?.expect("port", "problem", &me)?;
    drop((udp, listener));
    stage.check(&tcp)?.expect("port", "ok", "free")
}

fn address(stage: &Stage) -> Verdict {
    let mut config = stage.config(Transport::Tcp);
    stage.check(&config)?.expect("interface", "ok", BRIDGE)?;
    config.address = Some("10.99.0.1".to_owned());
    stage
        .check(&config)?
        .expect("interface", "problem", "10.99.0.1")?;
    config.address = Some("127.0.0.1".to_owned());
    stage
        .check(&config)?
        .expect("config", "warning", "no guest")
}

fn original(stage: &Stage) -> Verdict {
    let config = stage.config(Transport::Multicast);
    let mut host = stage.launch(Side::C, "c").start_ready(config.clone())?;
    let checked = stage.check(&config)?;
    checked.expect("daemon", "ok", "the original")?;
    checked.expect("port", "ok", "fence_virtd's")?;
    host.terminate(PATIENCE)?;
    stage.check(&config)?.expect("daemon", "warning", "")
}
