//! The matrix: transports × families × hashes, the table's rows in each.

use std::time::Duration;

use fence_lab::agent::Running;
use fence_lab::config::{HostConfig, Transport};
use fence_lab::domains::BYSTANDER;
use fence_lab::{Agent, Failure, Group, Guest, Host, Side, Verdict, ensure};
use fence_proto::{Family, HashAlgorithm};

use crate::table::{self, After, REBOOT_ROWS, ROWS, Row};
use crate::{Bench, Job};

/// `hash` and `auth` of the configurations.
const HASHES: [(HashAlgorithm, HashAlgorithm); 6] = [
    (HashAlgorithm::None, HashAlgorithm::None),
    (HashAlgorithm::Sha1, HashAlgorithm::Sha1),
    (HashAlgorithm::Sha256, HashAlgorithm::Sha256),
    (HashAlgorithm::Sha512, HashAlgorithm::Sha512),
    (HashAlgorithm::Sha1, HashAlgorithm::Sha512),
    (HashAlgorithm::Sha512, HashAlgorithm::Sha1),
];

/// Transports and families.
pub(crate) const WAYS: [(Transport, Family); 4] = [
    (Transport::Multicast, Family::Ipv4),
    (Transport::Multicast, Family::Ipv6),
    (Transport::Tcp, Family::Ipv4),
    (Transport::Tcp, Family::Ipv6),
];

/// The configurations of one pairing.
pub(crate) fn jobs(host: Side, agent: Side) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (transport, family) in WAYS {
        let way = format!("host {host}, agent {agent}: {transport} {}", family.name());
        jobs.push(Job {
            name: format!("reboot: {way}"),
            host,
            agent,
            run: Box::new(move |bench, group| {
                reboots(bench, HostConfig::new(transport, family, bench.port), group)
            }),
        });
        for (hash, auth) in HASHES {
            jobs.push(Job {
                name: format!("matrix: {way} {hash}/{auth}"),
                host,
                agent,
                run: Box::new(move |bench, group| {
                    let mut config = HostConfig::new(transport, family, bench.port);
                    config.hash = hash;
                    config.auth = auth;
                    configuration(bench, config, group)
                }),
            });
        }
    }
    jobs
}

fn reboots(bench: &Bench<'_>, config: HostConfig, group: &mut Group) -> Result<(), Failure> {
    let config = bench.furnish(config, "host")?;
    let host = bench.launch("host").start_ready(config)?;
    run_rows(REBOOT_ROWS, &bench.agent_for(&host), host.side, group);
    add_log(&host, group);
    Ok(())
}

/// The table's rows, and beside them agents that must get nothing: each asks to have the bystander
/// fenced. Against multicast they run into their time-outs, so they run while others work.
fn configuration(bench: &Bench<'_>, config: HostConfig, group: &mut Group) -> Result<(), Failure> {
    let config = bench.furnish(config, "host")?;
    let host = bench.launch("host").start_ready(config)?;
    let agent = bench.agent_for(&host);
    let (hash, auth) = host.config.effective(host.side);

    let wrong_key = agent.clone().from_guest(Guest::Second);
    let wrong_key = wrong_key.with("-k", &bench.wrong_key()?.to_string_lossy());
    // Without hash and auth there is no key to be wrong.
    let keyed = (hash, auth) != (HashAlgorithm::None, HashAlgorithm::None);
    let wrong_key = keyed.then(|| stranger(&wrong_key)).transpose()?;

    run_rows(ROWS, &agent, host.side, group);
    if let Some(running) = wrong_key {
        group.case("wrong key", refused(running, bench.agent));
    }

    let weaker = HashAlgorithm::ALL.into_iter().rfind(|other| *other < hash);
    let weaker = weaker.map(|weaker| stranger(&agent.clone().with_hash(weaker)));
    let other_auth = other_auth(auth).map(|other| {
        let agent = agent.clone().from_guest(Guest::Second);
        stranger(&agent.with("-C", other.name()))
    });
    for (name, running) in [("weaker hash", weaker), ("other auth", other_auth)] {
        if let Some(running) = running {
            group.case(name, refused(running?, bench.agent));
        }
    }
    let untouched = agent.expect_state(BYSTANDER.name, true);
    group.case("no stranger touched the bystander", untouched);
    add_log(&host, group);
    Ok(())
}

const fn other_auth(auth: HashAlgorithm) -> Option<HashAlgorithm> {
    match auth {
        HashAlgorithm::None => None,
        HashAlgorithm::Sha1 => Some(HashAlgorithm::Sha256),
        HashAlgorithm::Sha256 => Some(HashAlgorithm::Sha512),
        HashAlgorithm::Sha512 => Some(HashAlgorithm::Sha1),
    }
}

fn stranger(agent: &Agent<'_>) -> Result<Running, Failure> {
    agent.spawn(&["-o", "off", "-n", BYSTANDER.name, "-t", "2"])
}

fn refused(running: Running, agent: Side) -> Verdict {
    let answer = running.finish(Duration::from_secs(8))?;
    ensure!(
        answer.code == 1,
        "it should fail, but: {}",
        answer.describe()
    );
    ensure!(
        table::message_is_right(&answer, agent, "Operation failed\n"),
        "it fails without the right message: {}",
        answer.describe()
    );
    Ok(())
}

/// Runs rows one after another; each is one case.
pub(crate) fn run_rows(rows: &[Row], agent: &Agent<'_>, host: Side, group: &mut Group) {
    for row in rows {
        let verdict = run_row(row, agent, host);
        group.case(&described(row), verdict);
    }
}

fn described(row: &Row) -> String {
    row.exception.map_or_else(
        || row.name.to_owned(),
        |exception| format!("{} [{}]", row.name, exception.id),
    )
}

fn run_row(row: &Row, agent: &Agent<'_>, host: Side) -> Verdict {
    let (want, after) = match row.exception {
        Some(exception) if host == Side::C => (exception.c_host, exception.c_after),
        _ => (row.want, row.after),
    };
    let answer = agent.act(row.action, &row.target.text())?;
    table::judge(&answer, want, host, agent.side)?;
    match after {
        After::Unchanged => Ok(()),
        After::On(domain) => agent.expect_state(domain.name, true),
        After::Off(domain) => agent.expect_state(domain.name, false),
    }
}

/// Adds the daemon's log to a group that has failed.
pub(crate) fn add_log(host: &Host, group: &mut Group) {
    if group.has_failed() {
        group.note(&host.process.tail());
    }
}
