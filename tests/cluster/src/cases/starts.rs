//! Daemons start again and again: no answer is missing, and none is given before it can be.

use std::time::Duration;

use fence_lab::{Side, Verdict, ensure};

use super::B;
use crate::case::{Case, RUNNING, ask, recorded};
use crate::cluster::Cluster;
use crate::names::HostId;

/// Each host's daemon is started this often, a third of the times with all the others.
const ROUNDS: usize = 8;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "start race: daemons started 32 times",
        restart_all_the_time,
        &[ask(
            "status",
            B,
            recorded("26 of 80 starts: off 0, status 2", "runs", &[]),
            RUNNING,
        )],
    )
    .ours_only(),
    Case::new(
        "start race: all daemons at once",
        |cluster| {
            for _ in 0..2 {
                cluster.restart_daemons(Some(Side::Ours))?;
                answers_are_true(cluster, &HostId::ALL)?;
            }
            Ok(())
        },
        &[ask("status", B, recorded("", "", &[]), RUNNING)],
    )
    .ours_only()
    .quick(),
];

fn restart_all_the_time(cluster: &mut Cluster) -> Verdict {
    for round in 0..ROUNDS {
        for id in HostId::ALL {
            cluster.restart_daemon(id)?;
            answers_are_true(cluster, &[id])?;
        }
        if round % 3 == 0 {
            cluster.restart_daemons(None)?;
            answers_are_true(cluster, &HostId::ALL)?;
        }
    }
    Ok(())
}

/// From the first moment on an answer comes in time, and says that what runs runs or that it is not
/// known; soon it is known.
fn answers_are_true(cluster: &Cluster, fresh: &[HostId]) -> Verdict {
    for via in fresh {
        for owner in HostId::ALL {
            let domain = owner.domain().name;
            let answer = cluster.answer("status", domain, &[*via])?;
            ensure!(
                matches!(answer.code, 0 | 1) && answer.elapsed < Duration::from_secs(28),
                "{domain} runs, but {via}, just started, says: {}",
                answer.describe()
            );
            cluster.wait_for_status(domain, *via)?;
        }
    }
    Ok(())
}
