//! Starting a domain on exactly one member: `on`, and the second half of `reboot`.

use fence_proto::{Action, Reply, Uuid};

use super::state::{Case, Ended, Place as Queued, Stage};
use super::{Step, end, end_because, fail};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::knowledge::Place;
use crate::limits::{MAX_FRUITFUL, START_WAIT};
use crate::peers::Peer;
use crate::seam::MemberId;
use crate::wire::message::{Finding, Message};
use crate::wire::record::Holding;

impl Cluster {
    /// Who starts the domain, of the members that `may`: the one that ran it last, else the one
    /// with the lowest id that has it defined.
    pub(super) fn starter(&self, uuid: Uuid, may: impl Fn(MemberId) -> bool) -> Option<MemberId> {
        let me = self.config.me;
        let member = |place| match place {
            Place::Here => Some(me),
            Place::Member(member) => Some(member),
            Place::Departed(_) => None,
        };
        let owner = self.last_owner(uuid).and_then(member);
        if let Some(owner) = owner.filter(|owner| may(*owner)) {
            return Some(owner);
        }
        let members = self.records(uuid).filter_map(|(place, _)| member(place));
        members.filter(|member| may(*member)).min()
    }

    /// `on`: everybody has answered, and nobody may have it.
    pub(super) fn start_somewhere(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        case: &mut Case,
        uuid: Uuid,
    ) -> Step {
        let answers = &case.pursuit.answers;
        let defined = |member| answers.get(&member) == Some(&Finding::Defined);
        let starter = self.starter(uuid, defined);
        let Some(starter) = starter.or_else(|| self.only_original_with(uuid)) else {
            return fail("no host has the domain defined: define it where it is to run");
        };
        self.start(cx, number, case, starter)
    }

    /// `reboot`: it is gone everywhere.
    pub(super) fn start_again(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case) -> Step {
        let Some((starter, _)) = case.pursuit.ran else {
            return end(Reply::Success);
        };
        if case.pursuit.place == Queued::Overtaken {
            return fail("another request for the domain came between: it is not started again");
        }
        let member = starter == self.config.me || self.peers.contains_key(&starter);
        if !member {
            let host = self.host_name(starter.node);
            return not_started(format!("{host}, which ran it, has left the group"));
        }
        self.start(cx, number, case, starter)
    }

    fn start(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case, starter: MemberId) -> Step {
        if case.pursuit.candidate != Some(starter) {
            // Everybody must know first where it may be running from now on.
            case.pursuit.candidate = Some(starter);
            self.send_round(cx, number, case);
            return Step::Wait;
        }
        if self.peers.get(&starter).and_then(Peer::original).is_some() {
            if !self.attention.drained {
                // It cannot be called back: what is waiting may say that the turn is over.
                self.attention.claims.insert(number);
                return Step::Wait;
            }
            return self.start_there(cx, case, starter);
        }
        let message = Message::Start {
            number,
            round: case.pursuit.round,
            member: starter,
            limits: case.limits(cx.now),
        };
        self.send(cx, &message);
        case.stage = Stage::Starting {
            member: starter,
            since: cx.now,
            begun: false,
            result: None,
        };
        Step::Wait
    }

    /// The starter runs the original.
    fn start_there(&mut self, cx: &mut Cx<'_>, case: &mut Case, starter: MemberId) -> Step {
        let Some(uuid) = case.target.as_ref().map(|target| target.uuid) else {
            return Step::Wait;
        };
        if let Err(why) = self.start_by_original(cx, case, (uuid, starter)) {
            return if case.action() == Action::Reboot {
                not_started(why)
            } else {
                fail(why)
            };
        }
        case.stage = Stage::Starting {
            member: starter,
            since: cx.now,
            // It cannot be called back.
            begun: true,
            result: None,
        };
        Step::Wait
    }

    pub(super) fn advance_starting(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        case: &mut Case,
    ) -> Step {
        let Stage::Starting {
            member,
            since,
            begun,
            result,
        } = &case.stage
        else {
            return Step::Wait;
        };
        let (member, since, begun) = (*member, *since, *begun);
        let host = self.host_name(member.node);
        let reboot = case.action() == Action::Reboot;
        if reboot && result.is_some() && self.connected {
            // Somebody may have joined since the last round, with a copy that nobody knew of.
            if !self.is_ready(cx.now) {
                case.why = Some(self.why_not_ready(cx.now));
                return Step::Wait;
            }
            if let Some(other) = self.has_appeared(case, member) {
                return fail(format!("it has appeared on {other} meanwhile"));
            }
        }
        let trouble = match result {
            Some(Finding::Started) => return end(Reply::Success),
            Some(Finding::NotBegun) if case.pursuit.ended != Ended::CutShort => {
                return self.start_once_more(cx, number, case);
            }
            Some(Finding::Failed { why }) => format!("{host} could not start it: {why}"),
            Some(_) => format!("{host} does not know whether it has started"),
            None if member != self.config.me && !self.peers.contains_key(&member) => {
                format!("{host}, which was to start it, has left the group")
            }
            None if case.pursuit.ended == Ended::CutShort && !begun => {
                "another host ended the request".to_owned()
            }
            None if reboot && cx.is_past(since, START_WAIT) => {
                format!("{host} has not started it yet")
            }
            None if !self.connected && !begun => "the connection to corosync is lost".to_owned(),
            None => {
                case.why = Some(format!("{host} has not started it yet"));
                return Step::Wait;
            }
        };
        if reboot {
            not_started(trouble)
        } else {
            fail(trouble)
        }
    }

    /// Where else the domain runs, by the records.
    fn has_appeared(&self, case: &Case, starter: MemberId) -> Option<String> {
        let uuid = case.target.as_ref()?.uuid;
        let mut others = self.records(uuid).filter_map(|(place, record)| {
            let member = match place {
                Place::Here => self.config.me,
                Place::Member(member) => member,
                Place::Departed(_) => return None,
            };
            let runs = record.holding() >= Holding::Incoming;
            (member != starter && runs).then_some(member.node)
        });
        others.next().map(|node| self.host_name(node))
    }

    /// It was not begun: the round before it was too old, or something came between.
    fn start_once_more(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case) -> Step {
        case.pursuit.fruitful = case.pursuit.fruitful.saturating_add(1);
        if case.pursuit.fruitful > MAX_FRUITFUL {
            return if case.action() == Action::Reboot {
                not_started("its host does not begin to start it".to_owned())
            } else {
                fail("its host does not begin to start it")
            };
        }
        case.stage = Stage::Rounds;
        self.send_round(cx, number, case);
        Step::Wait
    }
}

/// A reboot's domain is fenced, whatever becomes of its start.
fn not_started(why: String) -> Step {
    end_because(
        Reply::Success,
        format!("fenced, but not started again: {why}"),
    )
}
