//! The requests of this member's own agents: from their arrival to the answer.
//!
//! Each is looked at after every event, and goes on as far as what is known then lets it: nothing
//! is lost because an event came early, and each ends by its time whatever does not come.

mod alone;
mod events;
mod finish;
mod questions;
mod resolve;
mod rounds;
mod start;
mod state;
mod views;

pub(crate) use state::{Case, End, Origin, Stage};

use fence_proto::host::Answer;
use fence_proto::{Action, Moment, Reason as Dropped, Reply};

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::limits::{HOLDS_TURN, MAX_CASES, PROOF_AGAIN, READY_WITHIN};
use crate::reason::Reason;
use crate::seam::{Output, Request, Ticket};
use crate::wire::message::Key;

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
            self.take_case(cx, Origin::Agent(ticket), request);
        }
    }

    pub(crate) fn take_case(&mut self, cx: &Cx<'_>, origin: Origin, request: Request) {
        let case = Case::new(cx.now, origin, request, self.config.request_timeout);
        self.cases.insert(self.next_number, case);
        self.attention.touched.insert(self.next_number);
        self.next_number = self.next_number.saturating_add(1);
    }

    /// Nobody waits for the answer.
    pub(crate) fn abandoned(&mut self, ticket: Ticket) {
        for (number, case) in &mut self.cases {
            if case.origin == Origin::Agent(ticket) {
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
        self.times_of_parts(at);
        self.times_of_requests(at);
        for case in self.cases.values() {
            case.times(at);
        }
    }
}
