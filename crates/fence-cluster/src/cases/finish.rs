//! How a request ends: the answer, and that nothing of it is begun afterwards.

use fence_proto::host::Answer;
use fence_proto::{Action, Moment, Reply};

use super::state::{Case, End, Ended, Origin, Stage};
use super::{Step, fail};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::limits::{
    ASK_AGAIN, CHANGE_WAIT, FIND_WITHIN, MARGIN, PATIENCE, READY_WITHIN, START_WAIT,
};
use crate::seam::Output;
use crate::wire::message::Message;

impl Cluster {
    /// The time is over, or nearly.
    pub(super) fn expire(&mut self, cx: &mut Cx<'_>, _: u64, case: &mut Case) -> Step {
        if let Stage::Closing(end) = &case.stage {
            let end = end.clone();
            return self.advance_closing(cx, case, end);
        }
        // A job that only this host does may still end well.
        let own_job = matches!(case.stage, Stage::Alone) && case.job_out;
        if own_job && cx.now < case.decide_by {
            return Step::Wait;
        }
        let starting = matches!(case.stage, Stage::Starting { .. });
        if starting && case.action() == Action::Reboot {
            return Step::End(End {
                answer: Answer::Reply(Reply::Success),
                why: Some("fenced, but not started again in time".to_owned()),
            });
        }
        let why = case.why.as_deref().unwrap_or("nothing was heard");
        fail(format!("not decided in time: {why}"))
    }

    /// Ends the request in the agreed order, and answers it. Whether it is over for this member.
    pub(super) fn finish_case(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        case: &mut Case,
        end: End,
    ) -> bool {
        let closing = matches!(case.stage, Stage::Closing(_));
        let in_order = case.pursuit.round > 0 && case.action().changes_state();
        if !closing && in_order {
            let key = self.key(number);
            if case.pursuit.ended != Ended::Closed {
                // Also when somebody else has closed it: who joined since then knows of no other end
                // of rounds that were still on their way.
                self.send(cx, &Message::Closed { key });
            }
            if !self.connected {
                self.forget_kept(cx, key);
            }
            if !succeeds(&end) {
                // A failure is only said when nothing can be begun any more; a daemon that stood still
                // until the time was over has to hear that, too.
                let grace = case.decide_by.since(case.close_at);
                let patience = case.request.answer_by.ago(MARGIN);
                case.decide_by = case.decide_by.max(patience.min(cx.now + grace));
                case.stage = Stage::Closing(end);
                return false;
            }
        }
        match &case.origin {
            Origin::Agent(ticket) => cx.out.push(Output::Reply(*ticket, end.answer, end.why)),
            Origin::Original(question) => {
                if let Some(why) = end.why {
                    cx.info(format!("answer about \"{}\": {why}", question.domain));
                }
                self.answer_original(cx, question, &end.answer);
            }
        }
        true
    }

    /// A failure waits until its end was delivered and those who had begun something before have
    /// said what came of it; at the latest until its time.
    pub(super) fn advance_closing(&mut self, cx: &mut Cx<'_>, case: &mut Case, end: End) -> Step {
        if !self.connected {
            // The end will not come back. What was begun before is begun soon or never.
            case.decide_by = case
                .decide_by
                .min(cx.now + case.decide_by.since(case.close_at));
        }
        let over = case.pursuit.ended == Ended::Closed && case.pursuit.begun.is_empty();
        if over || cx.now >= case.decide_by {
            return Step::End(end);
        }
        Step::Wait
    }
}

const fn succeeds(end: &End) -> bool {
    matches!(end.answer, Answer::Reply(Reply::Success))
}

impl Case {
    /// Whether one of [`Self::times`] has come since `last`.
    pub(super) fn is_due(&self, last: Moment, now: Moment) -> bool {
        let mut due = false;
        self.times(&mut |at| due |= at > last && at <= now);
        due
    }

    /// When it has to be looked at again, should nothing happen.
    pub(super) fn times(&self, at: &mut impl FnMut(Moment)) {
        at(self.decide_by);
        at(self.close_at);
        let pursuit = &self.pursuit;
        match &self.stage {
            Stage::Waiting | Stage::PingingHere => {
                at(self.arrived + READY_WITHIN);
                at(self.request.start_by);
            }
            Stage::Finding { since, .. } => at(*since + FIND_WITHIN),
            Stage::Pinging { since, .. } => at(*since + READY_WITHIN),
            Stage::Starting { since, .. } => at(*since + START_WAIT),
            Stage::Rounds => {
                at(pursuit.sent + PATIENCE);
                at(self.arrived + CHANGE_WAIT);
                if let Some(pause) = pursuit.pause {
                    at(pause);
                }
                if let Some(closed) = pursuit.closes {
                    at(closed + ASK_AGAIN);
                }
            }
            Stage::LookingHere | Stage::Alone | Stage::Closing(_) => {}
        }
    }
}
