//! What is done: off, on, reboot, and a node that hangs.

use std::time::{Duration, Instant};

use fence_lab::{Failure, Verdict, ensure, wait};

use super::reading;
use crate::calls::Call;
use crate::files::{BY_LIST, SERVICE};
use crate::names::NodeId;
use crate::stage::{PATIENCE, SPARE, Stage};

/// How late libvirt's events may be on a busy machine.
const EVENT: Duration = Duration::from_secs(2);

/// The calls for a deed that have ended since there were so many.
fn ended(stage: &Stage, action: &str, id: NodeId, since: usize) -> Vec<Call> {
    let calls = stage.calls_of(action, Some(id.domain()));
    calls
        .into_iter()
        .skip(since)
        .filter(|call| call.code.is_some())
        .collect()
}

fn one_success(stage: &Stage, action: &str, id: NodeId, since: usize) -> Verdict {
    let calls = ended(stage, action, id, since);
    let [call] = calls.as_slice() else {
        return Err(Failure::new(format!("one {action} expected: {calls:?}")));
    };
    ensure!(
        call.code == Some(0) && call.value("nodename") == Some(id.name()),
        "{action}: {call:?}"
    );
    Ok(())
}

pub(super) fn off_and_on(stage: &mut Stage) -> Verdict {
    let id = NodeId::Third;
    let boots = stage.node(id).boots;
    stage.tool(
        NodeId::First,
        "stonith_admin",
        &["--fence", id.name(), "-t", "40"],
    )?;
    ensure!(!stage.is_on(id.domain())?, "off, but the domain runs");
    one_success(stage, "off", id, 0)?;
    wait::until("the node's power to be gone", PATIENCE, || {
        stage.node(id).init().is_none()
    })?;
    for other in id.others() {
        stage.sees(other, "two nodes", |view| {
            view.online.len() == 2 && view.count(id.name(), "success") > 0
        })?;
    }
    ensure!(!stage.is_on(id.domain())?, "it did not stay off");
    stage.tool(
        NodeId::First,
        "stonith_admin",
        &["--unfence", id.name(), "-t", "40"],
    )?;
    ensure!(stage.is_on(id.domain())?, "on, but the domain does not run");
    one_success(stage, "on", id, 0)?;
    stage.settle()?;
    let now = stage.node(id).boots;
    ensure!(now == boots + 1, "{boots} boots before, {now} after");
    Ok(())
}

pub(super) fn reboot(stage: &mut Stage) -> Verdict {
    let id = NodeId::Third;
    let (boots, destroyed) = (stage.node(id).boots, stage.libvirtd.destroyed(id.domain())?);
    stage.tool(
        NodeId::Second,
        "stonith_admin",
        &["--reboot", id.name(), "-t", "40"],
    )?;
    stage.was_destroyed(id.domain(), destroyed + 1)?;
    one_success(stage, "reboot", id, 0)?;
    stage.settle()?;
    let now = stage.node(id).boots;
    ensure!(now == boots + 1, "{boots} boots before, {now} after");
    Ok(())
}

pub(super) fn frozen(stage: &mut Stage) -> Verdict {
    let id = place_of_service(stage)?;
    let since = stage.calls_of("reboot", Some(id.domain())).len();
    let destroyed = stage.libvirtd.destroyed(id.domain())?;
    stage.freeze(id)?;
    let watcher = another(id)?;
    moves(stage, watcher, id, || {
        Ok(stage.libvirtd.destroyed(id.domain())? > destroyed)
    })?;
    one_success(stage, "reboot", id, since)?;
    stage.release(id)?;
    stage.settle()
}

/// Where the service runs.
pub(super) fn place_of_service(stage: &Stage) -> Result<NodeId, Failure> {
    let view = stage.view(NodeId::First)?;
    let place = view.place(SERVICE).map(str::to_owned);
    let mut all = NodeId::ALL.into_iter();
    all.find(|id| Some(id.name()) == place.as_deref())
        .ok_or_else(|| Failure::new(format!("the service runs nowhere: {view:?}")))
}

pub(super) fn another(id: NodeId) -> Result<NodeId, Failure> {
    let mut others = id.others();
    others
        .next()
        .ok_or_else(|| Failure::new("there is no other"))
}

/// Waits until the service runs on another node. Nobody may start it before the node is fenced.
pub(super) fn moves(
    stage: &Stage,
    watcher: NodeId,
    from: NodeId,
    is_fenced: impl Fn() -> Result<bool, Failure>,
) -> Verdict {
    let started = Instant::now();
    loop {
        // In this order: what is fenced after the view was taken does not excuse it.
        let fenced_before = is_fenced()?;
        let view = stage.view(watcher)?;
        if view
            .place(SERVICE)
            .is_some_and(|place| place != from.name())
        {
            // Libvirt's event may be a moment late.
            let late = || is_fenced().unwrap_or_default();
            ensure!(
                fenced_before || wait::until("libvirt's event", EVENT, late).is_ok(),
                "the service was started elsewhere before {from} was fenced: {view:?}"
            );
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "the service of {from} was not recovered: {view:?}\n{}",
            stage.tails()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(super) fn listed(stage: &mut Stage) -> Verdict {
    stage.device(BY_LIST, true)?;
    stage.tool(
        NodeId::First,
        "stonith_admin",
        &["--fence", SPARE, "-t", "40"],
    )?;
    ensure!(!stage.is_on(SPARE)?, "off, but the domain runs");
    ensure!(
        stage.is_on(NodeId::Second.domain())?,
        "another domain went off"
    );
    stage.tool(
        NodeId::First,
        "stonith_admin",
        &["--unfence", SPARE, "-t", "40"],
    )?;
    ensure!(stage.is_on(SPARE)?, "on, but the domain does not run");
    stage.device(BY_LIST, false)
}

/// Before 3.0.1 pacemaker names the domain by `port`, since then by `plug`: what this one really said is
/// said again in both ways; of a domain that is no node, lest pacemaker fence it at the same time.
pub(super) fn replayed(stage: &mut Stage) -> Verdict {
    let id = NodeId::Third;
    // What earlier cases have recorded, unless they were left out.
    let is_missing = |stage: &Stage, action| stage.calls_of(action, Some(id.domain())).is_empty();
    if is_missing(stage, "off") {
        off_and_on(stage)?;
    }
    if is_missing(stage, "reboot") {
        reboot(stage)?;
    }
    if is_missing(stage, "status") {
        reading::status(stage)?;
    }
    for action in ["status", "off", "on", "reboot"] {
        let calls = stage.calls_of(action, Some(id.domain()));
        let call = calls
            .first()
            .ok_or_else(|| Failure::new(format!("pacemaker never asked for {action} of {id}")))?;
        ensure!(
            call.value("plug").is_none() && call.value("action") == Some(action),
            "the recorded input: {call:?}"
        );
        let port = call.input.replace(id.domain(), SPARE);
        let plug = port.replace("port=", "plug=");
        ensure!(plug != port, "there is no port in {call:?}");
        for input in [&port, &plug] {
            let destroyed = stage.libvirtd.destroyed(SPARE)?;
            let said = stage.node(NodeId::First).agent(input)?;
            let text = if action == "status" {
                "Status: ON\n"
            } else {
                ""
            };
            // The second off finds it off.
            let is_deed = action == "reboot" || (action == "off" && *input == port);
            let deeds = usize::from(is_deed);
            ensure!(
                (said.code, said.stdout.as_str()) == (0, text),
                "{input:?}: {}",
                said.describe()
            );
            stage.was_destroyed(SPARE, destroyed + deeds)?;
            ensure!(
                stage.is_on(SPARE)? == (action != "off"),
                "{input:?} left the domain in another state"
            );
        }
    }
    stage.settle()
}
