//! The requests of this member's own agents: from their arrival to the answer.
//!
//! Each is looked at after every event, and goes on as far as what is known then lets it: nothing
//! is lost because an event came early, and each ends by its time whatever does not come.

mod alone;
mod finish;
mod questions;
mod resolve;
mod rounds;
mod start;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use fence_proto::host::Answer;
use fence_proto::{Action, Moment, Reason as Dropped, Reply, Uuid};

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::limits::{GRACE, HOLDS_TURN, MARGIN, MAX_CASES, PROOF_AGAIN, READY_WITHIN};
use crate::reason::Reason;
use crate::seam::{Job, MemberId, Outcome, Output, Request, Ticket};
use crate::turns::What;
use crate::wire::message::{Finding, Key, Limits, Stand};
use crate::wire::record::{Holding, Record};

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Until it is known which domain is meant, and something may be claimed.
    Waiting,
    /// The local libvirt is asked whether the domain runs here: then that is the answer.
    LookingHere,
    /// All members are asked what is called so.
    Finding {
        since: Moment,
        answers: BTreeMap<MemberId, Option<Vec<(Uuid, Record)>>>,
    },
    /// Rounds.
    Rounds,
    /// A member was told to start the domain.
    Starting {
        member: MemberId,
        since: Moment,
        begun: bool,
        result: Option<Finding>,
    },
    /// Nothing can be said about others: what can be done here is done.
    Alone,
    /// The local libvirt is asked whether it answers.
    PingingHere,
    /// Every member is asked for a sign of life.
    Pinging {
        since: Moment,
        answers: BTreeMap<MemberId, (Stand, bool)>,
    },
    /// The answer is known, and given when nothing can be begun any more.
    Closing(End),
}

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) answer: Answer,
    pub(crate) why: Option<String>,
}

impl core::hash::Hash for End {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        match &self.answer {
            Answer::Reply(reply) => reply.hash(state),
            Answer::List(entries) => entries.len().hash(state),
            Answer::NotStarted(reason) => reason.hash(state),
        }
    }
}

/// Where a request is in its domain's queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// Its round has not come back since somebody joined.
    #[default]
    None,
    /// It has its place.
    Queued,
    /// Another request had its turn since this one destroyed something.
    Overtaken,
}

/// What a round destroys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Whatever runs.
    #[default]
    Copies,
    /// Incoming halves too.
    Halves,
}

/// What a round that is answered waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// Nothing.
    #[default]
    No,
    /// Hosts stood in the way.
    Blocked,
    /// Another request is changing the domain.
    Change,
}

/// Whether the request's end was delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Ended {
    /// No.
    #[default]
    No,
    /// Yes, and this member sent it.
    Closed,
    /// Somebody else did.
    CutShort,
}

/// What the rounds of a request have brought so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Pursuit {
    /// The last round's number; 0 before the first.
    pub(crate) round: u16,
    pub(crate) sent: Moment,
    /// Its place in the queue.
    pub(crate) place: Place,
    pub(crate) answers: BTreeMap<MemberId, Finding>,
    /// Who had a copy by the records when the round was sent.
    pub(crate) had: BTreeSet<MemberId>,
    /// A copy came or went since.
    pub(crate) stirred: bool,
    pub(crate) scope: Scope,
    /// Who is to start the domain, by the last round.
    pub(crate) candidate: Option<MemberId>,
    /// A member destroyed a copy that was not migrating.
    pub(crate) evidence: bool,
    /// Who ran it, and whether it was destroyed there rather than gone by itself.
    pub(crate) ran: Option<(MemberId, bool)>,
    /// Whose silence does not matter.
    pub(crate) excused: BTreeSet<MemberId>,
    pub(crate) fruitful: u8,
    pub(crate) halves: u8,
    /// When the next round is due.
    pub(crate) pause: Option<Moment>,
    /// It waited for something other than the round's answers.
    pub(crate) held: Held,
    /// Who has announced to do something, in which round, and has not said what came of it.
    pub(crate) begun: BTreeMap<MemberId, u16>,
    /// Something was begun, ever.
    pub(crate) has_begun: bool,
    pub(crate) ended: Ended,
    /// When this request tried to close the one before it.
    pub(crate) closes: Option<Moment>,
}

/// The domain that a request means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) uuid: Uuid,
    /// The names that the groups were asked about.
    pub(crate) names: Vec<String>,
}

/// A request of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) ticket: Ticket,
    pub(crate) request: Request,
    pub(crate) arrived: Moment,
    /// From here on nothing of it is begun.
    pub(crate) close_at: Moment,
    /// It is answered by then.
    pub(crate) decide_by: Moment,
    pub(crate) stage: Stage,
    pub(crate) target: Option<Target>,
    pub(crate) pursuit: Pursuit,
    /// What came of the job that was given for it alone.
    pub(crate) outcome: Option<Outcome>,
    /// Whether such a job is out.
    pub(crate) job_out: bool,
    /// The local libvirt was asked already.
    pub(crate) looked: bool,
    pub(crate) abandoned: bool,
    /// What it waits for, in words.
    pub(crate) why: Option<String>,
}

impl Case {
    fn new(now: Moment, ticket: Ticket, request: Request, timeout: Duration) -> Self {
        let decide_by = (now + timeout).min(request.answer_by.ago(MARGIN));
        let patience = decide_by.since(now);
        let grace = GRACE.min(patience.checked_div(4).unwrap_or_default());
        Self {
            ticket,
            arrived: now,
            close_at: decide_by.ago(grace),
            decide_by,
            stage: Stage::Waiting,
            target: None,
            pursuit: Pursuit::default(),
            outcome: None,
            job_out: false,
            looked: false,
            abandoned: false,
            why: None,
            request,
        }
    }

    pub(crate) const fn action(&self) -> Action {
        self.request.action
    }

    /// How long members have for what a message asks of them.
    pub(crate) fn limits(&self, now: Moment) -> Limits {
        let begin_by = if self.pursuit.has_begun {
            self.close_at
        } else {
            self.close_at.min(self.request.start_by)
        };
        let grace = self.decide_by.since(self.close_at);
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Limits {
            remaining_ms: ms(now.until(begin_by)),
            grace_ms: ms(grace).saturating_mul(2) / 3,
        }
    }

    /// Whether something may have been changed for it.
    pub(crate) fn may_have_begun(&self) -> bool {
        self.pursuit.has_begun || (self.job_out && self.action().changes_state())
    }
}

/// What looking at a request comes to.
pub(crate) enum Step {
    /// It waits for something to happen.
    Wait,
    /// It is in another stage now: look again.
    Again,
    /// It is decided.
    End(End),
}

/// Ends with a reply.
pub(crate) fn end(reply: Reply) -> Step {
    Step::End(End {
        answer: Answer::Reply(reply),
        why: None,
    })
}

/// Ends with a reply, and says why.
pub(crate) fn end_because(reply: Reply, why: impl Into<String>) -> Step {
    Step::End(End {
        answer: Answer::Reply(reply),
        why: Some(why.into()),
    })
}

/// Fails, and says why.
pub(crate) fn fail(why: impl Into<String>) -> Step {
    end_because(Reply::Failure, why)
}

/// Was not started.
pub(crate) fn dropped(reason: Dropped) -> Step {
    Step::End(End {
        answer: Answer::NotStarted(reason),
        why: None,
    })
}

/// Whether an end says that a domain is off.
fn claims(case: &Case, end: &End) -> bool {
    match &end.answer {
        Answer::Reply(Reply::Off) => true,
        Answer::Reply(Reply::Success) => crate::parts::destroys(case.action()),
        _ => false,
    }
}

impl Cluster {
    pub(crate) const fn key(&self, number: u64) -> Key {
        Key {
            requester: self.config.me,
            number,
        }
    }

    /// An agent's request has come.
    pub(crate) fn requested(&mut self, cx: &mut Cx<'_>, ticket: Ticket, request: Request) {
        let refuse = |reply: Reply, why: &str| {
            let why = Some(why.to_owned());
            Output::Reply(ticket, Answer::Reply(reply), why)
        };
        if request.action == Action::Null {
            cx.out.push(refuse(Reply::Failure, "null always fails"));
        } else if self.cases.len() >= MAX_CASES {
            self.counters.count(Reason::Full);
            let why = "too many requests are under way on this host";
            cx.out.push(refuse(Reply::Failure, why));
        } else {
            let case = Case::new(cx.now, ticket, request, self.config.request_timeout);
            self.cases.insert(self.next_number, case);
            self.attention.touched.insert(self.next_number);
            self.next_number = self.next_number.saturating_add(1);
        }
    }

    /// Nobody waits for the answer.
    pub(crate) fn abandoned(&mut self, ticket: Ticket) {
        for (number, case) in &mut self.cases {
            if case.ticket == ticket {
                case.abandoned = true;
                self.attention.touched.insert(*number);
            }
        }
    }

    /// Ends what is over by the clock.
    pub(crate) fn expire_cases(&mut self, cx: &mut Cx<'_>) {
        let over = |case: &Case| cx.now >= case.close_at;
        let numbers = self.cases.iter().filter(|(_, case)| over(case));
        let numbers: Vec<_> = numbers.map(|(number, _)| *number).collect();
        for number in numbers {
            self.with_case(cx, number, Self::expire);
        }
    }

    /// Goes on, as far as it goes, with every request that something has happened to.
    pub(crate) fn advance_cases(&mut self, cx: &mut Cx<'_>) {
        let touched = core::mem::take(&mut self.attention.touched);
        let all = self.attention.all;
        let cases = self.cases.iter();
        let numbers = cases.filter(|(number, case)| {
            all || touched.contains(number) || case.is_due(self.last, cx.now)
        });
        let numbers: Vec<_> = numbers.map(|(number, _)| *number).collect();
        for number in numbers {
            self.with_case(cx, number, Self::advance);
        }
    }

    /// Takes the request out while `step` works on it, with everything else at hand.
    fn with_case(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        step: fn(&mut Self, &mut Cx<'_>, u64, &mut Case) -> Step,
    ) {
        let Some(mut case) = self.cases.remove(&number) else {
            return;
        };
        // A stage leads to the next a few times at most.
        for _ in 0..8 {
            match step(self, cx, number, &mut case) {
                Step::Wait => break,
                Step::Again => {}
                Step::End(end) if !self.attention.drained && claims(&case, &end) => {
                    // What is waiting may speak against it: the daemon may have stood still.
                    self.attention.claims.insert(number);
                    break;
                }
                Step::End(end) => {
                    if self.finish_case(cx, number, &mut case, end) {
                        return;
                    }
                }
            }
        }
        self.cases.insert(number, case);
    }

    fn advance(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case) -> Step {
        if let Stage::Closing(end) = &case.stage {
            let end = end.clone();
            return self.advance_closing(cx, case, end);
        }
        if case.abandoned && !case.may_have_begun() {
            return dropped(Dropped::RequesterGone);
        }
        match &case.stage {
            Stage::Waiting => self.advance_waiting(cx, number, case),
            Stage::LookingHere => self.advance_looking_here(case),
            Stage::Finding { .. } => self.advance_finding(cx, number, case),
            Stage::Rounds => self.advance_rounds(cx, number, case),
            Stage::Starting { .. } => self.advance_starting(cx, number, case),
            Stage::Alone => self.advance_alone(cx, number, case),
            Stage::PingingHere => self.advance_pinging_here(cx, case),
            Stage::Pinging { .. } => self.advance_pinging(cx, case),
            Stage::Closing(_) => Step::Wait,
        }
    }

    /// What came of a job that was given for one request alone.
    pub(crate) fn case_job_done(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        job: &Job,
        outcome: &Outcome,
    ) {
        let Some(case) = self.cases.get_mut(&number) else {
            let domain = crate::jobs::domain(job);
            cx.debug(format!(
                "a job for {domain:?} ended after its request: {outcome:?}"
            ));
            return;
        };
        case.job_out = false;
        case.outcome = Some(outcome.clone());
        self.attention.touched.insert(number);
    }

    /// Somebody has answered a round, or said what came of what it had begun.
    pub(crate) fn result_delivered(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        (key, round): (Key, u16),
        finding: Finding,
    ) -> Result<(), Reason> {
        if key.requester != self.config.me {
            return Ok(());
        }
        let case = self.cases.get_mut(&key.number).ok_or(Reason::Over)?;
        self.attention.touched.insert(key.number);
        let pursuit = &mut case.pursuit;
        if pursuit.begun.get(&from) == Some(&round) {
            pursuit.begun.remove(&from);
        }
        pursuit.took(from, &finding);
        if let Stage::Starting { member, result, .. } = &mut case.stage
            && *member == from
            && pursuit.round == round
        {
            *result = Some(finding);
            return Ok(());
        }
        if pursuit.round != round {
            cx.debug(format!("{from} answered round {round}, which is over"));
            return Err(Reason::Over);
        }
        pursuit.answers.insert(from, finding);
        Ok(())
    }

    /// Somebody's announcement has been delivered in time.
    pub(crate) fn has_begun(&mut self, key: Key, from: MemberId, what: What) {
        if key.requester != self.config.me {
            return;
        }
        let Some(case) = self.cases.get_mut(&key.number) else {
            return;
        };
        self.attention.touched.insert(key.number);
        case.pursuit.has_begun = true;
        case.pursuit.begun.insert(from, what.round());
        if let Stage::Starting { begun, .. } = &mut case.stage {
            *begun |= matches!(what, What::Start(_));
        }
    }

    /// The end of a request was delivered.
    pub(crate) fn case_was_closed(&mut self, cx: &mut Cx<'_>, key: Key, by: MemberId) {
        // Another request may have its turn now.
        self.attention.all = true;
        if key.requester != self.config.me {
            return;
        }
        let Some(case) = self.cases.get_mut(&key.number) else {
            return;
        };
        case.pursuit.ended = Ended::Closed;
        if by != self.config.me {
            cx.warn(format!(
                "{by} has ended a request of this host, which it took for dead"
            ));
            case.pursuit.ended = Ended::CutShort;
        }
    }

    /// A round for the domain was delivered: whoever has destroyed it and lost its place does not
    /// start it again.
    pub(crate) fn overtakes(&mut self, key: Key, uuid: Uuid) {
        let me = self.config.me;
        for (number, case) in &mut self.cases {
            let this = Key {
                requester: me,
                number: *number,
            };
            let same = case
                .target
                .as_ref()
                .is_some_and(|target| target.uuid == uuid);
            if this == key {
                self.attention.touched.insert(*number);
                if case.pursuit.place == Place::None {
                    case.pursuit.place = Place::Queued;
                }
            } else if same && case.pursuit.place == Place::None && case.pursuit.ran.is_some() {
                case.pursuit.place = Place::Overtaken;
            }
        }
    }

    /// A copy of the domain came or went.
    pub(crate) fn stir(&mut self, uuid: Uuid, holding: Holding) {
        if holding < Holding::Incoming {
            return;
        }
        for case in self.cases.values_mut() {
            if case
                .target
                .as_ref()
                .is_some_and(|target| target.uuid == uuid)
            {
                case.pursuit.stirred = true;
            }
        }
    }

    /// A member has departed: its answers are of no use any more.
    pub(crate) fn member_has_left(&mut self, member: MemberId) {
        for case in self.cases.values_mut() {
            case.pursuit.answers.remove(&member);
            case.pursuit.begun.remove(&member);
            match &mut case.stage {
                Stage::Finding { answers, .. } => {
                    answers.remove(&member);
                }
                Stage::Pinging { answers, .. } => {
                    answers.remove(&member);
                }
                _ => {}
            }
        }
    }

    /// When requests may have to go on because of something that all have in common.
    pub(crate) fn times_of_requests(&self, at: &mut impl FnMut(Moment)) {
        if self.cases.is_empty() {
            return;
        }
        if let Some(since) = self.alone {
            at(since + READY_WITHIN);
        }
        // They may wait for members, for proofs, and for those before them.
        for peer in self.peers.values() {
            at(peer.mute_at());
            at(peer.heard + HOLDS_TURN);
        }
        let asked = self.inquiries.values().filter_map(|inquiry| inquiry.asked);
        asked.for_each(|(asked, _)| at(asked + PROOF_AGAIN));
    }

    pub(crate) fn times_of_cases(&self, at: &mut impl FnMut(Moment)) {
        for (_, until) in self.kept.values() {
            at(*until);
        }
        self.turns.iter().for_each(|(_, turn)| at(turn.ends()));
        self.times_of_requests(at);
        for case in self.cases.values() {
            case.times(at);
        }
    }

    /// Something happened to the domain: requests for it are looked at, and those of which it is
    /// not known yet which domain they mean.
    pub(crate) fn touch_domain(&mut self, uuid: Uuid) {
        for (number, case) in &self.cases {
            if case
                .target
                .as_ref()
                .is_none_or(|target| target.uuid == uuid)
            {
                self.attention.touched.insert(*number);
            }
        }
    }
}

impl Pursuit {
    /// What a finding says beyond its round.
    fn took(&mut self, from: MemberId, finding: &Finding) {
        let Finding::Destroyed {
            migrating,
            vanished,
        } = finding
        else {
            return;
        };
        if !migrating && !vanished && self.scope == Scope::Copies {
            self.evidence = true;
        }
        let better = match self.ran {
            None => true,
            Some((_, destroyed)) => !destroyed && !vanished,
        };
        if better && self.scope == Scope::Copies {
            self.ran = Some((from, !vanished));
        }
    }
}
