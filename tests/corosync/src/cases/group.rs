//! What our code for the group says: who is there and why no longer, quorum, hosts, messages in order.

use std::time::{Duration, Instant};

use fence_lab::{Verdict, ensure};
use nix::sys::signal::Signal;

use super::Named;
use crate::node::Node;
use crate::stage::{Member, Stage};

pub(super) const CASES: &[Named] = &[
    ("members are told with the reason why they left", reasons),
    ("quorum is told when it is lost and when it is back", quorum),
    (
        "configured hosts are told by their whole names and when they change",
        hosts,
    ),
    (
        "nodes are told at first and when they go and come, with a daemon or without",
        nodes,
    ),
    ("messages come to all in one order", order),
    (
        "what corosync refuses for now is sent later in order and nothing is lost",
        try_again,
    ),
    (
        "barrier comes behind everything that was sent before",
        barrier,
    ),
    (
        "barrier comes behind the loss of quorum that belongs to what came before it",
        barrier_and_quorum,
    ),
    (
        "member that leaves has left when that is agreed and not when it is asked for",
        leaving,
    ),
];

fn hosts_line(nodes: usize) -> String {
    let hosts = (1..=nodes).map(|id| format!("{id}={}", Node::name(id)));
    format!("hosts {}", hosts.collect::<Vec<_>>().join(","))
}

fn reasons(stage: &mut Stage) -> Verdict {
    stage.nodes(3)?;
    let first = stage.member(1)?;
    first.hears("connected 1", 0)?;
    let mut second = stage.member(2)?;
    let third = stage.member(3)?;
    let mut at = first.hears("members 1,2,3 left ", 0)?;
    second.order("leave")?;
    second.hears("left", 0)?;
    at = first.hears("members 1,3 left 2:Left", at)?;
    third.signal(Signal::SIGKILL)?;
    at = first.hears("members 1 left 3:ProcessDown", at)?;
    let other = stage.member(2)?;
    other.hears("connected 2", 0)?;
    at = first.hears("members 1,2 left ", at)?;
    stage.node(2)?.kill_corosync();
    first.hears("members 1 left 2:NodeDown", at)?;
    Ok(())
}

fn quorum(stage: &mut Stage) -> Verdict {
    stage.nodes(3)?;
    let member = stage.member(1)?;
    let at = member.hears("quorum true", 0)?;
    stage.node(2)?.plug(false)?;
    stage.node(3)?.plug(false)?;
    let at = member.hears("quorum false", at)?;
    stage.node(2)?.plug(true)?;
    member.hears("quorum true", at)?;
    Ok(())
}

fn hosts(stage: &mut Stage) -> Verdict {
    stage.nodes(2)?;
    let member = stage.member(1)?;
    let at = member.hears(&hosts_line(2), 0)?;
    for id in [1, 2] {
        stage.node(id)?.configure(3)?;
    }
    stage.node(1)?.reload()?;
    let at = member.hears(&hosts_line(3), at)?;
    for id in [1, 2] {
        stage.node(id)?.configure(2)?;
    }
    stage.node(1)?.reload()?;
    member.hears(&hosts_line(2), at)?;
    Ok(())
}

fn nodes(stage: &mut Stage) -> Verdict {
    stage.nodes(3)?;
    let member = stage.member(1)?;
    let at = member.hears("nodes 1,2,3", 0)?;
    stage.node(3)?.kill_corosync();
    let at = member.hears("nodes 1,2", at)?;
    stage.node(3)?.start_corosync()?;
    let at = member.hears("nodes 1,2,3", at)?;
    // Back before it was missed: away all the same.
    stage.node(2)?.kill_corosync();
    stage.node(2)?.start_corosync()?;
    let at = member.hears("nodes 1,3", at)?;
    member.hears("nodes 1,2,3", at)?;
    Ok(())
}

fn messages(member: &Member) -> Vec<String> {
    let said = member.said();
    said.into_iter()
        .filter(|line| line.starts_with("message "))
        .collect()
}

fn order(stage: &mut Stage) -> Verdict {
    stage.nodes(2)?;
    let mut members = [stage.member(1)?, stage.member(2)?];
    for member in &members {
        member.hears("members 1,2 left ", 0)?;
    }
    for member in &mut members {
        member.order("send 500 100")?;
    }
    for member in &members {
        member.hears("message 499 of 100 from 1", 0)?;
        member.hears("message 499 of 100 from 2", 0)?;
    }
    let [first, second] = members.map(|member| messages(&member));
    ensure!(first.len() == 1000, "{} messages", first.len());
    ensure!(first == second, "two members heard two orders");
    Ok(())
}

/// More and larger messages than corosync takes at once.
fn try_again(stage: &mut Stage) -> Verdict {
    stage.nodes(2)?;
    let mut sender = stage.member(1)?;
    let receiver = stage.member(2)?;
    receiver.hears("members 1,2 left ", 0)?;
    sender.hears("members 1,2 left ", 0)?;
    sender.order("send 1500 20000")?;
    receiver.hears("message 1499 of 20000 from 1", 0)?;
    let heard = messages(&receiver);
    let wanted = (0..1500).map(|number| format!("message {number} of 20000 from 1"));
    ensure!(
        heard == wanted.collect::<Vec<_>>(),
        "something is missing or out of order"
    );
    ensure!(
        !sender
            .said()
            .iter()
            .any(|line| line.starts_with("disconnected")),
        "the sender lost its connection"
    );
    Ok(())
}

fn barrier(stage: &mut Stage) -> Verdict {
    stage.nodes(1)?;
    let mut member = stage.member(1)?;
    member.hears("members 1 left ", 0)?;
    member.order("send 200 1000")?;
    member.hears("message 0 *", 0)?;
    // What corosync has taken is waiting while the member stands still.
    member.order("barrier")?;
    let asked = member.hears("asked 1", 0)?;
    member.hears("barrier 1", asked)?;
    member.hears("message 199 of 1000 from 1", 0)?;
    Ok(())
}

/// Corosync tells of a new ring part by part, the group first and the quorum later, when the hosts that are left have
/// agreed on that.
fn barrier_and_quorum(stage: &mut Stage) -> Verdict {
    stage.nodes_without_corosync(3)?;
    for id in 1..=3 {
        // Three of five have quorum, two have not.
        stage.node(id)?.configure(5)?;
        stage.node(id)?.start_corosync()?;
    }
    for id in 1..=3 {
        stage.node(id)?.wait_for(3)?;
    }
    let mut members = [stage.member(1)?, stage.member(2)?];
    let other = stage.member(3)?;
    other.hears("members 1,2,3 left ", 0)?;
    let mut from = Vec::new();
    for member in &mut members {
        let at = member.hears("members 1,2,3 left ", 0)?;
        member.order("barriers")?;
        from.push(member.hears("barrier *", at)?);
    }
    stage.node(3)?.plug(false)?;
    for (member, at) in members.iter().zip(from) {
        let gone = member.hears("members 1,2 left 3:NodeDown", at)?;
        let passed = member.hears("barrier *", gone)?;
        let said = member.said();
        let before = said.get(at..passed).unwrap_or_default();
        let lost = before.iter().any(|line| line == "quorum false");
        ensure!(lost, "the quorum was thought to be there: {before:?}");
    }
    Ok(())
}

/// While the token is lost nothing is agreed.
fn leaving(stage: &mut Stage) -> Verdict {
    stage.nodes(2)?;
    let mut member = stage.member(1)?;
    let other = stage.member(2)?;
    other.hears("members 1,2 left ", 0)?;
    member.hears("members 1,2 left ", 0)?;
    stage.node(2)?.signal(Signal::SIGSTOP)?;
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    member.order("leave")?;
    member.hears("left", 0)?;
    let took = began.elapsed();
    stage.node(2)?.signal(Signal::SIGCONT)?;
    ensure!(took > Duration::from_millis(400), "left after {took:?}");
    Ok(())
}
