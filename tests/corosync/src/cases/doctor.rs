//! `fence_virtd --check` in a cluster: each check red and green, and nobody is disturbed.

use std::time::{Duration, Instant};

use fence_lab::{Failure, Verdict, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Named;
use crate::stage::{Daemon, Stage};

pub(super) const CASES: &[Named] = &[
    ("check tells corosync and quorum, red and green", condition),
    (
        "check tells the members and what they run and disturbs nobody",
        members,
    ),
];

/// The verdicts and findings of one check.
fn of(report: &Value, check: &str) -> Vec<(String, String)> {
    let all = report["checks"].as_array().cloned().unwrap_or_default();
    let mine = all.into_iter().filter(|one| one["check"] == check);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    mine.map(|one| (text(&one["verdict"]), text(&one["found"])))
        .collect()
}

/// Checks until one check has a finding like this.
fn until(stage: &mut Stage, check: &str, verdict: &str, words: &str) -> Verdict {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let found = of(&stage.check(1)?, check);
        let like = |one: &(String, String)| one.0 == verdict && one.1.contains(words);
        if found.iter().any(like) {
            return Ok(());
        }
        ensure!(
            Instant::now() < limit,
            "{check} was never {verdict} with '{words}': {found:?}"
        );
    }
}

fn condition(stage: &mut Stage) -> Verdict {
    stage.nodes(3)?;
    let daemon = stage.daemon(1, "", &[])?;
    daemon.logs("cluster of 1 member", 1)?;
    until(stage, "corosync", "ok", "one of 3 configured hosts")?;
    until(stage, "quorum", "ok", "has quorum")?;
    until(stage, "group", "warning", "no daemon in the group on")?;
    until(stage, "proof", "warning", "fence_proof is none")?;
    for node in [2, 3] {
        stage.node(node)?.plug(false)?;
    }
    until(stage, "quorum", "problem", "no quorum")?;
    for node in [2, 3] {
        stage.node(node)?.plug(true)?;
    }
    until(stage, "quorum", "ok", "has quorum")?;
    stage.node(1)?.signal(Signal::SIGSTOP)?;
    let stopped = until(stage, "corosync", "problem", "no answer in 5 s");
    stage.node(1)?.signal(Signal::SIGCONT)?;
    stopped?;
    until(stage, "corosync", "ok", "")?;
    stage.node(1)?.kill_corosync();
    until(stage, "corosync", "problem", "cannot be asked")
}

fn members(stage: &mut Stage) -> Verdict {
    stage.nodes(3)?;
    let third = stage.daemon(3, "", &[])?;
    // Pacemaker's tool is there, and no pacemaker.
    let first = stage.daemon(1, "fence_proof = \"pacemaker\";", &[])?;
    first.logs("cluster of 2 members", 1)?;
    until(stage, "group", "ok", "node-3.example (3): this fence_virtd")?;
    until(stage, "group", "warning", "node-2.example")?;
    until(stage, "proof", "problem", "")?;
    let _original = original_speaks(stage)?;
    first.logs("cluster of 3 members", 1)?;
    let count = |text: &str| first.process.log().matches(text).count();
    let before = [count("cluster of"), count("left the cluster's group")];
    for _ in 0..5 {
        stage.check(1)?;
    }
    let after = [count("cluster of"), count("left the cluster's group")];
    ensure!(before == after, "{before:?} became {after:?}");
    drop(third);
    until(stage, "group", "warning", "node-3.example")
}

/// One in three of them loses a race at its start and never says anything: then another one is started.
fn original_speaks(stage: &mut Stage) -> Result<Daemon, Failure> {
    for _ in 0..5 {
        let daemon = stage.original(2)?;
        let limit = Instant::now() + Duration::from_secs(8);
        while Instant::now() < limit {
            let found = of(&stage.check(1)?, "group");
            let told = "node-2.example (2): the original";
            if found.iter().any(|(_, found)| found.contains(told)) {
                return Ok(daemon);
            }
        }
        drop(daemon);
    }
    Err(Failure::new("the original is never told"))
}
