//! Real guests that fence each other: emulated machines under a private libvirtd, with the agents
//! inside and the daemon on the host, each ours or the packaged C one.
//!
//! Variables: `FENCE_HOST` and `FENCE_AGENT` (`ours` or `c`; unset: both), the programs' paths (see
//! the library's `programs`; ours must be the static agent), `FENCE_GUEST_KERNEL`. Arguments:
//! `--quick`, and words; only scenes whose name contains one of them run.

mod daemon;
mod pairings;
mod serial;
mod sheet;
mod stage;
mod states;
mod together;
mod vsock;
mod way;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use fence_lab::{Failure, Verdict, net, programs};

use crate::sheet::Sheet;
use crate::stage::Stage;
use crate::way::Way;

/// A part of the suite: its name and what is played.
type Scene = (String, Box<dyn Fn(&Stage, &mut Sheet) -> Verdict>);

/// What is played on the stage, in this order.
fn scenes() -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    for way in Way::ALL {
        let name = format!("pairings, {}", way.name());
        scenes.push((
            name,
            Box::new(move |stage, sheet| pairings::play(stage, way, sheet)),
        ));
    }
    scenes.push(("states".to_owned(), Box::new(states::play)));
    scenes.push(("serial listener".to_owned(), Box::new(serial::play)));
    scenes.push(("together".to_owned(), Box::new(together::play)));
    scenes
}

/// The scene that has a guest of its own.
const VSOCK: &str = "vsock";

fn main() -> ExitCode {
    let directory = env::temp_dir().join(net::unique());
    let mut sheet = Sheet::default();
    let ready = run(&directory, &mut sheet);
    sheet.must("the lab itself", ready);
    if sheet.close() {
        let _ = fs::remove_dir_all(&directory);
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

fn run(directory: &Path, sheet: &mut Sheet) -> Result<(), Failure> {
    let (options, words): (Vec<_>, Vec<_>) =
        env::args().skip(1).partition(|word| word.starts_with('-'));
    let is_quick = match options.as_slice() {
        [] => false,
        [option] if option == "--quick" => true,
        other => fence_lab::fail!("unknown options {other:?}: only --quick is known"),
    };
    let wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    fs::create_dir_all(directory)?;
    let cast = stage::Cast {
        hosts: programs::selected("FENCE_HOST")?,
        agents: programs::selected("FENCE_AGENT")?,
        is_quick,
    };
    let scenes: Vec<_> = scenes()
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    if !scenes.is_empty() {
        let stage = Stage::build(&directory.join("host"), cast.clone())?;
        for (name, play) in &scenes {
            if sheet.is_hopeless() {
                fence_lab::fail!("too much has failed; the rest is left out");
            }
            let verdict = play(&stage, sheet);
            sheet.must(name, verdict);
        }
    }
    if wanted(VSOCK) {
        let verdict = vsock::play(&directory.join(VSOCK), &cast, sheet);
        sheet.must(VSOCK, verdict);
    }
    Ok(())
}
