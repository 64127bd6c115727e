//! The life of one order: find the domain, ask the groups, take the domain's turn, act, answer.

use std::sync::Arc;
use std::time::Duration;

use fence_proto::fencing::Activity;
use fence_proto::{Action, DomainRef, Moment, Reason, Reply, Requester};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::survey::Timing;
use super::{CancelFlag, Inner, LibvirtBackend, Outcome};

/// The answer is given so long before it is due.
pub(super) const MARGIN: Duration = Duration::from_millis(100);

/// How long `status` waits for an order that is changing the domain.
const CHANGE_WAIT: Duration = Duration::from_secs(2);

/// An order, unpacked.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub action: Action,
    pub domain: DomainRef,
    pub requester: Requester,
    pub seqno: u32,
    pub start_by: Moment,
    pub answer_by: Moment,
}

impl LibvirtBackend {
    /// What [`Self::execute`] does with an order, without the proof that there was one.
    pub(super) async fn run(&self, task: Task, cancelled: CancelFlag) -> Outcome {
        let began = Instant::now();
        let clock = self.0.clock;
        let due = Instant::from_std(clock.instant(task.answer_by));
        let inner = Arc::clone(&self.0);
        let work = inner.carry_out(task.clone(), due, cancelled);
        let outcome = if task.action.changes_state() {
            // On a task of its own: what has begun goes on, whoever stops waiting.
            let work = tokio::spawn(work);
            timeout_at(due, work)
                .await
                .map(|joined| joined.unwrap_or(Outcome::Reply(Reply::Failure)))
        } else {
            timeout_at(due, work).await
        };
        let outcome = outcome.unwrap_or(Outcome::Reply(Reply::Failure));
        log(&task, &outcome, began.elapsed());
        outcome
    }
}

impl Inner {
    async fn carry_out(
        self: Arc<Self>,
        task: Task,
        due: Instant,
        cancelled: CancelFlag,
    ) -> Outcome {
        let deadline = due.checked_sub(MARGIN).unwrap_or(due);
        let timing = Timing::until(deadline);
        match task.action {
            Action::Null => Outcome::Reply(Reply::Failure),
            Action::Monitor => Outcome::Reply(self.monitor(timing).await),
            Action::List => self.list(&task, timing).await,
            Action::Status => Outcome::Reply(self.status(&task, timing).await),
            Action::Off | Action::On | Action::Reboot => {
                if self.common.is_closed() {
                    return Outcome::NotStarted(Reason::ShuttingDown);
                }
                match self.target(&task, timing).await {
                    Ok(target) => self.change(&task, &target, deadline, cancelled).await,
                    Err(reply) => Outcome::Reply(reply),
                }
            }
        }
    }
}

impl Inner {
    /// Off while an order is changing the domain may be the moment within a reboot: it is asked for
    /// again when that order is through, or two seconds later.
    async fn status(&self, task: &Task, timing: Timing) -> Reply {
        let first = match self.target(task, timing).await {
            Ok(target) => target,
            Err(reply) => return reply,
        };
        let limit = timing.deadline.min(Instant::now() + CHANGE_WAIT);
        let changed =
            first.activity == Activity::Off && self.lanes.settled(first.uuid, limit).await;
        let now = if changed {
            self.target(task, Timing::until(timing.deadline)).await
        } else {
            Ok(first)
        };
        match now {
            Ok(target) if target.activity == Activity::On => Reply::Success,
            Ok(_) => Reply::Off,
            Err(reply) => reply,
        }
    }
}

/// The session logs what it answers; this is the detail beneath. Only a question that is refused
/// is logged here for everybody.
fn log(task: &Task, outcome: &Outcome, elapsed: Duration) {
    let (action, domain, seqno) = (task.action, &task.domain, task.seqno);
    let source = task.requester.source();
    let elapsed_ms = elapsed.as_millis();
    match outcome {
        Outcome::Reply(Reply::PermissionDenied) if !action.changes_state() => {
            info!(%action, ?domain, %source, seqno, elapsed_ms, "question refused");
        }
        Outcome::Reply(reply) => {
            debug!(%action, ?domain, %source, seqno, elapsed_ms, ?reply, "order answered");
        }
        Outcome::List(entries) => {
            let domains = entries.len();
            debug!(%action, %source, seqno, elapsed_ms, domains, "order answered");
        }
        Outcome::NotStarted(reason) => {
            debug!(%action, ?domain, %source, seqno, elapsed_ms, %reason, "order dropped, nothing was changed");
        }
    }
}
