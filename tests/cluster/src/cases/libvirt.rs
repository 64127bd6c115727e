//! The owner's libvirtd stands still or dies; the guests run on.

use nix::sys::signal::Signal;

use super::{B, C};
use crate::case::{Case, Outcome, REFUSED, RUNNING, Vm, ask, outcome, recorded};
use crate::host::Service;
use crate::names::{HostId, VM2};

const NEVER: &[Outcome] = &[outcome(&[1], Vm::Runs)];
/// What runs may be said to run.
const ON_OR_UNKNOWN: &[Outcome] = &[outcome(&[0, 1], Vm::Runs)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "owner's libvirtd hangs",
        |cluster| {
            cluster
                .host(HostId::A)
                .signal(Service::Libvirtd, Signal::SIGSTOP)
        },
        &[
            ask(
                "off",
                B,
                recorded("1, 30 s", "runs, dies later", NEVER),
                REFUSED,
            ),
            ask(
                "status",
                C,
                recorded("1, 30 s", "runs", NEVER),
                ON_OR_UNKNOWN,
            ),
            ask("status", C, recorded("1, 30 s", "runs", NEVER), RUNNING).about(VM2),
            ask(
                "reboot",
                C,
                recorded("1, 30 s", "runs, dies later", NEVER),
                REFUSED,
            ),
        ],
    ),
    Case::new(
        "owner's libvirtd killed",
        |cluster| {
            cluster
                .host(HostId::A)
                .signal(Service::Libvirtd, Signal::SIGKILL)
        },
        &[
            ask(
                "off",
                B,
                recorded("1, 30 s", "runs, dies later", &[]),
                REFUSED,
            ),
            ask("status", C, recorded("1, 30 s", "runs", &[]), ON_OR_UNKNOWN),
            ask(
                "on",
                C,
                recorded("1, 30 s", "runs, dies later", &[]),
                REFUSED,
            ),
        ],
    )
    .quick(),
];
