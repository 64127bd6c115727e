//! The pacemaker suite: clusters of guests with corosync and pacemaker, fenced by our agent inside and our
//! daemon on their host.
//!
//! Nodes are namespaces whose power is libvirt's test driver's: what the daemon does to a domain happens to
//! the node. One case has emulated machines in their place. Variables: `FENCE_VIRTD`, `FENCE_XVM`,
//! `FENCE_GUEST_KERNEL`. Arguments: `--quick` (without these machines), and words; only cases whose name contains
//! one of them run. `--docs`: the documentation instead ([`docs`]).

mod cables;
mod calls;
mod cases;
mod docs;
mod files;
mod guests;
mod names;
mod node;
mod power;
mod stage;
mod view;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use fence_lab::suite::{self, is_wanted};
use fence_lab::{Group, Report, Verdict, reaper};

use crate::stage::Stage;

/// The case with emulated machines.
const GUESTS: &str = "real guests: a paused one is fenced, and comes back into its cluster";

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(reaper::ARGUMENT) {
        return reaper::run();
    }
    suite::main(run)
}

fn run(directory: &Path, report: &Report) -> Verdict {
    let (options, words): (Vec<_>, Vec<_>) =
        env::args().skip(1).partition(|word| word.starts_with('-'));
    if options.iter().any(|option| option == "--docs") {
        return docs::run(directory, report, &words);
    }
    if options.iter().any(|option| option != "--quick") {
        fence_lab::fail!("unknown options {options:?}: --quick or --docs");
    }
    let wanted = |name: &str| is_wanted(&words, name);
    if !options.iter().any(|option| option == "--quick") && wanted(GUESTS) {
        let mut group = Group::new(GUESTS);
        group.case(GUESTS, guests::frozen(&directory.join("guests")));
        report.add(&group);
    }
    let cases: Vec<_> = cases::ALL
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    if !cases.is_empty() {
        let mut group = Group::new("a cluster from nothing");
        let stage = Stage::build(&directory.join("namespaces"));
        group.case(
            "set-up",
            stage
                .as_ref()
                .map(drop)
                .map_err(|failure| fence_lab::Failure::new(failure.text())),
        );
        report.add(&group);
        let Ok(mut stage) = stage else {
            return Ok(());
        };
        for (name, case) in cases {
            let mut group = Group::new(name);
            let verdict = case(&mut stage);
            let is_over = verdict.is_err();
            group.case(name, verdict);
            report.add(&group);
            if is_over {
                fence_lab::fail!("the cluster may not be whole any more; the rest is left out");
            }
        }
    }
    Ok(())
}
