//! The doctor suite: the wizard's files are taken by our daemon and the original's, and every check of
//! `fence_virtd --check` and `fence_xvm --check` is shown red and green on real interfaces, firewalls, hypervisors
//! and daemons.
//!
//! Variables: `FENCE_VIRTD`, `FENCE_XVM`, `C_FENCE_VIRTD`. Arguments: words; only cases whose name contains one run.

mod files;
mod guest;
mod hanging;
mod hypervisor;
mod network;
mod stage;
mod wizard;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use fence_lab::{Group, Programs, Report, Side, Verdict, net};

use stage::Stage;

/// Cases at a time.
const WORKERS: usize = 2;

/// A case: its name says what must hold.
pub(crate) type Case = (&'static str, fn(&Stage) -> Verdict);

fn main() -> ExitCode {
    let directory = env::temp_dir().join(net::unique());
    let report = Report::default();
    let verdict = run(&directory, &report);
    if verdict.is_err() {
        let mut group = Group::new("the lab itself");
        group.case("set-up", verdict);
        report.add(&group);
    }
    if report.close() {
        let _ = fs::remove_dir_all(&directory);
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run(directory: &Path, report: &Report) -> Verdict {
    fs::create_dir_all(directory)?;
    let programs = Programs::locate(directory, &[Side::Ours, Side::C], &[Side::Ours])?;
    let words: Vec<_> = env::args().skip(1).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let cases: Vec<Case> = [
        hanging::CASES,
        hypervisor::CASES,
        wizard::CASES,
        guest::CASES,
        network::CASES,
        files::CASES,
    ]
    .concat();
    let cases: Vec<Case> = cases.into_iter().filter(|(name, _)| wanted(name)).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut group = Group::new(*name);
                    let stage = Stage::new(programs.clone(), directory);
                    group.case(name, stage.and_then(|stage| case(&stage)));
                    report.add(&group);
                }
            });
        }
    });
    Ok(())
}
