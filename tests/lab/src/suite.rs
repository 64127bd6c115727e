//! What every suite does around its cases: a directory, a report, an exit code, and cases beside each other.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use crate::{Group, Report, Verdict, net};

/// Runs a suite in a directory of its own, which stays if anything failed.
pub fn main(run: impl FnOnce(&Path, &Report) -> Verdict) -> ExitCode {
    let directory = env::temp_dir().join(net::unique());
    let report = Report::default();
    let verdict = fs::create_dir_all(&directory)
        .map_err(Into::into)
        .and_then(|()| run(&directory, &report));
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

/// Whether a name contains one of the words; without words every name is wanted.
#[must_use]
pub fn is_wanted(words: &[String], name: &str) -> bool {
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

/// Runs cases, so many at a time, each as a group of its own. `run` is told the number of the case.
pub fn run_cases<C: Copy + Sync>(
    workers: usize,
    cases: &[(&'static str, C)],
    report: &Report,
    run: impl Fn(usize, &'static str, C) -> Verdict + Sync,
) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((name, case)) = cases.get(index) else {
                return;
            };
            let mut group = Group::new(*name);
            group.case(name, run(index, name, *case));
            report.add(&group);
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
}
