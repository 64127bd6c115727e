//! Orders that change a domain: its turn, off on every hypervisor with proof, the start.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fence_proto::fencing::{
    Acted, Activity, Answer, DomainCopy, Goal, LocalOff, RoundVerdict, Verdict, resolve, settle,
};
use fence_proto::{Action, Moment, Reason, Reply};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, error, warn};

use super::act::{
    Authority, Change, OffReport, START_WITHIN, Start, Started, count_failed_start, make_off, start,
};
use super::orders::{MARGIN, Task};
use super::pool::{Lane, Ticket};
use super::questions::Target;
use super::survey::{Survey, Timing, Work};
use super::worker::Worker;
use super::{CancelFlag, Inner, Outcome};

/// How long the answer to a reboot waits for the start, once the domain is proven off.
const START_WAIT: Duration = Duration::from_secs(5);

/// How long after its answer was due an order keeps the domain to itself, when a call of it does
/// not return.
pub(super) const TURN_KEPT: Duration = Duration::from_secs(5);

/// Pause between looks whether a start that hangs has come to an end.
const START_ENDS: Duration = Duration::from_millis(20);

/// Rounds of "make sure it is off everywhere" before an order fails.
const MAX_ROUNDS: usize = 4;

impl Inner {
    pub(super) async fn change(
        &self,
        task: &Task,
        target: &Target,
        deadline: Instant,
        cancelled: CancelFlag,
    ) -> Outcome {
        let start_by = Instant::from_std(self.clock.instant(task.start_by)).min(deadline);
        let place = match timeout_at(start_by, self.lanes.enter(target.uuid)).await {
            Ok(Ok(place)) => Arc::new(place),
            Ok(Err(crowded)) => {
                let (action, domain) = (task.action, &task.domain);
                error!(%action, ?domain, seqno = task.seqno, "refused: {crowded}");
                return Outcome::Reply(Reply::Failure);
            }
            Err(_) => return Outcome::NotStarted(Reason::OrderExpired),
        };
        place.keep_until(deadline + TURN_KEPT);
        let due = task.answer_by.since_epoch().saturating_sub(MARGIN);
        let change = Arc::new(Change {
            uuid: target.uuid,
            goal: if task.action == Action::Reboot {
                Goal::Replace
            } else {
                Goal::StayOff
            },
            authority: Authority::Groups(task.requester.clone()),
            keep_definition: task.action == Action::Reboot,
            seqno: task.seqno,
            start_by: task.start_by,
            deadline: Moment::from_epoch(due),
            clock: self.clock,
            common: Arc::clone(&self.common),
            cancelled,
            begun: OnceLock::new(),
            place: Arc::downgrade(&place),
            migrated: AtomicBool::new(false),
        });
        if task.action == Action::On {
            return self.on(&change, &target.name, deadline).await;
        }
        let report = match self.off_for_good(&change, deadline).await {
            Ok(acted) => acted,
            Err(doubt) => return no_success(&change, doubt),
        };
        if let (Some((acted, report)), Action::Reboot) = (report, task.action) {
            place.keep_until(Instant::now() + START_WITHIN);
            let how = Start::Again {
                ticket: Arc::default(),
                place,
                transient: report.transient(),
            };
            self.start_again(&change, acted.host, how, deadline).await;
        }
        Outcome::Reply(Reply::Success)
    }

    /// Off everywhere, with proof, and no start of the domain under way that may undo it: one that
    /// was begun here and has not returned, whose order has lost its turn.
    pub(super) async fn off_for_good(
        &self,
        change: &Arc<Change>,
        deadline: Instant,
    ) -> Result<Option<(Acted, OffReport)>, NoProof> {
        let mut acted = None;
        loop {
            // Before the proof: a start that ends during it may have come after a look.
            let starting = self.lanes.is_starting(change.uuid);
            acted = self.off(change, deadline).await?.or(acted);
            if !starting {
                return Ok(acted);
            }
            warn!(uuid = %change.uuid, seqno = change.seqno, "a start of the domain has not returned yet; waiting for it");
            while self.lanes.is_starting(change.uuid) {
                if Instant::now() >= deadline {
                    return Err(NoProof::Starting);
                }
                sleep(START_ENDS).await;
            }
        }
    }

    /// Off everywhere, with proof. Tells where it was on, if it was.
    async fn off(
        &self,
        change: &Arc<Change>,
        deadline: Instant,
    ) -> Result<Option<(Acted, OffReport)>, NoProof> {
        let mut acted: Option<(Acted, OffReport)> = None;
        let mut silent = vec![false; self.hosts.len()];
        for _ in 0..MAX_ROUNDS {
            let round = self.off_round(
                change,
                deadline,
                acted.as_ref().map(|(acted, _)| *acted),
                &silent,
            );
            let (verdict, answers) = round.await;
            let now = match verdict {
                RoundVerdict::Off { acted: None } => return Ok(None),
                RoundVerdict::Off { acted: Some(now) } => now,
                RoundVerdict::Again(now) => now,
                other => return Err(NoProof::Verdict(other)),
            };
            let report = answers.get(now.host).and_then(Answer::got);
            if let Some(report) =
                report.filter(|report| matches!(report.local, LocalOff::Proven(_)))
            {
                acted = Some((now, report.clone()));
            }
            if matches!(verdict, RoundVerdict::Off { .. }) {
                return Ok(acted);
            }
            silent = answers
                .iter()
                .map(|answer| answer.got().is_none())
                .collect();
        }
        Err(NoProof::Verdict(RoundVerdict::Failed))
    }

    async fn off_round(
        &self,
        change: &Arc<Change>,
        deadline: Instant,
        before: Option<Acted>,
        leave_out: &[bool],
    ) -> (RoundVerdict, Vec<Answer<OffReport>>) {
        let shared = Arc::clone(change);
        let work: Arc<Work<OffReport>> =
            Arc::new(move |worker, ticket, report| report(make_off(worker, ticket, &shared)));
        let mut survey = Survey::begin(&self.hosts, Lane::Act, leave_out, work);
        let judged = survey.judged(Timing::until(deadline), |answers, stage| {
            let locals: Vec<_> = answers
                .iter()
                .map(|answer| answer.map(|report| report.local))
                .collect();
            let sightings = self.common.sightings();
            let now = self.clock.now();
            let sighting = |host| sightings.of(host, change.uuid, now);
            match settle(&locals, stage, before, sighting) {
                RoundVerdict::Wait => None,
                verdict => Some((verdict, answers.to_vec())),
            }
        });
        judged.await.unwrap_or((RoundVerdict::Failed, Vec::new()))
    }

    /// Starts a domain, on the first hypervisor that has it, unless it is on somewhere.
    async fn on(&self, change: &Arc<Change>, name: &str, deadline: Instant) -> Outcome {
        let uuid = change.uuid;
        let work: Arc<Work<Vec<DomainCopy>>> = Arc::new(move |worker, _, report| {
            let found = worker.ask(|connection| connection.look(uuid));
            report(match found {
                Ok(found) => Answer::Got(found.into_iter().map(|found| found.copy).collect()),
                Err(fault) => {
                    worker.log_fault(&uuid, &fault);
                    Answer::Down
                }
            });
        });
        let mut survey = Survey::begin(&self.hosts, Lane::Ask, &[], work);
        let judged = survey.judged(Timing::until(deadline), |answers, stage| {
            let verdict = resolve(answers, stage, &self.common.sightings(), self.clock.now());
            let has_it = |answer: &Answer<Vec<DomainCopy>>| {
                answer.got().is_some_and(|copies| !copies.is_empty())
            };
            (verdict != Verdict::Wait).then(|| (verdict, answers.iter().position(has_it)))
        });
        match judged.await {
            Some((
                Verdict::Known {
                    activity: Activity::On,
                    ..
                },
                _,
            )) => Outcome::Reply(Reply::Success),
            Some((Verdict::Known { .. }, Some(host))) => {
                self.start_ordered(change, host, deadline).await
            }
            _ => {
                error!(domain = name, %uuid, seqno = change.seqno, "not started: nobody knows whether the domain is on");
                Outcome::Reply(Reply::Failure)
            }
        }
    }

    async fn start_ordered(&self, change: &Arc<Change>, host: usize, deadline: Instant) -> Outcome {
        let ticket = Arc::new(Ticket::default());
        let how = Start::Ordered(Arc::clone(&ticket), None);
        let started = self.submit_start(change, host, how);
        let started = match started {
            Some(receiver) => timeout_at(deadline, receiver)
                .await
                .ok()
                .and_then(Result::ok),
            None => Some(Started::Failed),
        };
        ticket.close();
        Outcome::Reply(match started {
            Some(Started::On) => Reply::Success,
            Some(Started::Denied) => Reply::PermissionDenied,
            Some(Started::NotBegun) => {
                if let Some(Err(reason)) = change.begun.get() {
                    return Outcome::NotStarted(*reason);
                }
                error!(uuid = %change.uuid, seqno = change.seqno, "not started: the order's time is over, or an earlier start has not returned");
                Reply::Failure
            }
            Some(Started::Failed) => Reply::Failure,
            None => {
                error!(uuid = %change.uuid, seqno = change.seqno, "the domain did not start in time");
                Reply::Failure
            }
        })
    }

    /// The second half of a reboot. Whatever becomes of it, the domain is fenced; the answer waits
    /// a few seconds for it and no longer.
    async fn start_again(&self, change: &Arc<Change>, host: usize, how: Start, deadline: Instant) {
        let begin_by = Instant::now() + START_WITHIN;
        let ticket = Arc::clone(how.ticket());
        let Some(mut receiver) = self.submit_start(change, host, how) else {
            let why = "its hypervisor takes no calls";
            return count_failed_start(&self.common, change.uuid, change.seqno, why);
        };
        let wait = deadline.min(Instant::now() + START_WAIT);
        if timeout_at(wait, &mut receiver).await.is_ok() {
            return;
        }
        debug!(uuid = %change.uuid, seqno = change.seqno, "answering before the start is over");
        let change = Arc::clone(change);
        tokio::spawn(async move {
            let over = timeout_at(begin_by, receiver).await.is_ok();
            if !over && ticket.take() {
                let why = "its hypervisor has not taken up the start in time";
                count_failed_start(&change.common, change.uuid, change.seqno, why);
            }
        });
    }

    pub(super) fn submit_start(
        &self,
        change: &Arc<Change>,
        host: usize,
        how: Start,
    ) -> Option<oneshot::Receiver<Started>> {
        let (sender, receiver) = oneshot::channel();
        let change = Arc::clone(change);
        let job = Box::new(move |worker: &mut Worker| {
            if !how.ticket().take() {
                return;
            }
            let started = start(worker, &change, &how);
            if matches!(how, Start::Again { .. }) && started != Started::On {
                let why = match started {
                    Started::NotBegun => "its start could not begin in time",
                    _ => "starting it failed",
                };
                count_failed_start(&change.common, change.uuid, change.seqno, why);
            }
            drop(how);
            let _ = sender.send(started);
        });
        let host = self.hosts.get(host)?;
        host.submit(Lane::Act, job).ok().map(|()| receiver)
    }
}

/// Why nobody can say that a domain is off for good.
#[derive(Debug)]
pub(super) enum NoProof {
    /// What a round came to.
    Verdict(RoundVerdict),
    /// A start of it that was begun before does not return.
    Starting,
}

fn no_success(change: &Change, doubt: NoProof) -> Outcome {
    let (uuid, seqno) = (change.uuid, change.seqno);
    match doubt {
        NoProof::Verdict(RoundVerdict::Denied) => {
            return Outcome::Reply(Reply::PermissionDenied);
        }
        NoProof::Verdict(RoundVerdict::NotBegun) => {
            if let Some(Err(reason)) = change.begun.get() {
                return Outcome::NotStarted(*reason);
            }
            error!(%uuid, seqno, "the order's time was over before it could be begun");
        }
        NoProof::Verdict(RoundVerdict::Doubt(doubt)) => {
            error!(%uuid, seqno, "nobody knows whether the domain is on: {doubt}");
        }
        NoProof::Verdict(RoundVerdict::Unknown) => {
            error!(%uuid, seqno, "the domain is gone from every hypervisor");
        }
        NoProof::Verdict(_) => error!(%uuid, seqno, "the domain is not proven off in time"),
        NoProof::Starting => {
            error!(%uuid, seqno, "nobody knows whether the domain stays off: a start of it does not return");
        }
    }
    Outcome::Reply(Reply::Failure)
}
