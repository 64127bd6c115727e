//! SIGTERM in each phase: the daemon ends within a second, and leaves the group if it can.

use fence_lab::{Verdict, ensure};
use nix::sys::signal::Signal;

use super::Named;
use crate::stage::Stage;

pub(super) const CASES: &[Named] = &[
    ("daemon that ends has left the group", joined),
    ("daemon that waits for corosync ends at once", waiting),
    ("daemon whose corosync hangs ends at once", hung),
    ("daemon whose corosync is dead ends at once", dead),
    (
        "daemon with a request under way ends at once and the agent gets an answer",
        busy,
    ),
];

fn joined(stage: &mut Stage) -> Verdict {
    stage.nodes(2)?;
    let member = stage.member(2)?;
    let mut daemon = stage.daemon(1, "", &[])?;
    let at = member.hears("members 1,2 left ", 0)?;
    daemon.logs("ready: ", 1)?;
    daemon.ends()?;
    member.hears("members 2 left 1:Left", at)?;
    Ok(())
}

fn waiting(stage: &mut Stage) -> Verdict {
    stage.nodes_without_corosync(1)?;
    let mut daemon = stage.daemon(1, "", &["-w"])?;
    daemon.logs("the cluster can't be talked to", 1)?;
    daemon.ends()
}

fn hung(stage: &mut Stage) -> Verdict {
    stage.nodes(1)?;
    let mut daemon = stage.daemon(1, "", &[])?;
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    stage.node(1)?.signal(Signal::SIGSTOP)?;
    daemon.ends()?;
    let mut other = {
        stage.node(1)?.signal(Signal::SIGCONT)?;
        stage.daemon(1, "", &[])?
    };
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    stage.node(1)?.signal(Signal::SIGSTOP)?;
    other.logs("corosync does not answer", 1)?;
    other.ends()
}

fn dead(stage: &mut Stage) -> Verdict {
    stage.nodes(1)?;
    let mut daemon = stage.daemon(1, "", &[])?;
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    stage.node(1)?.kill_corosync();
    daemon.logs("the cluster can't be talked to", 1)?;
    daemon.ends()
}

/// The request waits for the other node's corosync, which hangs.
fn busy(stage: &mut Stage) -> Verdict {
    stage.nodes(2)?;
    let mut daemon = stage.daemon(1, "", &[])?;
    let other = stage.daemon(2, "", &[])?;
    stage.ask_until(1, &["-o", "status", "-H", "vm2"], 0)?;
    other.process.signal(Signal::SIGSTOP)?;
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| stage.ask(1, &["-o", "off", "-H", "vm2"]));
        std::thread::sleep(std::time::Duration::from_secs(1));
        let ended = daemon.ends();
        (asking.join(), ended)
    });
    other.process.signal(Signal::SIGCONT)?;
    let (Ok(asked), ended) = asked else {
        return Err(fence_lab::Failure::new("the asking thread panicked"));
    };
    ended?;
    let asked = asked?;
    ensure!(asked.code == 1, "{}", asked.describe());
    Ok(())
}
