//! `monitor` and `list`.

use std::collections::BTreeMap;

use fence_proto::host::Answer;
use fence_proto::host_list::{Entry, STATE_RUNNING};
use fence_proto::{DomainIdentity, Reply, Uuid};

use super::state::{Case, End, Stage};
use super::{Step, end, fail};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::knowledge::Place;
use crate::limits::READY_WITHIN;
use crate::peers::Kind;
use crate::reason::Reason;
use crate::seam::{Job, MemberId, Outcome};
use crate::wire::message::{Key, Message, Stand};
use crate::wire::record::{Holding, Record};

/// libvirt's number for a domain that is shut off.
const STATE_SHUT_OFF: u8 = 5;

impl Cluster {
    pub(super) fn begin_monitor(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case) -> Step {
        self.give(cx, number, case, (Job::Ping, Stage::PingingHere))
    }

    pub(super) fn advance_pinging_here(&mut self, cx: &Cx<'_>, case: &mut Case) -> Step {
        match &case.outcome {
            None => return Step::Wait,
            Some(Outcome::Alive) => {}
            Some(_) => return fail("this host's libvirt does not answer"),
        }
        if self.connected && self.quorum && self.is_ready(cx.now) {
            return end(Reply::Success);
        }
        self.wait_for_the_group(cx, case)
    }

    /// Waits until something can be claimed about the others, but not for long.
    fn wait_for_the_group(&self, cx: &Cx<'_>, case: &mut Case) -> Step {
        let why = self.why_alone(cx.now, case);
        let since = self.alone.unwrap_or(case.arrived);
        let waiting = !cx.is_past(since, READY_WITHIN);
        if !waiting {
            return fail(why);
        }
        case.why = Some(why);
        Step::Wait
    }

    pub(super) fn begin_list(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case) -> Step {
        if !case.request.requester.is_known() {
            return list(Vec::new());
        }
        if !self.connected || !self.quorum || !self.is_ready(cx.now) {
            return self.wait_for_the_group(cx, case);
        }
        self.send(cx, &Message::Ping { number });
        case.stage = Stage::Pinging {
            since: cx.now,
            answers: BTreeMap::new(),
        };
        Step::Wait
    }

    pub(crate) fn pong_delivered(
        &mut self,
        from: MemberId,
        key: Key,
        answer: (Stand, bool),
    ) -> Result<(), Reason> {
        if key.requester != self.config.me {
            return Ok(());
        }
        let case = self.cases.get_mut(&key.number).ok_or(Reason::Over)?;
        let Stage::Pinging { answers, .. } = &mut case.stage else {
            return Err(Reason::Over);
        };
        answers.insert(from, answer);
        self.attention.touched.insert(key.number);
        Ok(())
    }

    pub(super) fn advance_pinging(&mut self, cx: &Cx<'_>, case: &mut Case) -> Step {
        let Stage::Pinging { since, answers } = &case.stage else {
            return Step::Wait;
        };
        if !self.connected || !self.quorum {
            return fail(self.why_alone(cx.now, case));
        }
        let mut missing = None;
        if !answers.contains_key(&self.config.me) || !self.local.current {
            missing = Some(self.config.me);
        }
        for (member, peer) in &self.peers {
            let listed = match &peer.kind {
                Kind::Original(original) => original.has_spoken(),
                _ => answers.get(member).is_some_and(|(stand, current)| {
                    let at = peer.inventory.as_ref().map(|inventory| inventory.stand);
                    *current && at.is_some_and(|at| at >= *stand) && peer.is_whole()
                }),
            };
            if !listed {
                missing.get_or_insert(*member);
            }
        }
        if let Some(member) = missing {
            let host = self.host_name(member.node);
            let why = format!(
                "no list: {host} does not say what it has, and a list without its domains would be wrong"
            );
            if cx.is_past(*since, READY_WITHIN) {
                return fail(why);
            }
            case.why = Some(why);
            return Step::Wait;
        }
        list(self.entries(case))
    }

    /// Every domain once, with the state of its active copy, those that the source may fence.
    fn entries(&self, case: &Case) -> Vec<Entry> {
        let mut best: BTreeMap<Uuid, (Holding, &Record)> = BTreeMap::new();
        for (place, domains) in self.all_domains() {
            let fenced = matches!(place, Place::Departed(node) if self.is_fenced(node));
            for (uuid, record) in domains {
                let holding = if fenced {
                    Holding::Nothing
                } else {
                    record.holding()
                };
                let entry = best.entry(*uuid).or_insert((holding, record));
                if holding > entry.0 {
                    *entry = (holding, record);
                }
            }
        }
        let request = &case.request;
        let mut entries: Vec<_> = best
            .into_iter()
            .filter(|(uuid, (_, record))| {
                let identity = DomainIdentity {
                    name: record.name.clone(),
                    uuid: *uuid,
                };
                request.requester.may_fence(&identity)
            })
            .map(|(uuid, (holding, record))| Entry {
                name: record.name.clone(),
                uuid,
                state: if holding >= Holding::Incoming {
                    STATE_RUNNING
                } else {
                    STATE_SHUT_OFF
                },
            })
            .collect();
        entries.sort_by(|one, other| {
            let names = one.name.cmp(&other.name);
            names.then_with(|| one.uuid.cmp(&other.uuid))
        });
        entries
    }
}

const fn list(entries: Vec<Entry>) -> Step {
    Step::End(End {
        answer: Answer::List(entries),
        why: None,
    })
}
