//! How every host stands in a request's last round.

use std::collections::BTreeSet;

use fence_proto::Uuid;

use super::state::{Case, Scope};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::knowledge::Place;
use crate::limits::{PATIENCE, ROUND_FRESH};
use crate::peers::{Kind, Peer};
use crate::seam::{MemberId, NodeId};
use crate::verdict::{Changes, HostView, Knowledge, Standing};
use crate::wire::message::Finding;
use crate::wire::record::Holding;

impl Cluster {
    /// How every host stands in the last round.
    pub(super) fn views(&self, cx: &Cx<'_>, case: &mut Case, uuid: Uuid) -> Vec<HostView> {
        let owner = self.last_owner(uuid);
        let mut views = Vec::new();
        let me = self.config.me;
        let members = self.peers.keys().copied().chain([me]);
        for member in members {
            let node = member.node;
            let holding = self.member_holding(member, uuid);
            views.push(HostView {
                node,
                standing: self.standing(cx, case, (member, holding), uuid),
                holding,
                owner: owner == Some(Place::Member(member)),
            });
        }
        for node in self.away() {
            let memory = self.memories.get(&node);
            views.push(HostView {
                node,
                standing: Standing::Away {
                    whole: memory.is_some_and(|memory| memory.is_whole_for(uuid)),
                    fenced: self.is_fenced(node),
                },
                holding: memory.map_or(Holding::Nothing, |memory| memory.holding(uuid)),
                owner: owner == Some(Place::Departed(node)),
            });
        }
        views
    }

    /// What a member may have, by its records and by what is remembered of its host.
    fn member_holding(&self, member: MemberId, uuid: Uuid) -> Holding {
        let domains = if member == self.config.me {
            Some(&self.local.domains)
        } else {
            self.peers.get(&member).and_then(|peer| peer.domains())
        };
        let holding = domains.map_or(Holding::Nothing, |domains| {
            crate::inventory::holding(domains, uuid)
        });
        let memory = self.memories.get(&member.node);
        let before = memory.map_or(Holding::Nothing, |memory| memory.holding(uuid));
        holding.max(before)
    }

    fn standing(
        &self,
        cx: &Cx<'_>,
        case: &mut Case,
        (member, holding): (MemberId, Holding),
        uuid: Uuid,
    ) -> Standing {
        let pursuit = &mut case.pursuit;
        if let Some(finding) = pursuit.answers.get(&member) {
            pursuit.excused.remove(&member);
            return Standing::Answered(finding.clone());
        }
        let peer = self.peers.get(&member);
        if peer.is_some_and(|peer| matches!(peer.kind, Kind::Original(_))) {
            return self.original_or_silent(cx, case, (member, holding), uuid);
        }
        Self::unanswered(cx, case, member, holding)
    }

    /// An original answers by what it says it has.
    fn original_or_silent(
        &self,
        cx: &Cx<'_>,
        case: &mut Case,
        (member, holding): (MemberId, Holding),
        uuid: Uuid,
    ) -> Standing {
        match self.original_standing(case, member, uuid) {
            Standing::Waiting => Self::unanswered(cx, case, member, holding),
            standing => standing,
        }
    }

    /// Whether it is still waited for.
    fn unanswered(cx: &Cx<'_>, case: &mut Case, member: MemberId, holding: Holding) -> Standing {
        let pursuit = &mut case.pursuit;
        let patient = !cx.is_past(pursuit.sent, PATIENCE);
        let matters = !pursuit.evidence || holding >= Holding::Incoming;
        if matters || (patient && !pursuit.excused.contains(&member)) {
            return Standing::Waiting;
        }
        pursuit.excused.insert(member);
        Standing::Silent
    }

    pub(super) fn knowledge(
        &self,
        cx: &Cx<'_>,
        case: &Case,
        uuid: Uuid,
        views: &[HostView],
    ) -> Knowledge {
        let pursuit = &case.pursuit;
        // A copy that was there when the round began and is not any more: it may have moved.
        let missed = pursuit.had.iter().any(|member| {
            let finding = pursuit.answers.get(member);
            matches!(finding, Some(Finding::Absent | Finding::Defined))
        });
        Knowledge {
            evidence: pursuit.evidence,
            drifted: self.has_drifted(uuid),
            changes: if self.only_run_ended(cx, case, views) {
                Changes::OnlyRunEnded
            } else if missed || !pursuit.stirred.is_empty() {
                Changes::Some
            } else {
                Changes::None
            },
        }
    }

    /// Whether the one copy that there was, by all records and all answers, was destroyed in this round by its
    /// member's own call and was not migrating. Every host is a member and has answered, and not long ago.
    fn only_run_ended(&self, cx: &Cx<'_>, case: &Case, views: &[HostView]) -> bool {
        let pursuit = &case.pursuit;
        let mut destroyed = pursuit
            .answers
            .iter()
            .filter(|(_, finding)| finding.is_evidence());
        let (Some((member, _)), None) = (destroyed.next(), destroyed.next()) else {
            return false;
        };
        let there = |other: &MemberId| other == member;
        let original = |peer: &Peer| matches!(peer.kind, Kind::Original(_));
        pursuit.scope == Scope::Copies
            && !cx.is_past(pursuit.sent, ROUND_FRESH)
            && pursuit.had.iter().all(there)
            && pursuit.stirred.iter().all(there)
            && !self.peers.values().any(original)
            && views.iter().all(|view| {
                view.holding < Holding::Incoming
                    && match &view.standing {
                        Standing::Answered(Finding::Absent | Finding::Defined) => true,
                        Standing::Answered(finding) => finding.is_evidence(),
                        Standing::Waiting | Standing::Silent | Standing::Away { .. } => false,
                    }
            })
    }

    /// The hosts that are not members: departed ones, and configured ones that were never seen.
    pub(super) fn away(&self) -> Vec<NodeId> {
        let present = |node: &NodeId| {
            *node == self.config.me.node || self.peers.keys().any(|member| member.node == *node)
        };
        let configured = |node: &NodeId| {
            let hosts = self.hosts.as_ref();
            hosts.is_some_and(|hosts| hosts.contains_key(node))
        };
        let hosts = self.hosts.iter().flat_map(|hosts| hosts.keys());
        // One that is not configured is said to run no domains, and counts if it did.
        let memories = self.memories.iter();
        let departed = memories
            .filter(|(node, memory)| configured(node) || !memory.domains.is_empty())
            .map(|(node, _)| node);
        let nodes: BTreeSet<_> = departed.chain(hosts).copied().collect();
        nodes.into_iter().filter(|node| !present(node)).collect()
    }

    /// Every proof that an answer rests on goes to the log.
    pub(super) fn log_proofs(
        &self,
        cx: &mut Cx<'_>,
        uuid: Uuid,
        views: &[HostView],
        evidence: bool,
    ) {
        if !self.attention.drained {
            return;
        }
        for view in views {
            let Standing::Away {
                whole,
                fenced: true,
            } = view.standing
            else {
                continue;
            };
            let matters = view.owner || view.holding >= Holding::Incoming || (!whole && !evidence);
            if let Some(fenced) = self.proof_of(view.node).filter(|_| matters) {
                let (host, by) = (self.host_name(view.node), &fenced.by);
                let (at, heard) = (fenced.at.0 / 1000, self.last_heard(view.node).0 / 1000);
                cx.info(format!(
                    "the domain {uuid} is off as far as {host} goes: fenced at {at} by {by}, last heard of at {heard} (seconds since 1970)"
                ));
            }
        }
    }

    /// The members that have a copy, by the records.
    pub(super) fn who_has(&self, uuid: Uuid) -> BTreeSet<MemberId> {
        let records = self.records(uuid);
        let copies = records.filter(|(_, record)| record.holding() >= Holding::Incoming);
        copies
            .filter_map(|(place, _)| match place {
                Place::Here => Some(self.config.me),
                Place::Member(member) => Some(member),
                Place::Departed(_) => None,
            })
            .collect()
    }
}
