//! The hostile suite: what our daemon must withstand. Ours alone; the original withstands little of
//! it, as docs/original-behaviour.md tells.
//!
//! Variables: `FENCE_VIRTD`, `FENCE_XVM`. Arguments: words; only cases whose name contains one run.

mod ending;
mod frames;
mod held;
mod interfaces;
mod libvirt;
mod many;
mod peers;
mod reload;
mod replay;
mod resources;
mod serial;
mod stage;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use fence_lab::{Failure, Group, Programs, Report, Side, Verdict, net};

use stage::Stage;

/// Cases at a time: half of them wait, half of them work.
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
    let programs = Programs::locate(directory, &[Side::Ours], &[Side::Ours])?;
    let words: Vec<_> = env::args().skip(1).collect();
    let cases: Vec<Case> = [
        peers::CASES,
        frames::CASES,
        replay::CASES,
        held::CASES,
        libvirt::CASES,
        ending::CASES,
        interfaces::CASES,
        resources::CASES,
        many::CASES,
        reload::CASES,
        serial::CASES,
    ]
    .concat()
    .into_iter()
    .filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word)))
    .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&cases, &next, &programs, directory, report));
        }
    });
    Ok(())
}

fn work(
    cases: &[Case],
    next: &AtomicUsize,
    programs: &Programs,
    directory: &Path,
    report: &Report,
) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some((name, case)) = cases.get(index) else {
            return;
        };
        let mut group = Group::new(*name);
        let directory = directory.join(format!("case{index}"));
        let stage = Stage::new(programs.clone(), directory);
        group.case(name, stage.and_then(|stage| run_case(&stage, *case)));
        report.add(&group);
    }
}

fn run_case(stage: &Stage, case: fn(&Stage) -> Verdict) -> Result<(), Failure> {
    case(stage).map_err(|failure| failure.with(&stage.logs()))
}
