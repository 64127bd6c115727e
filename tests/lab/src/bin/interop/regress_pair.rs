//! Rows of regressions that need a daemon and an agent.

use std::time::Duration;

use fence_lab::config::{HostConfig, Transport};
use fence_lab::domains::{BYSTANDER, VM1};
use fence_lab::host::Launch;
use fence_lab::{Agent, Failure, Guest, Host, Side, Verdict, ensure};
use fence_proto::Family;
use nix::sys::signal::Signal;

use crate::matrix::WAYS;
use crate::{Bench, Job};

const LIMIT: Duration = Duration::from_secs(20);

type Case = fn(&Bench<'_>) -> Verdict;

const CASES: &[(&str, Case)] = &[
    (
        "two agents at once in one guest both succeed (F13)",
        two_agents,
    ),
    ("agents of two guests at once both succeed", two_guests),
    (
        "delay is not applied to status, monitor and list (F15)",
        delay,
    ),
    (
        "IPv6 group with family auto goes by IPv6 (F21)",
        ipv6_group_with_auto,
    ),
    (
        "of two hosts on one group one acts, the other does nothing",
        two_hosts,
    ),
    (
        "a daemon that stood still does not act for an agent that has gone (L37)",
        stood_still,
    ),
];

/// One job for each case.
pub(crate) fn jobs(host: Side, agent: Side) -> Vec<Job> {
    CASES
        .iter()
        .map(|(name, case)| Job {
            name: format!("host {host}, agent {agent}: {name}"),
            host,
            agent,
            run: Box::new(move |bench, group| {
                group.case(name, case(bench));
                Ok(())
            }),
        })
        .collect()
}

fn start<'a>(
    bench: &'a Bench<'_>,
    transport: Transport,
    family: Family,
) -> Result<(Host, Agent<'a>), Failure> {
    let config = bench.furnish(HostConfig::new(transport, family, bench.port), "host")?;
    let host = bench.launch("host").start_ready(config)?;
    let agent = bench.agent_for(&host);
    Ok((host, agent))
}

fn two_agents(bench: &Bench<'_>) -> Verdict {
    for (transport, family) in WAYS {
        let (_host, agent) = start(bench, transport, family)?;
        let first = agent.spawn(&["-o", "off", "-n", VM1.name])?;
        let second = agent.spawn(&["-o", "status", "-n", BYSTANDER.name])?;
        let third = agent.spawn(&["-o", "list"])?;
        for running in [first, second, third] {
            let answer = running.finish(LIMIT)?;
            ensure!(answer.code == 0, "{transport}: {}", answer.describe());
        }
        agent.expect_state(VM1.name, false)?;
    }
    Ok(())
}

fn two_guests(bench: &Bench<'_>) -> Verdict {
    let (_host, agent) = start(bench, Transport::Multicast, Family::Ipv4)?;
    let other = agent.clone().from_guest(Guest::Second);
    let first = agent.spawn(&["-o", "off", "-n", VM1.name])?;
    let second = other.spawn(&["-o", "off", "-n", BYSTANDER.name])?;
    for running in [first, second] {
        let answer = running.finish(LIMIT)?;
        ensure!(answer.code == 0, "{}", answer.describe());
    }
    agent.expect_state(VM1.name, false)?;
    agent.expect_state(BYSTANDER.name, false)
}

fn delay(bench: &Bench<'_>) -> Verdict {
    let (_host, agent) = start(bench, Transport::Tcp, Family::Ipv4)?;
    for action in ["status", "monitor", "list"] {
        let answer = agent.run(&["-o", action, "-n", VM1.name, "-w", "4"])?;
        ensure!(
            answer.code == 0 && answer.elapsed < Duration::from_secs(2),
            "{action}: {}",
            answer.describe()
        );
    }
    let answer = agent.run(&["-o", "off", "-n", VM1.name, "-w", "1"])?;
    ensure!(
        answer.code == 0 && answer.elapsed > Duration::from_secs(1),
        "off: {}",
        answer.describe()
    );
    Ok(())
}

fn ipv6_group_with_auto(bench: &Bench<'_>) -> Verdict {
    let (_host, agent) = start(bench, Transport::Multicast, Family::Ipv6)?;
    let answer = agent
        .with("-i", "auto")
        .run(&["-o", "status", "-n", VM1.name, "-t", "3"])?;
    ensure!(answer.code == 0, "{}", answer.describe());
    Ok(())
}

/// Two daemons, each with a vm1 of its own, hear one group: the second one runs where otherwise the
/// second guest is, so that it is a machine of its own on the same bridge. The agent serves whoever calls first;
/// the other must do nothing at all and go on.
fn two_hosts(bench: &Bench<'_>) -> Verdict {
    let (first, agent) = start(bench, Transport::Multicast, Family::Ipv4)?;
    let mut config = HostConfig::new(Transport::Multicast, Family::Ipv4, bench.port);
    config.interface = Some("eth0".to_owned());
    let config = bench.furnish(config, "second")?;
    let second = Launch {
        namespace: bench.net.guest(Guest::Second),
        ..bench.launch("second")
    };
    let second = second.start_ready(config)?;
    let answer = agent.act("off", VM1.name)?;
    ensure!(answer.code == 0, "{}", answer.describe());
    let mut states = [
        only(&first, &second, &agent)?,
        only(&second, &first, &agent)?,
    ];
    states.sort_unstable();
    // Which host wins is chance; that one is on and one is off is not.
    ensure!(states == [0, 2], "the states on the two hosts: {states:?}");
    Ok(())
}

/// The state of vm1 on one host while the other stands still.
fn only(asked: &Host, silent: &Host, agent: &Agent<'_>) -> Result<i32, Failure> {
    silent.process.signal(Signal::SIGSTOP)?;
    let answer = agent.act("status", VM1.name);
    silent.process.signal(Signal::SIGCONT)?;
    let answer = answer?;
    ensure!(
        [0, 2].contains(&answer.code),
        "the other host does not answer: {}",
        answer.describe() + &asked.process.tail()
    );
    Ok(answer.code)
}

/// An agent asks a daemon that stands still, and gives up. Then the daemon goes on.
fn stood_still(bench: &Bench<'_>) -> Verdict {
    let (host, agent) = start(bench, Transport::Multicast, Family::Ipv4)?;
    host.process.signal(Signal::SIGSTOP)?;
    let answer = agent.run(&["-o", "off", "-n", VM1.name, "-t", "2"]);
    host.process.signal(Signal::SIGCONT)?;
    let answer = answer?;
    ensure!(
        answer.code != 0,
        "nobody could have answered: {}",
        answer.describe()
    );
    agent.expect_state(VM1.name, true)
}
