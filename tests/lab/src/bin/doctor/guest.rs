//! The guest's side: `fence_xvm --check` against both daemons, and what is in its way.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use fence_lab::{Failure, Guest, Side, Transport, Verdict, ensure};

use crate::Case;
use crate::stage::{PORT, Stage};

pub(crate) const CASES: &[Case] = &[
    (
        "guest: every host that answers is told, ours and the original",
        hosts,
    ),
    ("guest: a firewall, a busy port and another key", obstacles),
];

fn hosts(stage: &Stage) -> Verdict {
    let none = stage.check_guest(&[])?;
    none.expect("host", "problem", "no host called back")?;
    none.expect("address", "ok", "10.77.0.2")?;
    none.expect("port", "ok", "free")?;
    ensure!(none.code == 1, "exit code {}", none.code);
    for side in [Side::Ours, Side::C] {
        let config = stage.config(Transport::Multicast);
        let name = format!("{side}");
        let _host = stage.launch(side, &name).start_ready(config)?;
        let checked = stage.check_guest(&[])?;
        checked.expect("host", "ok", "10.77.0.1")?;
        ensure!(checked.code == 0, "{side}: exit code {}", checked.code);
        // Of a domain, and without doing what is said.
        stage
            .check_guest(&["-o", "off", "-n", "test"])?
            .expect("host", "ok", " ms")?;
        let still = stage.check_guest(&["-n", "test"])?;
        ensure!(
            !still.text().contains("off there"),
            "{side}: the domain is off"
        );
    }
    Ok(())
}

fn obstacles(stage: &Stage) -> Verdict {
    let _host = stage
        .launch(Side::Ours, "host")
        .start_ready(stage.config(Transport::Multicast))?;
    let guest = stage.net.guest(Guest::First);
    let nft = |rule: &str| {
        let output = guest.command("nft").arg(rule).output()?;
        ensure!(output.status.success(), "nft {rule}");
        Ok(())
    };
    stage.check_guest(&[])?.expect("firewall", "ok", "")?;
    nft(
        "add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }",
    )?;
    let checked = stage.check_guest(&[])?;
    checked.expect("firewall", "warning", "TCP port 1229")?;
    checked.expect("host", "problem", "no host called back")?;
    nft("add rule inet f in tcp dport 1229 accept")?;
    let checked = stage.check_guest(&[])?;
    checked.expect("firewall", "ok", "")?;
    checked.expect("host", "ok", "")?;
    nft("flush ruleset")?;
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let busy = guest.inside(|| TcpListener::bind((any, PORT)))??;
    let checked = stage.check_guest(&[])?;
    checked.expect("port", "warning", &format!("({})", std::process::id()))?;
    checked.expect("host", "ok", "")?;
    drop(busy);
    let other = stage.directory.join("other");
    let mut bytes = vec![0; 4096];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(error.to_string()))?;
    fs::write(&other, bytes)?;
    let other = other.to_string_lossy().into_owned();
    stage
        .check_guest(&["-k", &other])?
        .expect("host", "problem", "no host called back")?;
    // The request is taken, and then it is found out that the host has another idea of auth.
    stage.check_guest(&["-C", "sha512"])?.expect(
        "host",
        "problem",
        "does not prove that it has our key",
    )
}
