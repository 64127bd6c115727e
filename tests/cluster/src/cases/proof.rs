//! The owner is gone for good, and somebody can prove that it was fenced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fence_lab::{Verdict, ensure, wait};
use nix::sys::signal::Signal;

use super::records::with_all;
use super::{B, C, migration};
use crate::case::{Case, FENCED, OFF, Outcome, REFUSED, Vm, ask, outcome, recorded};
use crate::cluster::Cluster;
use crate::host::Service;
use crate::names::HostId;
use crate::virtd::Settings;

const NONE: crate::case::Recorded = recorded("", "", &[]);
const C_OFF: &[Outcome] = &[outcome(&[0], Vm::Runs)];
const C_STATUS: &[Outcome] = &[outcome(&[2], Vm::Runs)];
const UNPROVEN: &[Outcome] = &[outcome(&[1], Vm::Still)];
/// Nobody else has the domain's definition.
const NOWHERE: &[Outcome] = &[outcome(&[1], Vm::Gone)];

const PROGRAM: &str = "/etc/cluster/proof";
/// Notes how it is called, then ends as it is told: with an exit code, or never.
const SCRIPT: &str = "#!/bin/sh\n\
    echo \"$@\" >>/etc/cluster/proof.calls\n\
    read -r verdict </etc/cluster/proof.verdict\n\
    [ \"$verdict\" != hang ] || sleep 60\n\
    echo 'the lab says so'\n\
    exit \"$verdict\"\n";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "owner fenced by pacemaker",
        |cluster| {
            cluster.start_pacemaker()?;
            cluster
                .host(HostId::A)
                .signal(Service::Corosync, Signal::SIGSTOP)?;
            cluster.wait_for_fencing(HostId::A)
        },
        &[
            ask("status", B, recorded("2", "runs", C_STATUS), REFUSED),
            ask("off", C, recorded("0", "runs", C_OFF), REFUSED),
            ask("status", B, recorded("2", "gone", OFF), OFF).after(|cluster| {
                cluster.fence(HostId::A)?;
                wait_for_proof(cluster)
            }),
            ask("off", C, recorded("0", "gone", FENCED), FENCED),
            ask("reboot", B, recorded("0", "gone", FENCED), FENCED),
        ],
    )
    .with(|settings| with_all(settings, "fence_proof", "pacemaker"))
    .finally(Cluster::kill_pacemaker)
    .quick(),
    Case::new(
        "owner loses power, proof by a command",
        |cluster| {
            verdict(cluster, "2")?;
            cluster.power_off(HostId::A)?;
            cluster.wait_for_nodes(&[HostId::B, HostId::C])
        },
        &[
            ask("off", B, NONE, NOWHERE),
            ask("off", B, NONE, NOWHERE).after(|cluster| verdict(cluster, "1")),
            ask("status", C, NONE, NOWHERE).after(|cluster| verdict(cluster, "hang")),
            ask("status", C, NONE, OFF).after(|cluster| {
                verdict(cluster, "0")?;
                wait_for_proof(cluster)
            }),
            ask("off", B, NONE, FENCED),
            ask("on", B, NONE, NOWHERE),
        ],
    )
    .with(prove_by_command)
    .finally(the_command_was_asked_well)
    .ours_only(),
    Case::new(
        "migration in flight, source loses power, proof by a command",
        |cluster| {
            verdict(cluster, "1")?;
            migration::migrate(cluster)?;
            cluster.power_off(HostId::A)?;
            cluster.wait_for_nodes(&[HostId::B, HostId::C])
        },
        &[
            ask("off", C, NONE, UNPROVEN),
            ask("off", C, NONE, FENCED).after(|cluster| {
                verdict(cluster, "0")?;
                wait_for_off(cluster)
            }),
            ask("status", B, NONE, OFF),
        ],
    )
    .with(prove_by_command)
    .ours_only(),
];

fn prove_by_command(settings: &mut [Settings; 3]) {
    with_all(settings, "fence_proof", "command");
    with_all(settings, "fence_proof_command", PROGRAM);
}

/// What the command says from now on, on every host.
fn verdict(cluster: &mut Cluster, code: &str) -> Verdict {
    for host in cluster.hosts() {
        let script = host.disk.path(PROGRAM.trim_start_matches('/'));
        fs::write(&script, SCRIPT)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        host.disk
            .write("etc/cluster/proof.verdict", &format!("{code}\n"))?;
    }
    Ok(())
}

/// A proof may be looked for every few seconds only.
fn wait_for_proof(cluster: &mut Cluster) -> Verdict {
    wait_for(cluster, "status", 2)
}

fn wait_for_off(cluster: &mut Cluster) -> Verdict {
    wait_for(cluster, "off", 0)
}

fn wait_for(cluster: &mut Cluster, action: &str, code: i32) -> Verdict {
    let limit = Duration::from_secs(30);
    wait::until("the proof to be found", limit, || {
        let answer = cluster.answer(action, "vm1", B);
        answer.is_ok_and(|answer| answer.code == code)
    })
    .map_err(|failure| failure.with(&cluster.logs()))
}

/// With the host's name and a time of its departure that is neither in the future nor long ago.
fn the_command_was_asked_well(cluster: &mut Cluster) -> Verdict {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let mut calls = 0;
    for host in cluster.hosts() {
        for line in host.disk.read("etc/cluster/proof.calls").lines() {
            let (name, time) = line.split_once(' ').unwrap_or((line, ""));
            let age = time
                .parse()
                .ok()
                .and_then(|time: u64| now.checked_sub(time));
            ensure!(
                name == HostId::A.name() && age.is_some_and(|age| age < 600),
                "the command was asked: {line:?}"
            );
            calls += 1;
        }
    }
    ensure!(calls > 0, "the command was never asked");
    Ok(())
}
