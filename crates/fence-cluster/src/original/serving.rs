//! Requests of members that run the original: exactly one of ours answers, with one reply, and with
//! success only if it is proven.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fence_proto::host::Answer;
use fence_proto::{Access, Action, DomainRef, Reply, Requester, Source};

use crate::cases::Origin;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::knowledge::is_called;
use crate::limits::{HOLDS_TURN, MAX_ORIGINALS_CASES};
use crate::peers::Kind;
use crate::reason::Reason;
use crate::seam::{MemberId, NodeId, Request};
use crate::wire::legacy::Legacy;

/// What a member that runs the original asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) from: NodeId,
    pub(crate) seqno: u32,
    pub(crate) domain: String,
    pub(crate) request: i32,
}

impl Cluster {
    /// Whether this member is the one of ours that answers the originals: the one with the lowest id
    /// of those that give signs of life.
    pub(super) fn answers_originals(&self, cx: &Cx<'_>) -> bool {
        let ours = self.peers.iter().filter(|(_, peer)| {
            matches!(peer.kind, Kind::Ours) && !cx.is_past(peer.heard, HOLDS_TURN)
        });
        let me = self.config.me;
        ours.into_iter().all(|(member, _)| me < *member)
    }

    pub(super) fn asked_by_original(
        &mut self,
        cx: &mut Cx<'_>,
        (from, seqno): (MemberId, u32),
        domain: String,
        request: i32,
    ) {
        let action = u8::try_from(request).ok().and_then(Action::from_wire);
        let Some(action) = action.filter(|action| action.needs_domain()) else {
            return;
        };
        if !self.answers_originals(cx) || self.an_original_runs(&domain) {
            return;
        }
        let question = Question {
            from: from.node,
            seqno,
            domain,
            request,
        };
        let mut originals = self.cases.values().filter_map(|case| match &case.origin {
            Origin::Original(question) => Some(question),
            Origin::Agent(_) => None,
        });
        let repeated = originals.clone().any(|other| *other == question);
        if repeated {
            return;
        }
        if originals.nth(MAX_ORIGINALS_CASES - 1).is_some() {
            self.counters.count(Reason::Full);
            return self.answer_original(cx, &question, &Answer::Reply(Reply::Failure));
        }
        let Ok(domain) = DomainRef::new(&question.domain) else {
            return self.answer_original(cx, &question, &Answer::Reply(Reply::Failure));
        };
        let host = self.host_name(from.node);
        cx.info(format!(
            "{host}, which runs the original, asks for {action} of \"{domain}\""
        ));
        // The groups of its listener are its own affair.
        let nobody = Source::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let request = Request {
            action,
            domain,
            requester: Requester::new(nobody, Arc::new(Access::unrestricted())),
            start_by: cx.now + self.config.request_timeout,
            answer_by: cx.now + self.config.request_timeout,
        };
        self.take_case(cx, Origin::Original(question), request);
    }

    /// Whether an original has the domain running: then it acts itself.
    fn an_original_runs(&self, text: &str) -> bool {
        let Ok(text) = DomainRef::new(text) else {
            return false;
        };
        let domains = self.originals().filter_map(|(_, peer)| peer.domains());
        domains
            .flatten()
            .any(|(uuid, record)| record.active && is_called(&text, *uuid, &record.name))
    }

    pub(crate) fn answer_original(&self, cx: &mut Cx<'_>, question: &Question, answer: &Answer) {
        let reply = match answer {
            Answer::Reply(reply) => *reply,
            Answer::List(_) | Answer::NotStarted(_) => Reply::Failure,
        };
        let message = Legacy::Reply {
            target: question.from,
            seqno: question.seqno,
            domain: question.domain.clone(),
            request: question.request,
            response: i32::from(reply.to_wire()),
        };
        self.send_original(cx, &message);
    }
}
