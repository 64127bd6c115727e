//! What is kept of a request.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use fence_proto::host::Answer;
use fence_proto::{Action, Moment, Uuid};

use crate::limits::{GRACE, MARGIN};
use crate::original::{Asked, Question};
use crate::seam::{MemberId, Outcome, Request, Ticket};
use crate::wire::message::{Finding, Limits, Stand};
use crate::wire::record::Record;

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// An agent of this host.
    Agent(Ticket),
    /// A member that runs the original.
    Original(Question),
}

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
    /// How many departures there had been by then.
    pub(crate) departures: u64,
    /// Its place in the queue.
    pub(crate) place: Place,
    pub(crate) answers: BTreeMap<MemberId, Finding>,
    /// Who had a copy by the records when the round was sent.
    pub(crate) had: BTreeSet<MemberId>,
    /// Where a copy came or went since.
    pub(crate) stirred: BTreeSet<MemberId>,
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
    /// What members that run the original were asked.
    pub(crate) originals: Option<Asked>,
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
    pub(crate) origin: Origin,
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
    pub(super) fn new(now: Moment, origin: Origin, request: Request, timeout: Duration) -> Self {
        let decide_by = (now + timeout).min(request.answer_by.ago(MARGIN));
        let patience = decide_by.since(now);
        let grace = GRACE.min(patience.checked_div(4).unwrap_or_default());
        Self {
            origin,
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

    /// Whether it calls the domain by its UUID, which no other can have.
    pub(crate) fn is_by_uuid(&self, uuid: Uuid) -> bool {
        self.request.domain.as_uuid() == Some(uuid)
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

impl Pursuit {
    /// What a finding says beyond its round.
    pub(super) fn took(&mut self, from: MemberId, finding: &Finding) {
        let Finding::Destroyed { vanished, .. } = finding else {
            return;
        };
        if finding.is_evidence() && self.scope == Scope::Copies {
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
