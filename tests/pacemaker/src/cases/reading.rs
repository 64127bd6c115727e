//! What pacemaker reads: metadata, monitor, and which node a device can fence.

use std::collections::BTreeSet;

use fence_lab::{Verdict, ensure, wait};

use crate::files::{BY_LIST, BY_MAP, BY_STATUS};
use crate::names::NodeId;
use crate::stage::{BLANK, SPARE, SPARE_UUID, Stage, WORD};

const ASKING: NodeId = NodeId::First;

pub(super) fn metadata(stage: &mut Stage) -> Verdict {
    for (tool, words) in [
        ("stonith_admin", &["--metadata", "-a", "fence_xvm"][..]),
        ("crm_resource", &["--show-metadata", "stonith:fence_xvm"]),
    ] {
        let said = stage.tool(ASKING, tool, words)?;
        for part in [
            r#"<resource-agent name="fence_xvm""#,
            r#"<parameter name="plug""#,
            r#"type="second" default="30""#,
            r#"<option value="sha256""#,
            r#"<action name="on" automatic="0""#,
        ] {
            ensure!(said.contains(part), "{tool} does not show {part}");
        }
    }
    // As the controller does it: another user, no capabilities, no right to read the key.
    let node = stage.node(ASKING);
    let options = ["--reuid=hacluster", "--regid=haclient", "--clear-groups"];
    let as_user = |words: &[&str]| node.run("setpriv", &[&options[..], words].concat());
    let key = as_user(&["cat", "/etc/cluster/fence_xvm.key"])?;
    ensure!(key.code != 0, "the key is readable by everybody");
    let said = as_user(&["/etc/cluster/agent/fence_xvm", "-o", "metadata"])?;
    ensure!(
        said.code == 0 && said.stderr.is_empty() && said.stdout.contains("</resource-agent>"),
        "metadata as hacluster: {}",
        said.describe()
    );
    drop(node);
    let calls = stage.calls_of("metadata", None);
    ensure!(
        !calls.is_empty() && calls.iter().all(|call| call.code == Some(0)),
        "pacemaker's own calls for metadata: {calls:?}"
    );
    Ok(())
}

pub(super) fn monitor(stage: &mut Stage) -> Verdict {
    let so_far = stage.calls_of("monitor", None).len();
    wait::until("another monitor", wait::PATIENCE * 3, || {
        stage.calls_of("monitor", None).len() > so_far + 1
    })?;
    let calls = stage.calls_of("monitor", None);
    let ended: Vec<_> = calls.iter().filter_map(|call| call.code).collect();
    ensure!(ended.iter().all(|code| *code == 0), "monitors: {calls:?}");
    // It is the host that answers: without one it is a failure.
    stage.kill_daemon()?;
    let said = stage.node(ASKING).agent("action=monitor\ntimeout=2\n")?;
    stage.start_daemon(Vec::new())?;
    ensure!(
        said.code == 1,
        "monitor without a host: {}",
        said.describe()
    );
    Ok(())
}

pub(super) fn unfencing(stage: &mut Stage) -> Verdict {
    let calls = stage.calls();
    let deeds: Vec<_> = calls
        .iter()
        .filter(|call| ["on", "off", "reboot"].contains(&call.action()))
        .collect();
    ensure!(deeds.is_empty(), "without any order: {deeds:?}");
    ensure!(calls.len() > 3, "the recorder has nothing: {calls:?}");
    // pcs goes by the metadata when it decides whether a device unfences.
    let create = "cibadmin -Q >/run/cib.xml && pcs -f /run/cib.xml stonith create by-pcs fence_xvm \
                  pcmk_host_map=node1:vm1 && cat /run/cib.xml";
    let cib = stage.tool(ASKING, "sh", &["-c", create])?;
    ensure!(
        cib.contains(r#"id="by-pcs""#) && !cib.contains("provides"),
        "what pcs makes of the metadata: {cib}"
    );
    Ok(())
}

/// The devices that a node's pacemaker would fence a target with.
fn devices(stage: &Stage, target: &str) -> Result<BTreeSet<String>, fence_lab::Failure> {
    let node = stage.node(ASKING);
    let said = node.run_for("stonith_admin", &["-l", target, "-t", "20"], 40)?;
    let names = [BY_MAP.name, BY_LIST.name, BY_STATUS.name];
    let lines = said.stdout.lines().map(str::trim);
    Ok(lines
        .filter(|line| names.contains(line))
        .map(str::to_owned)
        .collect())
}

fn only(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn map(stage: &mut Stage) -> Verdict {
    let lists = stage.calls_of("list", None).len();
    for id in NodeId::ALL {
        let found = devices(stage, id.name())?;
        ensure!(found == only(&[BY_MAP.name]), "for {id}: {found:?}");
    }
    for nobody in ["delta", SPARE] {
        let found = devices(stage, nobody)?;
        ensure!(found.is_empty(), "for {nobody}: {found:?}");
    }
    ensure!(
        stage.calls_of("list", None).len() == lists,
        "a list was asked for, although there is a map"
    );
    Ok(())
}

pub(super) fn list(stage: &mut Stage) -> Verdict {
    stage.device(BY_LIST, true)?;
    for target in [SPARE, SPARE_UUID] {
        let found = devices(stage, target)?;
        ensure!(found == only(&[BY_LIST.name]), "for {target}: {found:?}");
    }
    for nobody in ["delta", WORD, BLANK, "off"] {
        let found = devices(stage, nobody)?;
        ensure!(found.is_empty(), "for {nobody}: {found:?}");
    }
    // The domain that nobody has: this is what the warning is about.
    for half in BLANK.split(' ') {
        let found = devices(stage, half)?;
        ensure!(
            found == only(&[BY_LIST.name]),
            "half a name, {half}: {found:?}"
        );
    }
    let calls = stage.calls_of("list", None);
    let told = |name: &str| {
        calls
            .iter()
            .all(|call| call.errors.contains(&format!("'{name}'")))
    };
    ensure!(
        !calls.is_empty() && told(BLANK) && told(WORD),
        "the list's warning: {calls:?}"
    );
    ensure!(
        calls.iter().all(|call| !call.errors.contains(SPARE)
            && call.errors.lines().count() == 1
            && call.output.contains(BLANK)
            && call.code == Some(0)),
        "a good name is warned of, or the list is another one: {calls:?}"
    );
    let log = stage.node(ASKING).pacemaker_log();
    ensure!(
        log.contains("pcmk_host_map"),
        "the warning is not in pacemaker's log"
    );
    stage.device(BY_LIST, false)
}

pub(super) fn status(stage: &mut Stage) -> Verdict {
    stage.device(BY_STATUS, true)?;
    for id in NodeId::ALL {
        let found = devices(stage, id.name())?;
        ensure!(
            found == only(&[BY_MAP.name, BY_STATUS.name]),
            "for {id}: {found:?}"
        );
        let calls = stage.calls_of("status", Some(id.domain()));
        ensure!(
            !calls.is_empty() && calls.iter().all(|call| call.output == "Status: ON\n"),
            "the status of {id}: {calls:?}"
        );
    }
    // Nobody has a domain of this name, which the original calls off, and so does ours.
    let found = devices(stage, "delta")?;
    ensure!(found == only(&[BY_STATUS.name]), "for delta: {found:?}");
    // Without a host there is no status, and so nothing that this device could fence.
    stage.kill_daemon()?;
    let found = devices(stage, NodeId::Second.name());
    stage.start_daemon(Vec::new())?;
    let found = found?;
    ensure!(found == only(&[BY_MAP.name]), "without a host: {found:?}");
    stage.device(BY_STATUS, false)?;
    stage.settle()
}
