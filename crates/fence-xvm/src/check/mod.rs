//! `--check`: what would keep this guest from fencing, and one harmless question to every host that answers.
//!
//! The counterpart of `fence_virtd --check`, with the same output and exit codes: 0 fine, 1 problems, 2 warnings only.

mod judge;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fence_doctor::firewall::{self, Packet};
use fence_doctor::patience::begin;
use fence_doctor::sockets::{self, Owner, Protocol};
use fence_doctor::{Finding, Report, render};
use fence_proto::Action;

use crate::console::Console;
use crate::net::{self, survey};
use crate::role::Role;
use crate::settings::{Line, Mode, Multicast, Network, Settings};
use crate::{Asking, Error, key_file, needs_key, outcome, prepare};

/// How long anything may take that normally takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What asks several programs one after another.
const LONGER: Duration = Duration::from_secs(10);

/// Checks, prints, and returns the exit code.
pub(crate) fn run(
    role: Role,
    settings: &Settings,
    json: bool,
    console: Console,
) -> Result<u8, Error> {
    let report = Report {
        program: role.name(),
        findings: everything(settings, console),
    };
    let text = if json {
        render::json(&report)
    } else {
        render::table(&report)
    };
    console.result(&text).map_err(Error::Stdout)?;
    Ok(report.exit_code())
}

fn everything(settings: &Settings, console: Console) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("options", settings.to_string())];
    let usable = match key(settings) {
        Ok(finding) => {
            findings.push(finding);
            true
        }
        Err(finding) => {
            findings.push(finding);
            false
        }
    };
    match &settings.mode {
        Mode::Network(network) => {
            let packets = judge::packets(network);
            let rules = begin(LONGER, move || firewall_findings(&packets));
            if let Network::Multicast(multicast) = network {
                findings.push(judge::addresses(multicast, &survey::announced(multicast)));
                findings.push(port(multicast));
            }
            findings.extend(rules.result().unwrap_or_else(|late| {
                vec![Finding::warning(
                    "firewall",
                    format!("the rules cannot be read: {late}"),
                    "nft list ruleset",
                )]
            }));
        }
        Mode::Line(Line::Serial { device, .. }) => findings.push(device_finding(device)),
        Mode::Line(Line::Channel(_)) => {}
    }
    if usable {
        findings.extend(hosts(settings, console));
    } else {
        findings.push(Finding::skipped(
            judge::HOST,
            "without a key no host can be asked",
        ));
    }
    findings
}

/// `Err` if no request can be made without it.
fn key(settings: &Settings) -> Result<Finding, Finding> {
    if !needs_key(settings) {
        return Ok(judge::no_key(settings));
    }
    match key_file::read(&settings.key_file) {
        Ok(read) => Ok(judge::key(settings, &read.key, read.warning.as_deref())),
        Err(error) => Err(Finding::problem(
            judge::KEY,
            error.to_string(),
            format!(
                "copy the hosts' key to {}, mode 0600",
                settings.key_file.display()
            ),
        )),
    }
}

fn firewall_findings(packets: &[(Packet, String)]) -> Vec<Finding> {
    if packets.is_empty() {
        return vec![Finding::skipped("firewall", "vsock passes none")];
    }
    firewall::read(PATIENCE).judge(packets)
}

fn port(multicast: &Multicast) -> Finding {
    let tried = survey::try_port(multicast);
    let owners = if tried.is_err() {
        owners(multicast)
    } else {
        Vec::new()
    };
    judge::port(multicast.port, &tried, &owners)
}

fn owners(multicast: &Multicast) -> Vec<Owner> {
    let group = multicast.group;
    let any = if group.is_ipv4() { "0.0.0.0" } else { "::" };
    let (Ok(any), Ok(all)) = (any.parse(), sockets::read(Protocol::Tcp)) else {
        return Vec::new();
    };
    let there = all
        .into_iter()
        .filter(|it| sockets::is_in_the_way(it, any, multicast.port));
    let inodes: BTreeSet<u64> = there.map(|it| it.inode).collect();
    sockets::owners(&inodes)
}

fn device_finding(device: &std::path::Path) -> Finding {
    match net::check_device(device) {
        Ok(()) => Finding::ok(
            "device",
            format!("{} is a character device", device.display()),
        ),
        Err(error) => Finding::problem(
            "device",
            error.to_string(),
            "give the VM a serial port, or name another device with -D",
        ),
    }
}

/// A question that changes nothing: of the domain if one is named, else of the host itself.
fn hosts(settings: &Settings, console: Console) -> Vec<Finding> {
    let action = if settings.domain.is_empty() {
        Action::Monitor
    } else {
        Action::Status
    };
    // Looked at already, and not to be said twice.
    let quiet = console.with_debug(0);
    let asked =
        prepare(action, settings, quiet).and_then(|asking| ask(action, settings, asking, quiet));
    asked.unwrap_or_else(|error| {
        vec![Finding::problem(
            judge::HOST,
            error.to_string(),
            "on the host: fence_virtd --check",
        )]
    })
}

fn ask(
    action: Action,
    settings: &Settings,
    asking: Asking,
    console: Console,
) -> Result<Vec<Finding>, Error> {
    let began = Instant::now();
    let attempt = match asking {
        Asking::Network(Network::Multicast(multicast), config) => {
            let answers = survey::survey(&config, &multicast)?;
            return Ok(judge::survey(settings, &multicast, &answers));
        }
        Asking::Network(network, config) => net::ask(*config, &network, console)?,
        Asking::Line(line, config) => net::ask_line(config, &line, console)?,
    };
    let after = judge::milliseconds(began.elapsed());
    let outcome = outcome::outcome(action, settings, &attempt);
    Ok(vec![match outcome.complaint {
        None => judge::verdict_of(&settings.mode.to_string(), after, &attempt.verdict, ""),
        Some(complaint) => Finding::problem(
            judge::HOST,
            format!("{complaint} (after {after} ms)"),
            "on the host: fence_virtd --check",
        ),
    }])
}
