//! `fence_virtd --check`: goes through what makes fencing fail in practice, and says of each what it found and what
//! would help.
//!
//! It only reads, runs beside a daemon without disturbing it, and ends in time whatever hangs: everything that may
//! hang is begun at once, each on a thread of its own with a deadline. What is found is told from what it means: the
//! submodules' `judge` functions are pure.

mod clock;
mod cluster;
mod file;
mod hypervisors;
mod network;
mod packets;
mod ports;

use std::path::Path;
use std::time::Duration;

use fence_doctor::firewall::{self, Firewall};
use fence_doctor::patience::{Pending, begin};
use fence_doctor::{Finding, Report};

use crate::config::{self, BackendSettings, CpgSettings, Settings, Surveyed};
use crate::corosync::look::{Look, look};
use crate::links::{self, Link};

/// How long anything may take that normally takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is waited for that waits for others itself.
const LONGER: Duration = Duration::from_secs(16);

/// Checks this host with this configuration file.
#[must_use]
pub fn run(path: &Path) -> Report {
    let owned = path.to_owned();
    let surveyed = begin(PATIENCE, move || config::survey(&owned)).result();
    let findings = match surveyed {
        Err(late) => vec![Finding::problem(
            "config",
            format!("{} cannot be read: {late}", path.display()),
            "look at the file system that it, or its key file, is on",
        )],
        Ok(Err(error)) => {
            let mut findings = vec![file::unusable(&error)];
            findings.push(Finding::skipped(
                "others",
                "without a configuration nothing else is looked at",
            ));
            findings
        }
        Ok(Ok(surveyed)) => everything(path, &surveyed),
    };
    Report {
        program: "fence_virtd",
        findings,
    }
}

/// What may hang, under way.
struct Asked {
    hypervisors: Vec<(String, Pending<hypervisors::Hypervisor>)>,
    firewall: Pending<Firewall>,
    links: Pending<std::io::Result<Vec<Link>>>,
    ports: Pending<ports::Facts>,
    cluster: Option<AskedCluster>,
}

/// The part of a cluster.
struct AskedCluster {
    settings: CpgSettings,
    look: Pending<Result<Look, String>>,
    proof: Pending<Finding>,
}

impl Asked {
    fn of(settings: &Settings) -> Self {
        let hypervisors = hypervisors::uris(settings).into_iter().map(|uri| {
            let own = uri.clone();
            (uri, begin(PATIENCE, move || hypervisors::ask(&own)))
        });
        let whole = settings.clone();
        Self {
            hypervisors: hypervisors.collect(),
            firewall: begin(LONGER, || firewall::read(PATIENCE)),
            links: begin(PATIENCE, links::all),
            ports: begin(LONGER, move || ports::gather(&whole)),
            cluster: match &settings.backend {
                BackendSettings::Libvirt(_) => None,
                BackendSettings::Cpg(cpg) => Some(Self::of_cluster(cpg)),
            },
        }
    }

    fn of_cluster(cpg: &CpgSettings) -> AskedCluster {
        let (group, own) = (cpg.group.clone(), cpg.clone());
        AskedCluster {
            settings: cpg.clone(),
            look: begin(PATIENCE, move || look(&group)),
            proof: begin(LONGER, move || cluster::proof(&own, PATIENCE)),
        }
    }
}

fn everything(path: &Path, surveyed: &Surveyed) -> Vec<Finding> {
    let settings = &surveyed.loaded.settings;
    let asked = Asked::of(settings);
    let mut findings = file::usable(path, surveyed, file::modes(path));
    findings.extend(file::key_facts(&surveyed.keys).iter().map(file::key));
    let ports = asked.ports.result();
    match &ports {
        Ok(facts) => findings.extend(ports::judge(facts)),
        Err(late) => findings.push(unseen("port", late)),
    }
    let links = asked
        .links
        .result()
        .and_then(|it| it.map_err(|error| error.to_string()));
    let groups = network::groups(settings);
    match &links {
        Ok(links) => {
            let routes: Vec<_> = groups.into_iter().map(network::route_to).collect();
            findings.extend(network::judge(settings, links, &routes));
        }
        Err(late) => findings.push(unseen("interface", late)),
    }
    let packets = packets::needed(settings, links.as_deref().unwrap_or_default());
    findings.extend(match asked.firewall.result() {
        Ok(_) if packets.is_empty() => vec![Finding::skipped("firewall", "no listener needs it")],
        Ok(firewall) => firewall.judge(&packets),
        Err(late) => vec![unseen("firewall", &late)],
    });
    let answers = asked
        .hypervisors
        .into_iter()
        .map(|(uri, pending)| (uri, pending.result()));
    let answers: Vec<_> = answers.collect();
    findings.extend(hypervisors::judge(settings, &answers));
    let is_cluster = asked.cluster.is_some();
    if let Some(AskedCluster {
        settings: cpg,
        look,
        proof,
    }) = asked.cluster
    {
        let daemons = ports.map(|facts| facts.daemons).unwrap_or_default();
        let (of, group) = (daemons.clone(), cpg.group.clone());
        let kinds = begin(PATIENCE, move || cluster::kinds(&of, &group)).result();
        let kinds = kinds.unwrap_or_default();
        let look = look.result().and_then(|it| it);
        findings.extend(cluster::judge(&cpg, &look, &daemons, &kinds));
        findings.push(proof.result().unwrap_or_else(|late| unseen("proof", &late)));
    }
    findings.push(clock::judge(clock::read(), is_cluster));
    findings
}

/// What could not be looked at in time.
fn unseen(check: &'static str, why: &str) -> Finding {
    Finding::warning(
        check,
        format!("this could not be looked at: {why}"),
        "run this as root, and again when the machine is less busy",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn configuration_that_cannot_be_used_is_the_only_problem_told() {
        let report = run(Path::new("/nonexistent/conf"));
        assert_eq!(report.exit_code(), 1);
        assert_eq!(report.findings.len(), 2);
    }

    #[test]
    fn everything_is_looked_at_and_the_key_is_never_told() {
        let scratch = Scratch::new();
        let (path, key) = (scratch.path("conf"), scratch.path("key"));
        let secret = "correct horse battery staple";
        fs::write(&key, secret).unwrap();
        let text = format!(
            "fence_virtd {{ listener = \"tcp\"; backend = \"libvirt\"; }}\n\
             listeners {{ tcp {{ key_file = \"{}\"; port = \"61229\"; }} }}\n\
             backends {{ libvirt {{ uri = \"test:///default\"; uri1 = \"nonsense:///x\"; }} }}",
            key.display()
        );
        fs::write(&path, text).unwrap();
        let report = run(&path);
        assert_eq!(report.exit_code(), 1);
        for check in [
            "config",
            "key",
            "daemon",
            "port",
            "interface",
            "firewall",
            "libvirt",
            "clock",
        ] {
            assert!(
                report.findings.iter().any(|it| it.check == check),
                "{check}"
            );
        }
        let told = fence_doctor::render::json(&report) + &fence_doctor::render::table(&report);
        assert!(!told.contains("horse"), "{told}");
    }
}
