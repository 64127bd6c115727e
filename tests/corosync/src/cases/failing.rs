//! Corosync dies, hangs, is cut off, and comes back: the daemon serves as it can, and again when it can.

use std::thread;
use std::time::{Duration, Instant};

use fence_lab::{Verdict, ensure};
use nix::sys::signal::Signal;

use super::Named;
use crate::stage::Stage;

pub(super) const CASES: &[Named] = &[
    (
        "killed corosync is noticed and the daemon serves five seconds after its return",
        killed,
    ),
    (
        "corosync that hangs is like none and answers come all the same",
        hung,
    ),
    (
        "corosync that hangs and is killed is replaced",
        hung_then_killed,
    ),
    (
        "member that was taken for gone is back with one membership",
        back,
    ),
    (
        "daemon that starts before corosync waits for it under w and fails without",
        early,
    ),
    (
        "isolated node claims nothing of the others and serves again with them",
        isolated,
    ),
];

/// What "within 5 s" may take on a busy machine.
const FIVE_SECONDS: Duration = Duration::from_secs(9);

/// What a host runs counts as its own once its daemon has served for 3 s (docs/cluster.md); on a busy machine it
/// may stand still meanwhile.
const OWN_AFTER: Duration = Duration::from_secs(6);

fn killed(stage: &mut Stage) -> Verdict {
    stage.nodes(1)?;
    let daemon = stage.daemon(1, "", &[])?;
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    thread::sleep(OWN_AFTER);
    stage.node(1)?.kill_corosync();
    daemon.logs("the cluster can't be talked to", 1)?;
    stage.expect(1, &["-o", "monitor"], 1)?;
    // What is here can be fenced without anybody.
    stage.expect(1, &["-o", "off", "-H", "vm1"], 0)?;
    stage.expect(1, &["-o", "status", "-H", "vm1"], 1)?;
    stage.node(1)?.start_corosync()?;
    stage.node(1)?.wait_for(1)?;
    let back = Instant::now();
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    let took = back.elapsed();
    ensure!(took < FIVE_SECONDS, "serving again took {took:?}");
    stage.expect(1, &["-o", "status", "-H", "vm1"], 2)?;
    stage.expect(1, &["-o", "on", "-H", "vm1"], 0)
}

fn hung(stage: &mut Stage) -> Verdict {
    stage.nodes(1)?;
    let mut daemon = stage.daemon(1, "request_timeout = \"8\";", &[])?;
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    thread::sleep(OWN_AFTER);
    stage.node(1)?.signal(Signal::SIGSTOP)?;
    // A request that needs the group, before anybody knows of the hang.
    let asked = stage.ask(1, &["-o", "status", "-H", "nobody"])?;
    ensure!(
        asked.code == 1 && asked.elapsed < Duration::from_secs(15),
        "{}",
        asked.describe()
    );
    daemon.logs("corosync does not answer", 1)?;
    stage.expect(1, &["-o", "monitor"], 1)?;
    stage.expect(1, &["-o", "off", "-H", "vm1"], 0)?;
    stage.node(1)?.signal(Signal::SIGCONT)?;
    let back = Instant::now();
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    let took = back.elapsed();
    ensure!(took < FIVE_SECONDS, "serving again took {took:?}");
    stage.expect(1, &["-o", "on", "-H", "vm1"], 0)?;
    daemon.ends()
}

fn hung_then_killed(stage: &mut Stage) -> Verdict {
    stage.nodes(1)?;
    let daemon = stage.daemon(1, "", &[])?;
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    stage.node(1)?.signal(Signal::SIGSTOP)?;
    daemon.logs("corosync does not answer", 1)?;
    stage.node(1)?.kill_corosync();
    stage.node(1)?.start_corosync()?;
    stage.node(1)?.wait_for(1)?;
    let back = Instant::now();
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    let took = back.elapsed();
    ensure!(took < FIVE_SECONDS, "serving again took {took:?}");
    Ok(())
}

/// The others see one member all the time after it is back, though for a moment two connections of it were
/// there.
fn back(stage: &mut Stage) -> Verdict {
    stage.nodes(2)?;
    let first = stage.member(1)?;
    let second = stage.member(2)?;
    let at = second.hears("members 1,2 left ", 0)?;
    let here = first.hears("members 1,2 left ", 0)?;
    stage.node(1)?.signal(Signal::SIGSTOP)?;
    let here = first.hears("disconnected corosync does not answer", here)?;
    let at = second.hears("members 2 left 1:NodeDown", at)?;
    stage.node(1)?.signal(Signal::SIGCONT)?;
    let here = first.hears("connected 1", here)?;
    first.hears("members 1,2 left ", here)?;
    second.hears("members 1,2 left ", at)?;
    let said = first.said();
    let since: Vec<_> = said.iter().skip(here).collect();
    ensure!(
        !since.iter().any(|line| line.starts_with("disconnected")),
        "{since:?}"
    );
    Ok(())
}

fn early(stage: &mut Stage) -> Verdict {
    stage.nodes_without_corosync(1)?;
    let mut hasty = stage.daemon(1, "", &[])?;
    let status = hasty.process.wait(Duration::from_secs(20))?;
    let log = hasty.process.log();
    ensure!(status.code() == Some(1), "{status}: {log}");
    ensure!(log.contains("is corosync running?"), "{log}");
    let mut patient = stage.daemon(1, "", &["-w"])?;
    patient.logs("waiting: the cluster can't be joined", 1)?;
    ensure!(patient.process.is_running(), "it gave up");
    stage.node(1)?.start_corosync()?;
    patient.logs("ready: ", 1)?;
    stage.ask_until(1, &["-o", "monitor"], 0)
}

fn isolated(stage: &mut Stage) -> Verdict {
    stage.nodes(3)?;
    let _daemons = [
        stage.daemon(1, "", &[])?,
        stage.daemon(2, "", &[])?,
        stage.daemon(3, "", &[])?,
    ];
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    stage.ask_until(1, &["-o", "status", "-H", "vm2"], 0)?;
    thread::sleep(OWN_AFTER);
    stage.node(1)?.plug(false)?;
    stage.ask_until(1, &["-o", "monitor"], 1)?;
    for action in ["status", "off", "reboot", "on"] {
        stage.expect(1, &["-o", action, "-H", "vm2"], 1)?;
    }
    // The others do not claim anything of it either: nothing proves that it is off.
    stage.expect(2, &["-o", "status", "-H", "vm1"], 1)?;
    stage.expect(2, &["-o", "off", "-H", "vm1"], 1)?;
    stage.expect(2, &["-o", "status", "-H", "vm3"], 0)?;
    // What runs here can be fenced here.
    stage.expect(1, &["-o", "off", "-H", "vm1"], 0)?;
    stage.node(1)?.plug(true)?;
    stage.ask_until(1, &["-o", "monitor"], 0)?;
    stage.ask_until(2, &["-o", "status", "-H", "vm1"], 2)?;
    stage.expect(1, &["-o", "off", "-H", "vm2"], 0)
}
