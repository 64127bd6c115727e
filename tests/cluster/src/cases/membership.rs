//! The cluster comes apart: corosync stands still or dies, cables are cut, hosts lose power.

use std::thread;
use std::time::Duration;

use fence_lab::{Side, Verdict, wait};
use nix::sys::signal::Signal;

use super::{A, B, C};
use crate::case::{
    Case, FENCED, OFF, Outcome, REFUSED, RUNNING, Recorded, Vm, ask, outcome, recorded,
};
use crate::cluster::Cluster;
use crate::host::{PATIENCE, Service};
use crate::names::{HostId, VM2, VM3};

const NONE: Recorded = recorded("", "", &[]);
const C_OFF: &[Outcome] = &[outcome(&[0], Vm::Runs)];
const C_STATUS: &[Outcome] = &[outcome(&[2], Vm::Runs)];
/// What a host runs counts as its own once its daemon has served for 3 s (docs/cluster.md); on a busy machine it
/// may stand still meanwhile.
const OWN_AFTER: Duration = Duration::from_secs(6);
/// A host alone may act on what it has, or refuse; whichever, it says so.
const OWN_OFF: &[Outcome] = &[outcome(&[0], Vm::Gone), outcome(&[1], Vm::Runs)];
/// A host alone may know its own domain's state, or say nothing.
const OWN_STATUS: &[Outcome] = &[outcome(&[0, 1], Vm::Runs)];
/// A host that was alone may have been fenced from the others' point of view, and its domain started.
const NOT_AGAIN: &[Outcome] = &[outcome(&[1], Vm::Gone), outcome(&[0, 1], Vm::Runs)];
const DEAD_UNPROVEN: &[Outcome] = &[outcome(&[1], Vm::Gone)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "owner's corosync stopped by signal",
        |cluster| {
            cluster
                .host(HostId::A)
                .signal(Service::Corosync, Signal::SIGSTOP)
        },
        &[
            ask("off", B, recorded("0, 3.6 s", "runs", C_OFF), REFUSED),
            ask("status", B, recorded("2", "runs", C_STATUS), REFUSED),
            ask("reboot", C, recorded("0", "runs", C_OFF), REFUSED),
        ],
    ),
    Case::new(
        "owner's corosync killed, then back",
        |cluster| {
            thread::sleep(OWN_AFTER);
            cluster
                .host(HostId::A)
                .signal(Service::Corosync, Signal::SIGKILL)?;
            cluster.wait_for_nodes(&[HostId::B, HostId::C])
        },
        &[
            ask("off", B, recorded("0", "runs", C_OFF), REFUSED),
            ask("status", A, recorded("1", "runs", &[]), OWN_STATUS),
            ask("off", A, recorded("1", "runs", &[]), OWN_OFF),
            ask(
                "status",
                B,
                recorded("never rejoins", "", &[]),
                &[outcome(&[2], Vm::Gone), outcome(&[0], Vm::Runs)],
            )
            .after(corosync_comes_back),
        ],
    )
    .quick(),
    Case::new(
        "owner cut off the network",
        |cluster| cluster.cut(HostId::A),
        &[
            ask("off", B, recorded("0, 3.5 s", "runs", C_OFF), REFUSED),
            ask("reboot", B, recorded("0", "runs", C_OFF), REFUSED),
            ask("status", C, recorded("2", "runs", C_STATUS), REFUSED),
            ask("on", C, recorded("1", "runs", REFUSED), REFUSED),
        ],
    )
    .quick(),
    Case::new(
        "owner cut off the network, the others' daemons started anew",
        |cluster| {
            cluster.cut(HostId::A)?;
            cluster.wait_for_nodes(&[HostId::B, HostId::C])?;
            cluster.restart_daemon(HostId::B)?;
            cluster.restart_daemon(HostId::C)?;
            cluster.wait_for_members(HostId::B, 2)?;
            cluster.wait_for_status(VM3.name, HostId::B)
        },
        &[
            ask("off", B, NONE, REFUSED),
            ask("status", C, NONE, REFUSED),
            ask("reboot", C, NONE, REFUSED),
        ],
    )
    .ours_only(),
    Case::new(
        "both other hosts lose power",
        |cluster| {
            thread::sleep(OWN_AFTER);
            cluster.power_off(HostId::B)?;
            cluster.power_off(HostId::C)?;
            without_quorum(cluster, HostId::A)
        },
        &[
            ask("status", A, NONE, DEAD_UNPROVEN).about(VM2),
            ask("off", A, NONE, DEAD_UNPROVEN).about(VM2),
            ask("off", A, NONE, OWN_OFF),
        ],
    )
    .ours_only(),
    Case::new(
        "a third host cut off the network",
        |cluster| {
            cluster.cut(HostId::C)?;
            cluster.wait_for_nodes(&[HostId::A, HostId::B])
        },
        &[
            ask("off", B, recorded("0", "gone", FENCED), FENCED),
            ask("status", A, recorded("2", "gone", OFF), OFF),
            ask("on", B, recorded("0", "runs", RUNNING), RUNNING),
            ask("reboot", A, recorded("0", "runs", RUNNING), RUNNING),
        ],
    ),
    Case::new(
        "isolated host without quorum, a domain of the others",
        isolate_owner,
        &[
            ask("status", A, recorded("2", "runs", C_STATUS), REFUSED).about(VM2),
            ask("off", A, recorded("0", "runs", C_OFF), REFUSED).about(VM2),
            ask("reboot", A, recorded("0", "runs", C_OFF), REFUSED).about(VM2),
            ask("on", A, recorded("1", "runs", REFUSED), REFUSED).about(VM2),
        ],
    )
    .quick(),
    Case::new(
        "isolated host without quorum, its own domain",
        isolate_owner,
        &[
            ask("status", A, recorded("0", "runs", RUNNING), OWN_STATUS),
            ask("off", A, recorded("0", "gone", FENCED), OWN_OFF),
            ask("on", A, recorded("0", "runs", &[]), NOT_AGAIN),
        ],
    ),
    Case::new(
        "owner loses power, then is back",
        |cluster| {
            cluster.power_off(HostId::A)?;
            cluster.wait_for_nodes(&[HostId::B, HostId::C])
        },
        &[
            ask("status", B, recorded("2", "gone", OFF), DEAD_UNPROVEN),
            ask("off", C, recorded("0", "gone", FENCED), DEAD_UNPROVEN),
            ask("on", C, recorded("1", "gone", DEAD_UNPROVEN), DEAD_UNPROVEN),
            ask("status", B, recorded("2", "gone", OFF), OFF).after(power_comes_back),
            ask("off", B, recorded("0", "gone", FENCED), FENCED),
            ask("on", B, recorded("0", "runs", RUNNING), RUNNING),
        ],
    ),
];

fn isolate_owner(cluster: &mut Cluster) -> Verdict {
    thread::sleep(OWN_AFTER);
    cluster.fabric.connect_cluster(HostId::A, false)?;
    without_quorum(cluster, HostId::A)?;
    cluster.wait_for_nodes(&[HostId::B, HostId::C])
}

fn without_quorum(cluster: &Cluster, id: HostId) -> Verdict {
    wait::until(&format!("{id} to lose quorum"), PATIENCE, || {
        cluster.host(id).quorate_nodes().is_none()
    })
}

/// Served again within five seconds of corosync's return, on both sides.
fn corosync_comes_back(cluster: &mut Cluster) -> Verdict {
    cluster.host_mut(HostId::A).start_corosync()?;
    cluster.wait_for_quorum()?;
    let back = Duration::from_secs(5);
    let what = "an answer within five seconds of corosync's return";
    let served = wait::until(what, back, || {
        let served = |domain, via| {
            let answer = cluster.answer("status", domain, via);
            answer.is_ok_and(|answer| matches!(answer.code, 0 | 2))
        };
        served("vm2", A) && served("vm1", B)
    });
    if cluster.side(HostId::A) == Side::C {
        return Ok(());
    }
    served.map_err(|failure| failure.with(&cluster.logs()))
}

fn power_comes_back(cluster: &mut Cluster) -> Verdict {
    let settings = cluster.settings().clone();
    cluster.recover(&settings)?;
    wait::until("an answer after the host's return", PATIENCE, || {
        let answer = cluster.answer("status", "vm1", B);
        answer.is_ok_and(|answer| answer.code == 2)
    })
    .map_err(|failure| failure.with(&cluster.logs()))
}
