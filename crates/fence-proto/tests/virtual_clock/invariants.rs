//! What must hold at the end of every run, whatever the network did.

use std::time::Duration;

use fence_proto::agent::Verdict;
use fence_proto::{Action, Moment, Reply};

use crate::agent::Agent;
use crate::domains::Execution;
use crate::world::{KEY, World};

/// How long a host remembers a served request (section 2.6).
const SERVED_MEMORY: Duration = Duration::from_secs(10);

/// Checks everything that holds in every world whose peers authenticate.
pub(crate) fn hold(world: &World) {
    for agent in &world.agents {
        let asked = agent.asks.seqno;
        let of_agent = |execution: &&Execution| execution.seqno == asked;
        let executions: Vec<_> = world.executions.iter().filter(of_agent).collect();
        ended_in_time(agent);
        verdict_is_true(agent, &executions);
        executed_as_often_as_ordered(agent, &executions);
        repeats_are_far_apart(&executions);
    }
    for execution in &world.executions {
        assert!(execution.started <= execution.start_by, "{execution:?}");
    }
    for host in &world.hosts {
        assert!(host.is_idle(), "sessions are left over: {host:?}");
    }
}

/// Row L14: one total time-out, and nothing beyond it.
fn ended_in_time(agent: &Agent) {
    let (ended, _) = agent.verdict.as_ref().expect("every agent ends");
    assert!(*ended <= agent.started + agent.asks.timeout);
}

/// A success (or a status) is never made up: a host has carried out this very request, since it was
/// made, and answered just that. So is every other reply, unless nothing was started.
fn verdict_is_true(agent: &Agent, executions: &[&Execution]) {
    let Some((ended, Verdict::Replied(reply))) = &agent.verdict else {
        return;
    };
    if !matches!(reply, Reply::Success | Reply::Off) {
        return;
    }
    let proved = executions.iter().any(|execution| {
        let same = execution.action == agent.asks.action && execution.domain == agent.asks.domain;
        let answered = matches!(execution.done, Some((done, it)) if it == *reply && done <= *ended);
        same && answered && execution.started >= agent.started
    });
    assert!(proved, "{:?} without proof: {executions:?}", agent.verdict);
}

/// Each answer to a host's challenge lets one host act once. An agent gives a second one only after
/// the connection with the first has ended without a reply. Who has no key orders nothing.
fn executed_as_often_as_ordered(agent: &Agent, executions: &[&Execution]) {
    let tally = agent.session.as_ref().map(|session| session.tally());
    let ordered = if agent.asks.key == KEY {
        1 + tally.unwrap_or_default().without_reply as usize
    } else {
        0
    };
    assert!(executions.len() <= ordered, "{tally:?}, {executions:?}");
}

/// One host executes one request again only if its requester lost the connection before the reply,
/// and not before the ten seconds are over in which it drops retransmissions.
fn repeats_are_far_apart(executions: &[&Execution]) {
    for (index, first) in executions.iter().enumerate() {
        for second in executions.iter().skip(index + 1) {
            let over = first.session_over.unwrap_or(Moment::ZERO);
            assert!(
                first.host != second.host || second.started >= over + SERVED_MEMORY,
                "{first:?} and again {second:?}"
            );
        }
    }
}

/// What a success for `off` means.
pub(crate) fn is_off_if_agent_says_so(world: &World, agent: usize) -> bool {
    let asks = &world.agents[agent].asks;
    let success = *world.verdict(agent) == Verdict::Replied(Reply::Success);
    asks.action != Action::Off || !success || !world.domains.is_on(asks.domain)
}
