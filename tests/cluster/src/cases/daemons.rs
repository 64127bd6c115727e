//! The daemon of the domain's host, or the one that was asked, is gone or stands still.

use fence_lab::Verdict;
use fence_lab::agent::Running;
use nix::sys::signal::Signal;

use super::{B, C, under_way};
use crate::case::{Case, FAILED, FENCED, Outcome, REFUSED, RUNNING, Vm, ask, outcome, recorded};
use crate::cluster::Cluster;
use crate::host::Service;
use crate::names::{HostId, NOBODY, VM2};

/// The original's answer to anything when it never comes: the agent's own, when its time is over.
const NEVER: &[Outcome] = &[outcome(&[1], Vm::Runs)];
const C_OFF: &[Outcome] = &[outcome(&[0], Vm::Runs)];
const C_STATUS: &[Outcome] = &[outcome(&[2], Vm::Runs)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "owner's fence_virtd killed before the request",
        |cluster| {
            cluster
                .host(HostId::A)
                .signal(Service::Virtd, Signal::SIGKILL)?;
            cluster.wait_for_members(HostId::B, 2)
        },
        &[
            ask("status", B, recorded("2, 32 ms", "runs", C_STATUS), REFUSED),
            ask("off", B, recorded("0, 32 ms", "runs", C_OFF), REFUSED),
            ask("reboot", C, recorded("0", "runs", C_OFF), REFUSED),
            ask("on", C, recorded("1", "runs", REFUSED), REFUSED),
            ask("status", B, recorded("", "", &[]), RUNNING).after(|cluster| {
                cluster.start_daemon(HostId::A)?;
                cluster.wait_for_status("vm1", HostId::B)
            }),
        ],
    )
    .quick(),
    Case::new(
        "owner's daemon stopped, request sent, then killed",
        stop_owners_daemon,
        &[
            ask("off", B, recorded("1, 30 s", "runs", NEVER), REFUSED).while_(|cluster, agent| {
                under_way(agent)?;
                cluster
                    .host(HostId::A)
                    .signal(Service::Virtd, Signal::SIGKILL)
            }),
            ask(
                "status",
                B,
                recorded("1, 30 s: wedged for ever", "runs", NEVER),
                RUNNING,
            )
            .about(VM2),
            ask(
                "off",
                B,
                recorded("1, 30 s: wedged for ever", "runs", NEVER),
                REFUSED,
            ),
        ],
    ),
    Case::new(
        "owner's daemon stopped, going on later",
        stop_owners_daemon,
        &[
            ask(
                "off",
                B,
                recorded("1, 30 s", "runs, dies later", NEVER),
                REFUSED,
            ),
            ask(
                "reboot",
                C,
                recorded("1, 30 s", "runs, dies later", NEVER),
                REFUSED,
            ),
        ],
    )
    .quick(),
    Case::new(
        "requester killed while it waits",
        stop_owners_daemon,
        &[
            ask("off", B, recorded("1", "runs, dies later", NEVER), REFUSED)
                .while_(|cluster, agent| {
                    under_way(agent)?;
                    cluster
                        .host(HostId::B)
                        .signal(Service::Virtd, Signal::SIGKILL)
                })
                .at_the_agents_time_out(),
        ],
    ),
    Case::new(
        "requester stopped while owner's libvirtd hangs, all going on later",
        |cluster| {
            cluster
                .host(HostId::A)
                .signal(Service::Libvirtd, Signal::SIGSTOP)
        },
        &[ask(
            "off",
            B,
            recorded("1, 30 s", "runs, dies later", NEVER),
            REFUSED,
        )
        .while_(stop_requester)
        .at_the_agents_time_out()],
    ),
    Case::new(
        "highest id's daemon stopped, unknown domain",
        |cluster| {
            cluster
                .host(HostId::C)
                .signal(Service::Virtd, Signal::SIGSTOP)
        },
        &[
            ask("status", B, recorded("1, 30 s", "", FAILED), FAILED).naming(NOBODY),
            ask("status", B, recorded("1, 30 s", "runs", NEVER), RUNNING),
        ],
    ),
    Case::new(
        "requester loses power while it waits",
        stop_owners_daemon,
        &[ask(
            "off",
            B,
            recorded("1, 30 s", "runs, dies later", NEVER),
            REFUSED,
        )
        .while_(|cluster, agent| {
            under_way(agent)?;
            cluster.power_off(HostId::B)
        })
        .at_the_agents_time_out()],
    ),
    Case::new(
        "a third host's daemon stopped",
        |cluster| {
            cluster
                .host(HostId::C)
                .signal(Service::Virtd, Signal::SIGSTOP)
        },
        &[
            ask("status", B, recorded("0", "runs", RUNNING), RUNNING),
            ask("off", B, recorded("0", "gone", &[]), FENCED),
            ask(
                "on",
                B,
                recorded("0", "runs", &[]),
                &[outcome(&[0], Vm::Runs), outcome(&[1], Vm::Gone)],
            ),
        ],
    ),
];

fn stop_owners_daemon(cluster: &mut Cluster) -> Verdict {
    cluster
        .host(HostId::A)
        .signal(Service::Virtd, Signal::SIGSTOP)
}

fn stop_requester(cluster: &mut Cluster, agent: &Running) -> Verdict {
    under_way(agent)?;
    cluster
        .host(HostId::B)
        .signal(Service::Virtd, Signal::SIGSTOP)
}
