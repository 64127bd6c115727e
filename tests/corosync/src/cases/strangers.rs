//! Whoever else is in the group.

use std::time::Duration;

use fence_lab::{Verdict, ensure};
use nix::sys::signal::Signal;

use super::Named;
use crate::stage::Stage;

pub(super) const CASES: &[Named] = &[
    (
        "rubbish is dropped with a reason and harms nothing",
        rubbish,
    ),
    (
        "flood of messages does not keep the daemon from serving",
        flood,
    ),
];

fn rubbish(stage: &mut Stage) -> Verdict {
    stage.nodes(1)?;
    let daemon = stage.daemon(1, "", &[])?;
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    let mut stranger = stage.member(1)?;
    stranger.hears("connected 1", 0)?;
    stranger.order("rubbish 3000")?;
    stranger.order("send 1 4")?;
    stranger.hears("message 0 of 4 from 1", 0)?;
    drop(stranger);
    stage.ask_until(1, &["-o", "status", "-H", "vm1"], 0)?;
    // The counts are put together once a second.
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    std::thread::sleep(Duration::from_secs(3));
    daemon.process.signal(Signal::SIGUSR1)?;
    daemon.logs("counters", 1)?;
    let log = daemon.process.log();
    for reason in ["wrong-length=", "unknown-type="] {
        ensure!(log.contains(reason), "no {reason} in the counters:\n{log}");
    }
    Ok(())
}

fn flood(stage: &mut Stage) -> Verdict {
    stage.nodes(1)?;
    let _daemon = stage.daemon(1, "", &[])?;
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    let mut stranger = stage.member(1)?;
    stranger.hears("connected 1", 0)?;
    for _ in 0..10 {
        // No more than the stranger may have waiting: it is cut off for more.
        stranger.order("send 400 1000")?;
        let asked = stage.ask(1, &["-o", "status", "-H", "vm1"])?;
        ensure!(
            asked.code == 0 && asked.elapsed < Duration::from_secs(5),
            "{}",
            asked.describe()
        );
    }
    ensure!(
        !stranger
            .said()
            .iter()
            .any(|line| line.starts_with("disconnected")),
        "the stranger was cut off: {:?}",
        stranger.said()
    );
    Ok(())
}
