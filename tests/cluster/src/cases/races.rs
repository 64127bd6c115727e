//! Several things at once: orders from two sides, a migration that ends while an order is under way.

use std::thread;
use std::time::Duration;

use fence_lab::agent::Answer;
use fence_lab::{Verdict, ensure};

use super::{A, B, C, called_back};
use crate::case::{Case, RUNNING, ask, nothing, recorded};
use crate::cluster::Cluster;
use crate::names::{HostId, VM1};

const NONE: crate::case::Recorded = recorded("", "", &[]);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "two reboots at once, through two hosts",
        |cluster| at_once(cluster, ("reboot", B), ("reboot", C)),
        &[ask("status", A, NONE, RUNNING)],
    )
    .ours_only()
    .quick(),
    Case::new(
        "off and on at once, through two hosts",
        |cluster| {
            at_once(cluster, ("off", B), ("on", C))?;
            at_once(cluster, ("on", A), ("reboot", C))
        },
        &[ask("on", A, NONE, RUNNING)],
    )
    .ours_only(),
    Case::new(
        "migration that ends while it is ordered off",
        nothing,
        &[ask("status", C, NONE, RUNNING)],
    )
    .finally(|cluster| {
        // From before the first byte to after the last.
        for delay in [0, 400, 800, 1200] {
            ordered_off_in_the_end(cluster, Duration::from_millis(delay))?;
        }
        Ok(())
    })
    .ours_only(),
];

type Order = (&'static str, &'static [HostId]);

/// The second order comes while the first is under way.
fn at_once(cluster: &mut Cluster, first: Order, second: Order) -> Verdict {
    let one = cluster.ask(first.0, VM1.name, first.1)?;
    called_back(&one)?;
    let other = cluster.ask_beside(second.0, VM1.name, second.1)?;
    for (order, agent) in [(first, one), (second, other)] {
        in_time(order, &cluster.finish(agent)?)?;
    }
    let sight = cluster.look(VM1, true);
    ensure!(
        sight.qemu.len() < 2,
        "after {first:?} and {second:?}: {sight}"
    );
    Ok(())
}

fn in_time(order: Order, answer: &Answer) -> Verdict {
    let seconds = answer.elapsed.as_secs_f32();
    ensure!(
        seconds < crate::run::IN_TIME_SECONDS,
        "{order:?}: {}",
        answer.describe()
    );
    Ok(())
}

fn ordered_off_in_the_end(cluster: &mut Cluster, delay: Duration) -> Verdict {
    let job = cluster
        .host(HostId::A)
        .migrate(VM1, HostId::B, &["--bandwidth", "30"])?;
    cluster.keep(job);
    thread::sleep(delay);
    let answer = cluster.answer("off", VM1.name, C)?;
    let left = cluster.copies(VM1);
    in_time(("off", C), &answer)?;
    let sight = cluster.look(VM1, false);
    let said = format!(
        "{} ms into the migration: {}; vm: {sight}",
        delay.as_millis(),
        answer.describe()
    );
    if answer.code == 0 {
        ensure!(left.is_empty() && sight.is_gone(), "{said}");
    } else {
        ensure!(answer.code == 1 && sight.beating.len() < 2, "{said}");
    }
    let settings = cluster.settings().clone();
    cluster.heal(&settings)
}
