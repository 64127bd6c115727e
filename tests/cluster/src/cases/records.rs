//! What the hosts have and what they are called: leftover definitions, names and UUIDs, lists.

use fence_lab::agent::Answer;
use fence_lab::{Verdict, ensure};

use super::{A, B, C, EVERY};
use crate::case::{
    Case, DONE, FENCED, Outcome, REFUSED, RUNNING, Vm, ask, nothing, outcome, recorded,
};
use crate::cluster::Cluster;
use crate::names::{HostId, IMPOSTOR, VM1, VM2, VM3};
use crate::virtd::Settings;

const ON_A: &[Outcome] = &[outcome(&[0], Vm::RunsOn(HostId::A))];
const TWICE: &[Outcome] = &[outcome(&[0], Vm::Twice)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "running on a, leftover definition on b",
        |cluster| leave_definition(cluster, HostId::B),
        &[
            ask(
                "status",
                B,
                recorded("2 or 0 at random", "runs", &[]),
                RUNNING,
            ),
            ask(
                "status",
                C,
                recorded("2 or 0 at random", "runs", &[]),
                RUNNING,
            ),
            ask("on", C, recorded("0", "two copies", &[]), ON_A),
            ask("reboot", B, recorded("0", "two copies", TWICE), ON_A),
            ask("off", B, recorded("0 before it is down", "", &[]), FENCED),
            ask("on", C, recorded("0", "two copies", TWICE), ON_A),
        ],
    )
    .quick(),
    Case::new(
        "running on a, leftover definitions on b and c",
        |cluster| {
            leave_definition(cluster, HostId::B)?;
            leave_definition(cluster, HostId::C)
        },
        &[
            ask("off", C, recorded("0 before it is down", "", &[]), FENCED),
            ask("on", B, recorded("0", "copies", &[]), ON_A),
            ask(
                "off",
                EVERY,
                recorded("0 before it is down", "", &[]),
                FENCED,
            ),
            ask("on", EVERY, recorded("0", "copies", &[]), ON_A),
        ],
    ),
    Case::new(
        "name_mode name, UUID of a running domain",
        nothing,
        &[
            ask(
                "status",
                B,
                recorded("2", "runs", &[outcome(&[2], Vm::Runs)]),
                RUNNING,
            )
            .naming(VM1.uuid),
            ask(
                "off",
                B,
                recorded("0", "runs", &[outcome(&[0], Vm::Runs)]),
                FENCED,
            )
            .naming(VM1.uuid),
        ],
    ),
    Case::new(
        "name_mode uuid, name of a running domain",
        nothing,
        &[
            ask(
                "status",
                B,
                recorded("2", "runs", &[outcome(&[2], Vm::Runs)]),
                RUNNING,
            ),
            ask(
                "off",
                C,
                recorded("0", "runs", &[outcome(&[0], Vm::Runs)]),
                FENCED,
            ),
        ],
    )
    .with(|settings| with_all(settings, "name_mode", "uuid")),
    Case::new(
        "two different domains with one name",
        |cluster| {
            let host = cluster.host(HostId::B);
            host.define(&cluster.image.definition(IMPOSTOR)?)?;
            host.virsh(&["start", IMPOSTOR.uuid])?;
            cluster.wait_for_beat(IMPOSTOR)
        },
        &[
            ask(
                "off",
                C,
                recorded("0: one of them, or both", "", &[]),
                REFUSED,
            ),
            ask("reboot", A, recorded("0: as before", "", &[]), REFUSED),
            ask("status", B, recorded("", "", &[]), REFUSED),
            ask("off", C, recorded("", "", &[]), FENCED).naming(VM1.uuid),
        ],
    )
    .finally(|cluster| {
        let sight = cluster.look(IMPOSTOR, false);
        ensure!(sight.beating == [HostId::B], "the other vm1 {sight}");
        let both = |line: &str| line.contains(VM1.uuid) && line.contains(IMPOSTOR.uuid);
        ensure!(
            cluster.logs_of_all().lines().any(both),
            "no log names both UUIDs"
        );
        Ok(())
    })
    .ours_only()
    .quick(),
    Case::new(
        "list in a healthy cluster",
        nothing,
        &[
            ask("list", A, recorded("0: own domains only", "", DONE), DONE)
                .naming("")
                .printing(lists_all),
            ask("list", C, recorded("0: own domains only", "", DONE), DONE)
                .naming("")
                .printing(lists_all),
        ],
    )
    .quick(),
    Case::new(
        "host without domains, list",
        |cluster| cluster.host(HostId::C).remove(VM3.uuid),
        &[
            ask("list", C, recorded("none: daemon segfaults", "", &[]), DONE)
                .naming("")
                .printing(|answer| lists(answer, &[VM1.name, VM2.name])),
            ask("status", C, recorded("", "", &[]), RUNNING),
        ],
    ),
];

/// Sets a key of the backend on all hosts.
pub(super) fn with_all(settings: &mut [Settings; 3], key: &'static str, value: &str) {
    for one in settings {
        one.cpg.push((key, value.to_owned()));
    }
}

fn leave_definition(cluster: &mut Cluster, id: HostId) -> Verdict {
    cluster.host(id).define(&cluster.image.definition(VM1)?)
}

fn lists_all(answer: &Answer) -> Verdict {
    lists(answer, &[VM1.name, VM2.name, VM3.name])
}

/// Every domain once, and on.
fn lists(answer: &Answer, names: &[&str]) -> Verdict {
    let mut found: Vec<_> = answer
        .stdout
        .lines()
        .filter(|line| line.trim_end().ends_with(" on"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    found.sort_unstable();
    ensure!(found == names, "the list should be {names:?}");
    Ok(())
}
