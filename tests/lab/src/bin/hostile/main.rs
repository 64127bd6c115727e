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

use std::env;
use std::path::Path;
use std::process::ExitCode;

use fence_lab::suite::{self, is_wanted, run_cases};
use fence_lab::{Programs, Report, Side, Verdict};

use stage::Stage;

/// Cases at a time: half of them wait, half of them work.
const WORKERS: usize = 2;

/// A case: its name says what must hold.
pub(crate) type Case = (&'static str, fn(&Stage) -> Verdict);

fn main() -> ExitCode {
    suite::main(run)
}

fn run(directory: &Path, report: &Report) -> Verdict {
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
    .filter(|(name, _)| is_wanted(&words, name))
    .collect();
    run_cases(WORKERS, &cases, report, |index, _, case| {
        let directory = directory.join(format!("case{index}"));
        let stage = Stage::new(programs.clone(), directory)?;
        case(&stage).map_err(|failure| failure.with(&stage.logs()))
    });
    Ok(())
}
