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

use std::env;
use std::path::Path;
use std::process::ExitCode;

use fence_lab::suite::{self, is_wanted, run_cases};
use fence_lab::{Programs, Report, Side, Verdict};

use stage::Stage;

/// Cases at a time.
const WORKERS: usize = 2;

/// A case: its name says what must hold.
pub(crate) type Case = (&'static str, fn(&Stage) -> Verdict);

fn main() -> ExitCode {
    suite::main(run)
}

fn run(directory: &Path, report: &Report) -> Verdict {
    let programs = Programs::locate(directory, &[Side::Ours, Side::C], &[Side::Ours])?;
    let words: Vec<_> = env::args().skip(1).collect();
    let cases: Vec<Case> = [
        hanging::CASES,
        hypervisor::CASES,
        wizard::CASES,
        guest::CASES,
        network::CASES,
        files::CASES,
    ]
    .concat();
    let cases = cases.into_iter();
    let cases: Vec<Case> = cases.filter(|(name, _)| is_wanted(&words, name)).collect();
    run_cases(WORKERS, &cases, report, |_, _, case| {
        let stage = Stage::new(programs.clone(), directory)?;
        case(&stage)
    });
    Ok(())
}
