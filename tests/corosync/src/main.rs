//! The corosync suite: what our side of corosync must withstand, on real ones.
//!
//! Each node is a network namespace with a corosync, a member of its group that says what it hears
//! ([`member`]), or a daemon on libvirt's test driver. Variables: `FENCE_VIRTD`, `FENCE_XVM`. Arguments: words;
//! only cases whose name contains one run.

mod cases;
mod member;
mod node;
mod stage;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use fence_lab::suite::{self, is_wanted, run_cases};
use fence_lab::{Programs, Report, Side, Verdict};

use crate::stage::Stage;

/// Cases at a time: most of them wait.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    if let [member::ARGUMENT, group] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return member::run(group);
    }
    suite::main(|directory, report| run(directory, report, &words))
}

fn run(directory: &Path, report: &Report, words: &[String]) -> Verdict {
    let programs = Programs::locate(directory, &[Side::Ours], &[Side::Ours])?;
    let cases = cases::all();
    let cases: Vec<_> = cases.filter(|(name, _)| is_wanted(words, name)).collect();
    run_cases(WORKERS, &cases, report, |_, name, case| {
        let directory = directory.join(name.replace(' ', "-"));
        Stage::new(programs.clone(), directory)?.play(case)
    });
    Ok(())
}
