//! What an order asks of all hypervisors before or instead of changing anything: which domain it
//! means, what there is, whether fencing can work.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fence_proto::fencing::{Activity, Answer, DomainCopy, Doubt, Verdict, list_verdict, resolve};
use fence_proto::host::Presence;
use fence_proto::host_list::{Entry, STATE_RUNNING};
use fence_proto::{Action, DomainIdentity, DomainRef, Reply, Requester, Uuid};
use tracing::{error, info};

use super::connection::by_name;
use super::orders::Task;
use super::pool::Lane;
use super::survey::{Survey, Timing, Work};
use super::{Inner, Outcome};

/// So many handles take milliseconds to free, and the answer may need the processor meanwhile.
const MANY_HANDLES: usize = 1_000;

/// How long the freeing waits for it.
const LET_THE_ANSWER_GO: Duration = Duration::from_millis(20);

/// The domain that an order means.
pub(super) struct Target {
    pub uuid: Uuid,
    pub name: String,
    pub activity: Activity,
}

/// Only an answer is one: a hypervisor that refuses a question can't be fenced through.
fn heard<T, E>(answer: Result<T, E>) -> Answer<T> {
    answer.map_or(Answer::Down, Answer::Got)
}

impl Inner {
    /// Success if every configured hypervisor answers.
    pub(super) async fn monitor(&self, timing: Timing) -> Reply {
        let work: Arc<Work<()>> = Arc::new(|worker, _, report| {
            let pinged = worker.ask(|connection| connection.ping());
            if let Err(fault) = &pinged {
                worker.log_fault(&"how many domains run", fault);
            }
            report(heard(pinged));
        });
        let mut survey = Survey::begin(&self.hosts, Lane::Ask, &[], work);
        let complete = survey.judged(timing, list_verdict).await;
        if complete == Some(true) {
            return Reply::Success;
        }
        error!("monitor fails: not every hypervisor answers");
        Reply::Failure
    }

    /// What the source may fence, on all hypervisors, each domain once.
    pub(super) async fn list(&self, task: &Task, timing: Timing) -> Outcome {
        if !task.requester.is_known() {
            return Outcome::List(Vec::new());
        }
        let work: Arc<Work<Vec<Entry>>> =
            Arc::new(
                |worker, _, report| match worker.ask(|connection| connection.list()) {
                    Ok((entries, handles)) => {
                        report(Answer::Got(entries));
                        if handles.len() > MANY_HANDLES {
                            thread::sleep(LET_THE_ANSWER_GO);
                        }
                        drop(handles);
                    }
                    Err(fault) => {
                        worker.log_fault(&"the list", &fault);
                        report(Answer::Down);
                    }
                },
            );
        let mut survey = Survey::begin(&self.hosts, Lane::Ask, &[], work);
        if survey.judged(timing, list_verdict).await != Some(true) {
            error!(
                seqno = task.seqno,
                "no list: not every hypervisor answers, and one without its domains would be wrong"
            );
            return Outcome::Reply(Reply::Failure);
        }
        let entries = survey.take_answers().flatten().collect();
        Outcome::List(self.fenceable(&task.requester, entries))
    }

    fn fenceable(&self, requester: &Requester, mut entries: Vec<Entry>) -> Vec<Entry> {
        if self.hosts.len() > 1 {
            // One domain on several hypervisors is on if it is on anywhere (row L20).
            entries.sort_by_key(|entry| (entry.uuid, entry.state != STATE_RUNNING));
            entries.dedup_by_key(|entry| entry.uuid);
        }
        if requester.is_restricted() {
            entries.retain(|entry| {
                let identity = DomainIdentity {
                    name: entry.name.clone(),
                    uuid: entry.uuid,
                };
                requester.may_fence(&identity)
            });
        }
        // Stable, because that merges what comes in sorted runs.
        entries.sort_by(by_name);
        entries
    }

    /// Finds the domain that an order means and asks the groups; else what to answer.
    pub(super) async fn target(&self, task: &Task, timing: Timing) -> Result<Target, Reply> {
        if !task.requester.is_known() {
            return Err(Reply::PermissionDenied);
        }
        let verdict = self.resolved(&task.domain, timing).await;
        self.judge_target(task, verdict)
    }

    /// Whether the domain is on this host.
    pub(super) async fn presence(&self, domain: &DomainRef, timing: Timing) -> Presence {
        match self.resolved(domain, timing).await {
            Verdict::Known {
                activity: Activity::On,
                ..
            } => Presence::On,
            Verdict::Known {
                activity: Activity::Off,
                ..
            } => Presence::Off,
            // The refusal with its cause is this host's to give.
            Verdict::Ambiguous(_) => Presence::On,
            Verdict::Unknown => Presence::Absent,
            Verdict::Doubt(_) | Verdict::Wait => Presence::Unclear,
        }
    }

    /// What all hypervisors together say that a text means.
    async fn resolved(&self, text: &DomainRef, timing: Timing) -> Verdict {
        let text = text.clone();
        let work: Arc<Work<Vec<DomainCopy>>> = Arc::new(move |worker, _, report| {
            let found = worker.ask(|connection| connection.find(&text));
            let common = &worker.host.common;
            report(match found {
                Ok(found) => {
                    let copies: Vec<_> = found.into_iter().map(|found| found.copy).collect();
                    if common.several {
                        let mut sightings = common.sightings();
                        for copy in &copies {
                            sightings.saw(worker.host.index, copy.identity.uuid, copy.activity);
                        }
                    }
                    Answer::Got(copies)
                }
                Err(fault) => {
                    worker.log_fault(&text, &fault);
                    Answer::Down
                }
            });
        });
        let mut survey = Survey::begin(&self.hosts, Lane::Ask, &[], work);
        let verdict = survey.judged(timing, |answers, stage| {
            let now = self.clock.now();
            match resolve(answers, stage, &self.common.sightings(), now) {
                Verdict::Wait => None,
                verdict => Some(verdict),
            }
        });
        verdict.await.unwrap_or(Verdict::Doubt(Doubt::Unheard))
    }

    fn judge_target(&self, task: &Task, verdict: Verdict) -> Result<Target, Reply> {
        let (action, domain, seqno) = (task.action, &task.domain, task.seqno);
        match verdict {
            Verdict::Known {
                uuid,
                identities,
                activity,
            } => {
                allowed(&task.requester, &identities)?;
                let name = identities.into_iter().next().map(|identity| identity.name);
                Ok(Target {
                    uuid,
                    name: name.unwrap_or_default(),
                    activity,
                })
            }
            Verdict::Ambiguous(identities) => {
                allowed(&task.requester, &identities)?;
                let found: Vec<_> = identities
                    .iter()
                    .map(|identity| format!("{} {}", identity.name, identity.uuid))
                    .collect();
                let found = found.join(", ");
                error!(%action, ?domain, seqno, found, "refused: several domains answer to this; use a UUID that is nobody's name");
                Err(Reply::Failure)
            }
            // Who may not fence that text learns nothing about it, as with the original.
            Verdict::Unknown | Verdict::Doubt(_) | Verdict::Wait
                if !task.requester.lists(task.domain.as_str()) =>
            {
                Err(Reply::PermissionDenied)
            }
            Verdict::Unknown if action == Action::Status => Err(Reply::Off),
            Verdict::Unknown => {
                info!(%action, ?domain, seqno, "no hypervisor has this domain");
                Err(Reply::Failure)
            }
            Verdict::Doubt(doubt) => {
                error!(%action, ?domain, seqno, "nobody knows whether the domain is on: {doubt}");
                Err(Reply::Failure)
            }
            Verdict::Wait => Err(Reply::Failure),
        }
    }
}

fn allowed(requester: &Requester, identities: &[DomainIdentity]) -> Result<(), Reply> {
    if identities
        .iter()
        .all(|identity| requester.may_fence(identity))
    {
        Ok(())
    } else {
        Err(Reply::PermissionDenied)
    }
}

#[cfg(test)]
mod tests {
    use fence_proto::fencing::Trouble;

    use super::super::connection::Fault;
    use super::*;

    #[test]
    fn question_that_failed_for_whatever_reason_is_no_answer_to_monitor() {
        assert_eq!(heard::<(), Fault>(Ok(())), Answer::Got(()));
        for trouble in [Trouble::ConnectionLost, Trouble::Refused, Trouble::Other] {
            let mut fault = Fault::lost("no");
            fault.trouble = trouble;
            assert_eq!(heard::<(), Fault>(Err(fault)), Answer::Down);
        }
    }
}
