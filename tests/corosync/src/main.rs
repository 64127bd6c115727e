//! The corosync suite: what our side of corosync must withstand, on real ones.
//!
//! Each node is a network namespace with a corosync, a member of its group that says what it hears
//! ([`member`]), or a daemon on libvirt's test driver. Variables: `FENCE_VIRTD`, `FENCE_XVM`. Arguments: words;
//! only cases whose name contains one run.

mod cases;
mod member;
mod node;
mod stage;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use fence_lab::{Group, Programs, Report, Side, Verdict, net};

use crate::stage::Stage;

/// Cases at a time: most of them wait.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    if let [member::ARGUMENT, group] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return member::run(group);
    }
    let directory = env::temp_dir().join(net::unique());
    let report = Report::default();
    let verdict = run(&directory, &report, &words);
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

fn run(directory: &Path, report: &Report, words: &[String]) -> Verdict {
    fs::create_dir_all(directory)?;
    let programs = Programs::locate(directory, &[Side::Ours], &[Side::Ours])?;
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let cases = cases::all();
    let cases: Vec<_> = cases.filter(|(name, _)| wanted(name)).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut group = Group::new(*name);
                    let directory = directory.join(name.replace(' ', "-"));
                    let stage = Stage::new(programs.clone(), directory);
                    group.case(name, stage.and_then(|mut stage| stage.play(*case)));
                    report.add(&group);
                }
            });
        }
    });
    Ok(())
}
