//! Interfaces that come, go and come back: virbr0 often appears after the daemon.

use std::time::Duration;

use fence_lab::config::{HostConfig, Transport};
use fence_lab::domains::VM1;
use fence_lab::net::BRIDGE;
use fence_lab::wait::{self, PATIENCE};
use fence_lab::{Agent, Failure, Verdict, ensure};
use fence_proto::Family;

use crate::Case;
use crate::stage::{Stage, ends_well};

pub(crate) const CASES: &[Case] = &[
    (
        "a bridge that appears after the daemon is joined",
        |stage| later(stage, Family::Ipv4),
    ),
    (
        "a bridge that appears after the daemon is joined, IPv6",
        |stage| later(stage, Family::Ipv6),
    ),
    (
        "a bridge that goes and comes back is joined again",
        |stage| comes_back(stage, None),
    ),
    (
        "a named bridge that goes and comes back is joined again",
        |stage| comes_back(stage, Some(BRIDGE)),
    ),
    ("a named interface that is missing ends the daemon", missing),
    (
        "a named interface that is missing is waited for under -w",
        waited_for,
    ),
    ("an address that changes does not matter", new_address),
];

fn config(stage: &Stage, family: Family, interface: Option<&str>) -> Result<HostConfig, Failure> {
    let mut config = stage.config(Transport::Multicast, family)?;
    config.interface = interface.map(str::to_owned);
    Ok(config)
}

fn heard(agent: &Agent<'_>) -> Verdict {
    wait::until("the daemon to hear the guest", PATIENCE, || {
        agent
            .run(&["-o", "status", "-n", VM1.name, "-t", "1", "-r", "3"])
            .is_ok_and(|answer| answer.code == 0)
    })
}

fn later(stage: &Stage, family: Family) -> Verdict {
    stage.net.remove_bridge()?;
    let mut host = stage
        .launch("host")
        .start(config(stage, family, None)?, &[])?;
    wait::until("the daemon's socket", PATIENCE, || {
        !host.process.is_running() || host.is_bound()
    })?;
    ensure!(host.process.is_running(), "it ended without an interface");
    stage.net.add_bridge()?;
    stage.net.replug()?;
    heard(&stage.agent(&host.config))?;
    ends_well(&mut host)
}

fn comes_back(stage: &Stage, interface: Option<&str>) -> Verdict {
    let mut host = stage
        .launch("host")
        .start_ready(config(stage, Family::Ipv4, interface)?)?;
    let agent = stage.agent(&host.config);
    heard(&agent)?;
    for _ in 0..2 {
        stage.net.remove_bridge()?;
        std::thread::sleep(Duration::from_millis(300));
        ensure!(host.process.is_running(), "it ended with its interface");
        stage.net.add_bridge()?;
        stage.net.replug()?;
        heard(&agent)?;
    }
    ends_well(&mut host)
}

fn missing(stage: &Stage) -> Verdict {
    let config = config(stage, Family::Ipv4, Some("nosuchif0"))?;
    let mut host = stage.launch("host").start(config, &[])?;
    let status = host.process.wait(PATIENCE)?;
    let log = host.process.stderr();
    ensure!(!status.success(), "it ended with success");
    ensure!(
        log.contains("nosuchif0"),
        "the message does not name the interface: {log}"
    );
    Ok(())
}

fn waited_for(stage: &Stage) -> Verdict {
    stage.net.remove_bridge()?;
    let config = config(stage, Family::Ipv4, Some(BRIDGE))?;
    let mut host = stage.launch("host").start(config, &["-w"])?;
    wait::until("the daemon to wait", PATIENCE, || {
        host.process.stderr().contains(BRIDGE)
    })?;
    ensure!(host.process.is_running(), "it does not wait");
    stage.net.add_bridge()?;
    stage.net.replug()?;
    heard(&stage.agent(&host.config))?;
    ends_well(&mut host)
}

fn new_address(stage: &Stage) -> Verdict {
    let mut host = stage
        .launch("host")
        .start_ready(config(stage, Family::Ipv4, None)?)?;
    let agent = stage.agent(&host.config);
    heard(&agent)?;
    stage.net.dom0.ip(&format!(
        "addr add 10.77.0.201/24 dev {BRIDGE}\naddr del 10.77.0.1/24 dev {BRIDGE}\n\
         addr replace 10.77.0.201/24 dev {BRIDGE}\n"
    ))?;
    stage
        .net
        .dom0
        .ip(&format!("route replace 224.0.0.0/4 dev {BRIDGE}\n"))?;
    heard(&agent)?;
    ends_well(&mut host)
}
