//! A live migration of `vm1` from a to b is under way: the source runs, the destination waits.

use fence_lab::{Verdict, ensure};
use nix::sys::signal::Signal;

use super::{A, B, C};
use crate::case::{Case, FENCED, Outcome, REFUSED, RUNNING, Vm, ask, outcome, recorded};
use crate::cluster::Cluster;
use crate::host::Service;
use crate::names::{HostId, VM1};

const C_OFF: &[Outcome] = &[outcome(&[0], Vm::Runs)];
/// Reboot starts exactly one, on the host that ran it.
const REBOOTED: &[Outcome] = &[outcome(&[0], Vm::RunsOn(HostId::A))];
const UNPROVEN: &[Outcome] = &[outcome(&[1], Vm::Still)];
const STANDS_STILL: &[Outcome] = &[outcome(&[0], Vm::Still)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "migration in flight: status",
        migrate,
        &[
            ask("status", A, recorded("0", "runs", &[]), RUNNING),
            ask("status", B, recorded("0", "runs", &[]), RUNNING),
            ask("status", C, recorded("0", "runs", &[]), RUNNING),
        ],
    ),
    Case::new(
        "migration in flight: reboot through the source",
        migrate,
        &[ask("reboot", A, recorded("0", "two copies", &[]), REBOOTED)],
    ),
    Case::new(
        "migration in flight: reboot through the destination",
        migrate,
        &[ask("reboot", B, recorded("0", "two copies", &[]), REBOOTED)],
    )
    .quick(),
    Case::new(
        "migration in flight: reboot through the third host",
        migrate,
        &[ask("reboot", C, recorded("0", "two copies", &[]), REBOOTED)],
    ),
    Case::new(
        "migration in flight: off through the source",
        migrate,
        &[ask("off", A, recorded("0", "gone", FENCED), FENCED)],
    ),
    Case::new(
        "migration in flight: off through the destination",
        migrate,
        &[ask("off", B, recorded("0", "gone", FENCED), FENCED)],
    ),
    Case::new(
        "migration in flight: off through the third host",
        migrate,
        &[ask("off", C, recorded("0", "gone", FENCED), FENCED)],
    )
    .quick(),
    Case::new(
        "migration in flight, source's daemon killed",
        |cluster| {
            migrate(cluster)?;
            cluster
                .host(HostId::A)
                .signal(Service::Virtd, Signal::SIGKILL)?;
            cluster.wait_for_members(HostId::B, 2)
        },
        &[
            ask("status", B, recorded("0", "runs", RUNNING), REFUSED),
            ask(
                "off",
                B,
                recorded("0", "runs on the source", C_OFF),
                REFUSED,
            ),
        ],
    ),
    Case::new(
        "migration in flight, source's daemon stopped by signal",
        |cluster| {
            migrate(cluster)?;
            cluster
                .host(HostId::A)
                .signal(Service::Virtd, Signal::SIGSTOP)
        },
        &[ask(
            "off",
            C,
            recorded("0", "runs on the source", C_OFF),
            REFUSED,
        )],
    ),
    Case::new(
        "migration in flight, source cut off",
        |cluster| {
            migrate(cluster)?;
            cluster.cut(HostId::A)?;
            cluster.wait_for_nodes(&[HostId::B, HostId::C])
        },
        &[ask(
            "off",
            B,
            recorded("0", "runs on the source", C_OFF),
            REFUSED,
        )],
    ),
    Case::new(
        "migration in flight, source loses power",
        |cluster| {
            migrate(cluster)?;
            cluster.power_off(HostId::A)?;
            cluster.wait_for_nodes(&[HostId::B, HostId::C])
        },
        &[
            ask(
                "status",
                B,
                recorded("0 for 20 to 25 s", "dead", STANDS_STILL),
                UNPROVEN,
            ),
            ask("off", C, recorded("0", "gone", &[]), UNPROVEN),
        ],
    ),
    Case::new(
        "migrated: off through each host",
        |cluster| {
            let mut job = cluster.host(HostId::A).migrate(VM1, HostId::B, &[])?;
            let status = job.wait(crate::host::PATIENCE)?;
            ensure!(status.success(), "the migration failed: {}", job.log());
            cluster.wait_for_status(VM1.name, HostId::C)
        },
        &[
            ask(
                "status",
                A,
                recorded("0", "", &[]),
                &[outcome(&[0], Vm::RunsOn(HostId::B))],
            ),
            ask(
                "reboot",
                A,
                recorded("0", "", &[]),
                &[outcome(&[0], Vm::RunsOn(HostId::B))],
            ),
            ask("off", C, recorded("0", "", &[]), FENCED),
            ask(
                "on",
                C,
                recorded("0", "", &[]),
                &[outcome(&[0], Vm::RunsOn(HostId::B))],
            ),
        ],
    ),
];

/// Starts it; it goes on by itself until the case is over.
pub(super) fn migrate(cluster: &mut Cluster) -> Verdict {
    let job = cluster
        .host(HostId::A)
        .migrate_slowly(VM1, cluster.host(HostId::B))?;
    cluster.keep(job);
    Ok(())
}
