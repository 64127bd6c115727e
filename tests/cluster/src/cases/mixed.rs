//! Ours beside C daemons in one cluster, as during an upgrade.

use fence_lab::{Side, Verdict, ensure};

use super::{A, B, C};
use crate::case::{Ask, Case, FENCED, OFF, RUNNING, ask, nothing, recorded};
use crate::cluster::Cluster;
use crate::host::Service;
use crate::names::{HostId, VM2};

const NONE: crate::case::Recorded = recorded("", "", &[]);

/// `vm1` is a's and `vm2` is b's, so each is asked for through its own host and through the others.
const ALL_WAYS: &[Ask] = &[
    ask("status", A, NONE, RUNNING),
    ask("status", B, NONE, RUNNING),
    ask("status", C, NONE, RUNNING),
    ask("off", B, NONE, FENCED),
    ask("status", A, NONE, OFF),
    ask("status", C, NONE, OFF),
    ask("on", C, NONE, RUNNING),
    ask("reboot", A, NONE, RUNNING),
    ask("reboot", B, NONE, RUNNING),
    ask("off", A, NONE, FENCED).about(VM2),
    ask("status", C, NONE, OFF).about(VM2),
    ask("on", B, NONE, RUNNING).about(VM2),
    ask("reboot", C, NONE, RUNNING).about(VM2),
];

pub(super) const CASES: &[Case] = &[
    Case::new("mixed: a C daemon on a, ours on b and c", nothing, ALL_WAYS)
        .mixed([Side::C, Side::Ours, Side::Ours])
        .finally(c_members_are_named)
        .quick(),
    Case::new("mixed: ours on a, C daemons on b and c", nothing, ALL_WAYS)
        .mixed([Side::Ours, Side::C, Side::C])
        .finally(c_members_are_named),
    Case::new("mixed: ours on a and b, a C daemon on c", nothing, ALL_WAYS)
        .mixed([Side::Ours, Side::Ours, Side::C])
        .finally(c_members_are_named),
];

/// Each of ours warns of each C member, by the host's name.
fn c_members_are_named(cluster: &mut Cluster) -> Verdict {
    for host in cluster.hosts() {
        if cluster.side(host.id) == Side::C {
            continue;
        }
        let log = host.disk.read(&Service::Virtd.log());
        for id in HostId::ALL {
            if cluster.side(id) == Side::C {
                let named = log
                    .lines()
                    .any(|line| line.contains("WARN") && line.contains(id.name()));
                ensure!(named, "{} does not warn of the C daemon on {id}", host.id);
            }
        }
    }
    Ok(())
}
