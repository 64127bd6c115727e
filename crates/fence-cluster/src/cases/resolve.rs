//! Which domain a request means, and whether the groups let its source have it.

use std::collections::BTreeMap;

use fence_proto::{Action, DomainIdentity, Reason as Dropped, Reply, Uuid};

use super::state::{Case, Stage, Target};
use super::{Step, dropped, end, fail};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::jobs::Purpose;
use crate::knowledge::{Meaning, Place, is_called, meaning_of};
use crate::limits::{FIND_WITHIN, READY_WITHIN};
use crate::parts::finding_of;
use crate::peers::Kind;
use crate::reason::Reason;
use crate::seam::{Job, MemberId, NodeId, Outcome, UnknownDomain};
use crate::wire::bytes::Item;
use crate::wire::message::{Finding, Key, Message};
use crate::wire::record::{Holding, Record};

impl Cluster {
    pub(super) fn advance_waiting(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        case: &mut Case,
    ) -> Step {
        match case.action() {
            Action::Monitor => return self.begin_monitor(cx, number, case),
            Action::List => return self.begin_list(cx, number, case),
            _ => {}
        }
        let request = &case.request;
        if !request.requester.is_known() {
            return end(Reply::PermissionDenied);
        }
        if case.action().changes_state() && cx.now > request.start_by {
            return dropped(Dropped::OrderExpired);
        }
        if case.action() == Action::Status
            && !case.looked
            && let Some(uuid) = self.runs_here(case)
        {
            case.looked = true;
            return self.give(cx, number, case, (Job::Look(uuid), Stage::LookingHere));
        }
        if let Some(since) = self.alone {
            // The daemon, or the partition, may just be forming.
            let destroys_here = case.action() == Action::Off && self.runs_here(case).is_some();
            if destroys_here || cx.is_past(since, READY_WITHIN) {
                case.stage = Stage::Alone;
                return Step::Again;
            }
            case.why = Some(self.why_alone(cx.now, case));
            return Step::Wait;
        }
        if !self.is_ready(cx.now) {
            case.why = Some(self.why_not_ready(cx.now));
            if cx.is_past(case.arrived, READY_WITHIN) {
                case.stage = Stage::Alone;
                return Step::Again;
            }
            return Step::Wait;
        }
        match self.meaning(&case.request.domain) {
            Meaning::Known(uuid, _) if self.everybody_has_listed_names(case, uuid) => {
                let names = self.names_of_all(uuid, &case.request.domain);
                self.found(case, uuid, names)
            }
            Meaning::Ambiguous(found) => self.ambiguous(cx, case, &found),
            Meaning::Known(..) | Meaning::Unknown => {
                let text = case.request.domain.as_str().to_owned();
                self.send(cx, &Message::Find { number, text });
                case.stage = Stage::Finding {
                    since: cx.now,
                    answers: BTreeMap::new(),
                };
                Step::Wait
            }
        }
    }

    /// Whether no member may have another domain that is called so: by a UUID none can; for a name
    /// everybody must have listed what it has, once at least.
    fn everybody_has_listed_names(&self, case: &Case, uuid: Uuid) -> bool {
        case.is_by_uuid(uuid)
            || (self.local.known && self.peers.keys().all(|member| self.has_listed(*member)))
    }

    /// Whether a member has listed what it has, now or before it went and came back. Those that run the
    /// original list nothing when they have nothing.
    fn has_listed(&self, member: MemberId) -> bool {
        if member == self.config.me {
            return self.local.known;
        }
        let peer = self.peers.get(&member);
        let listed = peer
            .is_none_or(|peer| peer.inventory.is_some() || matches!(peer.kind, Kind::Original(_)));
        listed || self.memories.contains_key(&member.node)
    }

    /// Whether the request still means this domain: a member may have listed another one meanwhile.
    pub(super) fn still_means(&self, case: &Case, uuid: Uuid) -> bool {
        let text = &case.request.domain;
        let mut others = self.all_domains().filter(|(place, domains)| {
            let counts = !matches!(place, Place::Departed(node) if self.is_fenced(*node));
            let mut domains = domains.iter();
            let called = |(other, record): (&Uuid, &Record)| {
                *other != uuid && is_called(text, *other, &record.name)
            };
            counts && domains.any(called)
        });
        case.is_by_uuid(uuid) || others.next().is_none()
    }

    /// All names of the domain, one of them at least.
    fn names_of_all(&self, uuid: Uuid, text: &fence_proto::DomainRef) -> Vec<String> {
        let mut names = self.names_of(uuid);
        if names.is_empty() {
            let gone = self.gone.find(uuid).map(|gone| gone.name.clone());
            names.push(gone.unwrap_or_else(|| text.as_str().to_owned()));
        }
        names
    }

    /// The domain that is meant, if it runs on this host by its record.
    pub(super) fn runs_here(&self, case: &Case) -> Option<Uuid> {
        let Meaning::Known(uuid, _) = self.meaning(&case.request.domain) else {
            return None;
        };
        (self.local.holding(uuid) == Holding::Copy).then_some(uuid)
    }

    /// Has the shell do something for this request alone.
    pub(super) fn give(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        case: &mut Case,
        (job, stage): (Job, Stage),
    ) -> Step {
        case.outcome = None;
        if self.jobs.submit(cx, job, Purpose::Case(number)).is_err() {
            return fail("too much is under way on this host");
        }
        case.job_out = true;
        case.stage = stage;
        Step::Wait
    }

    pub(super) fn advance_looking_here(&mut self, case: &mut Case) -> Step {
        let Some(outcome) = case.outcome.take() else {
            return Step::Wait;
        };
        if let Some(uuid) = self.runs_here(case)
            && finding_of(&outcome, uuid, &[]) == Finding::Active
        {
            return if allowed(case, uuid, &self.names_of(uuid)) {
                end(Reply::Success)
            } else {
                end(Reply::PermissionDenied)
            };
        }
        case.stage = Stage::Waiting;
        Step::Again
    }

    /// It is known which domain is meant: the groups are asked, and the rounds begin.
    fn found(&mut self, case: &mut Case, uuid: Uuid, names: Vec<String>) -> Step {
        if !allowed(case, uuid, &names) {
            return end(Reply::PermissionDenied);
        }
        case.target = Some(Target { uuid, names });
        case.stage = Stage::Rounds;
        Step::Again
    }

    /// Several domains are called so. Those of hosts that turn out to be fenced do not count.
    fn ambiguous(
        &mut self,
        cx: &mut Cx<'_>,
        case: &mut Case,
        found: &[(DomainIdentity, Place)],
    ) -> Step {
        let request = &case.request;
        let mut identities = found.iter().map(|(identity, _)| identity);
        if !identities.all(|identity| request.requester.may_fence(identity)) {
            return end(Reply::PermissionDenied);
        }
        let mut departed: Vec<NodeId> = Vec::new();
        for (_, place) in found {
            if let Place::Departed(node) = place {
                departed.push(*node);
            }
        }
        let why = explain_ambiguous(case, found);
        if departed.is_empty() || !self.config.proofs {
            return fail(why);
        }
        for node in departed {
            self.ask_proof(cx, node);
        }
        case.why = Some(why);
        Step::Wait
    }

    pub(crate) fn found_delivered(
        &mut self,
        from: MemberId,
        key: Key,
        found: Option<Vec<(Uuid, Record)>>,
    ) -> Result<(), Reason> {
        if key.requester != self.config.me {
            return Ok(());
        }
        let case = self.cases.get_mut(&key.number).ok_or(Reason::Over)?;
        let Stage::Finding { answers, .. } = &mut case.stage else {
            return Err(Reason::Over);
        };
        answers.insert(from, found);
        self.attention.touched.insert(key.number);
        Ok(())
    }

    pub(super) fn advance_finding(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        case: &mut Case,
    ) -> Step {
        let Stage::Finding { since, answers } = &case.stage else {
            return Step::Wait;
        };
        if !self.connected || !self.quorum {
            case.stage = Stage::Alone;
            return Step::Again;
        }
        let mut found = Vec::new();
        for (member, records) in answers {
            for (uuid, record) in records.iter().flatten() {
                found.push((record.identity(*uuid), Place::Member(*member)));
            }
        }
        let originals: Vec<_> = self.originals().map(|(member, _)| member).collect();
        let mut silent: Vec<_> = self.peers.keys().copied().collect();
        silent.push(self.config.me);
        let all = silent
            .iter()
            .filter(|member| !originals.contains(member))
            .all(|member| answers.contains_key(member));
        // Those that run the original cannot be asked, and count as not having answered.
        silent.retain(|member| answers.get(member).is_none_or(Option::is_none));
        if !all && !cx.is_past(*since, FIND_WITHIN) {
            return Step::Wait;
        }
        if let Meaning::Known(uuid, names) = self.meaning(&case.request.domain) {
            let identities = names.into_iter().map(|name| DomainIdentity { name, uuid });
            found.extend(identities.map(|identity| (identity, Place::Here)));
        }
        match meaning_of(found) {
            Meaning::Known(uuid, names) => {
                let mute = silent.iter().find(|member| !self.has_listed(**member));
                if let Some(member) = mute.filter(|_| !case.is_by_uuid(uuid)) {
                    let host = self.host_name(member.node);
                    return fail(format!(
                        "{host} has not listed its domains, one of which may have the name \"{}\" too; use the UUID {uuid}, or check fence_virtd and libvirt there",
                        case.request.domain
                    ));
                }
                let mut names = names;
                names.extend(self.names_of(uuid));
                names.sort_unstable();
                names.dedup();
                self.found(case, uuid, names)
            }
            Meaning::Ambiguous(found) => self.ambiguous(cx, case, &found),
            Meaning::Unknown => self.unknown(cx, case, (number, &silent)),
        }
    }

    /// No record has the domain, and nobody who answered knows it.
    fn unknown(
        &mut self,
        cx: &mut Cx<'_>,
        case: &mut Case,
        (number, silent): (u64, &[MemberId]),
    ) -> Step {
        let domain = &case.request.domain;
        if !case.request.requester.lists(domain.as_str()) {
            return end(Reply::PermissionDenied);
        }
        if let Some(member) = silent.first() {
            let host = self.host_name(member.node);
            return fail(format!(
                "no host that answers knows the domain \"{domain}\", and {host} does not answer; check its daemon and its libvirt"
            ));
        }
        if self.config.unknown == UnknownDomain::Failure || case.action() == Action::On {
            return fail(format!(
                "no host knows the domain \"{domain}\"; if it counts as off, set unknown_domain"
            ));
        }
        let unproven = self.unproven_hosts();
        if unproven.is_empty() {
            if self.attention.drained {
                cx.warn(format!(
                    "request {number}: no host knows the domain \"{domain}\": it counts as off, because unknown_domain says so"
                ));
            }
            return if case.action() == Action::Status {
                end(Reply::Off)
            } else {
                end(Reply::Success)
            };
        }
        let why = format!(
            "no host knows the domain \"{domain}\", and it may be on {}",
            self.host_names(&unproven)
        );
        if !self.config.proofs {
            return fail(why);
        }
        for node in unproven {
            self.ask_proof(cx, node);
        }
        case.why = Some(why);
        Step::Wait
    }

    /// The hosts that are away, and not proven to have been fenced.
    fn unproven_hosts(&self) -> Vec<NodeId> {
        let nodes = self.away();
        nodes
            .into_iter()
            .filter(|node| !self.is_fenced(*node))
            .collect()
    }

    /// Asks the groups about a name that a member has for the domain.
    pub(super) fn renamed(&mut self, cx: &mut Cx<'_>, case: &mut Case, name: String) -> bool {
        let Some(target) = &mut case.target else {
            return false;
        };
        let uuid = target.uuid;
        if target.names.len() >= <String as Item>::LIMIT {
            return false;
        }
        cx.info(format!(
            "the domain {uuid} has another name on a host: {name:?}"
        ));
        target.names.push(name);
        let names = target.names.clone();
        allowed(case, uuid, &names)
    }
}

/// Whether the groups let the source have the domain under all its names.
pub(super) fn allowed(case: &Case, uuid: Uuid, names: &[String]) -> bool {
    let request = &case.request;
    names.iter().all(|name| {
        let name = name.clone();
        let identity = DomainIdentity { name, uuid };
        request.requester.may_fence(&identity)
    })
}

fn explain_ambiguous(case: &Case, found: &[(DomainIdentity, Place)]) -> String {
    let mut list: Vec<_> = found
        .iter()
        .map(|(identity, _)| format!("{} {}", identity.name, identity.uuid))
        .collect();
    list.sort_unstable();
    list.dedup();
    format!(
        "several domains answer to \"{}\": {}; use a UUID that is nobody's name",
        case.request.domain,
        list.join(", ")
    )
}

/// Whether an outcome says that the domain runs here, so that it can be destroyed here.
pub(super) fn is_active(outcome: &Outcome, uuid: Uuid) -> bool {
    finding_of(outcome, uuid, &[]) == Finding::Active
}
