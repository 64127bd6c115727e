//! Members that run the original: noticing them, and what they say that they have.
//!
//! Such a member says the state of each of its domains when the membership changes and whenever
//! anybody sends a request, right before it acts on that. It never says that a domain is gone, nor
//! where its list ends: a list is taken to be complete half a second after its last entry.

mod asking;
mod serving;

use core::time::Duration;
use std::collections::BTreeSet;

use fence_proto::{Moment, Uuid};

pub(crate) use asking::Asked;
pub(crate) use serving::Question;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::inventory::{Domains, Inventory};
use crate::limits::MAX_DOMAINS;
use crate::peers::{Kind, Peer};
use crate::reason::Reason;
use crate::seam::{MemberId, Migration, NodeId, Output, WallTime};
use crate::wire::legacy::Legacy;
use crate::wire::message::{Change, Stand};
use crate::wire::record::{Holding, Record};

/// libvirt's number for a domain that is shut off.
const SHUT_OFF: u8 = 5;

/// A list is complete when nothing more has come for so long.
const QUIET: Duration = Duration::from_millis(500);

/// A member is called the original only so long after its first message: one of ours may still have
/// had something for the original on its way when somebody joined.
const SURE: Duration = Duration::from_secs(2);

/// A list that is coming.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Burst {
    /// How many requests there had been.
    of: u64,
    seen: BTreeSet<Uuid>,
    last: Moment,
}

/// What is known of a member that runs the original.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Original {
    since: Moment,
    warned: bool,
    burst: Option<Burst>,
    /// The last list that was complete: how many requests there had been.
    told: Option<u64>,
}

impl Original {
    const fn new(now: Moment) -> Self {
        Self {
            since: now,
            warned: false,
            burst: None,
            told: None,
        }
    }

    /// It has said once what it has.
    pub(crate) const fn has_spoken(&self) -> bool {
        self.told.is_some()
    }

    /// Every moment in it.
    pub(crate) fn moments(&mut self, mut each: impl FnMut(&mut Moment)) {
        each(&mut self.since);
        if let Some(burst) = &mut self.burst {
            each(&mut burst.last);
        }
    }

    /// Whether it has said since a request, which was the `of`th, what the domain is there, or that
    /// it does not have it.
    fn has_said(&self, uuid: Uuid, of: u64) -> bool {
        let complete = self.told.is_some_and(|told| told >= of);
        let burst = self.burst.as_ref();
        complete || burst.is_some_and(|burst| burst.of >= of && burst.seen.contains(&uuid))
    }

    /// When its list will be complete.
    fn complete_at(&self) -> Option<Moment> {
        let burst = self.burst.as_ref().filter(|burst| !burst.seen.is_empty());
        burst.map(|burst| burst.last + QUIET)
    }
}

impl Peer {
    pub(crate) const fn original(&self) -> Option<&Original> {
        match &self.kind {
            Kind::Original(original) => Some(original),
            _ => None,
        }
    }

    const fn original_mut(&mut self) -> Option<&mut Original> {
        match &mut self.kind {
            Kind::Original(original) => Some(original),
            _ => None,
        }
    }
}

impl Cluster {
    /// A message of the original's kind.
    pub(crate) fn delivered_original(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        bytes: &[u8],
    ) -> Result<(), Reason> {
        let message = Legacy::decode(bytes)?;
        if let Legacy::Request { seqno, .. } = message {
            self.everybody_will_say(cx, from, seqno);
        }
        if from == self.config.me {
            return Ok(());
        }
        let peer = self.peers.get_mut(&from).ok_or(Reason::NotAMember)?;
        peer.heard = cx.now;
        peer.heard_wall = cx.wall;
        match peer.kind {
            // What ours say in this way is for the originals.
            Kind::Ours => return Ok(()),
            Kind::Unheard => {
                peer.kind = Kind::Original(Original::new(cx.now));
                self.tell_originals_all(cx);
                self.tell_memories(cx);
            }
            Kind::Original(_) => {}
        }
        match message {
            Legacy::Request {
                seqno,
                domain,
                request,
            } => {
                self.asked_by_original(cx, (from, seqno), domain, request);
                Ok(())
            }
            Legacy::Reply {
                target,
                seqno,
                response,
                ..
            } => self.original_replied(from, (target, seqno), response),
            Legacy::State {
                name,
                uuid,
                owner,
                state,
            } => {
                if owner != from.node {
                    return Err(Reason::NotItsRequest);
                }
                self.original_has(cx, from, (uuid, name, state));
                Ok(())
            }
        }
    }

    /// A request was delivered: every original is about to say what it has.
    fn everybody_will_say(&mut self, cx: &Cx<'_>, from: MemberId, seqno: u32) {
        self.original_requests = self.original_requests.saturating_add(1);
        let of = self.original_requests;
        for original in self.peers.values_mut().filter_map(Peer::original_mut) {
            original.burst = Some(Burst {
                of,
                seen: BTreeSet::new(),
                last: cx.now,
            });
        }
        if from == self.config.me {
            self.own_request_delivered(seqno, of);
        }
    }

    fn original_has(
        &mut self,
        cx: &Cx<'_>,
        from: MemberId,
        (uuid, name, state): (Uuid, String, i32),
    ) {
        let newest = self.newest(uuid);
        let of = self.original_requests;
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let burst = peer.original_mut().map(|original| {
            original.burst.get_or_insert_with(|| Burst {
                of,
                seen: BTreeSet::new(),
                last: cx.now,
            })
        });
        if let Some(burst) = burst {
            if burst.seen.len() < MAX_DOMAINS {
                burst.seen.insert(uuid);
            }
            burst.last = cx.now;
        }
        let inventory = peer.inventory.get_or_insert_with(|| Inventory {
            stand: Stand {
                start: WallTime(0),
                seq: 0,
            },
            current: true,
            domains: Domains::new(),
        });
        // Whatever it says that is not "shut off" may run.
        let state = u8::try_from(state).unwrap_or(0);
        let active = state != SHUT_OFF;
        let before = inventory.domains.get(&uuid);
        let ran = before.is_some_and(|record| record.active);
        let version = match before {
            _ if active && !ran => newest.saturating_add(1),
            Some(record) => record.version,
            None => 0,
        };
        let holding = before.map_or(Holding::Nothing, Record::holding);
        let record = Record {
            name,
            state,
            active,
            starting: false,
            migration: Migration::None,
            version,
        };
        let changed = before != Some(&record);
        let now = record.holding();
        inventory.put(uuid, record);
        if changed {
            self.gone.outdated(uuid, version);
            self.told(from, uuid, (now, holding));
            self.touch_domain(uuid);
        }
    }

    /// What is due about members that run the original.
    pub(crate) fn keep_up_with_originals(&mut self, cx: &mut Cx<'_>) {
        let originals = self.peers.iter().filter_map(|(member, peer)| {
            let original = peer.original()?;
            let complete = original.complete_at().is_some_and(|at| cx.now >= at);
            let sure = !original.warned && cx.is_past(original.since, SURE);
            Some((*member, complete, sure))
        });
        let originals: Vec<_> = originals.collect();
        for (member, complete, sure) in originals {
            if complete {
                self.list_is_complete(cx, member);
            }
            if sure {
                let host = self.host_name(member.node);
                cx.warn(format!(
                    "{host} runs the original fence_virtd, whose answers cannot be trusted: it says \"fenced\" of domains that run; upgrade it"
                ));
                if let Some(original) = self.peers.get_mut(&member).and_then(Peer::original_mut) {
                    original.warned = true;
                }
            }
        }
    }

    /// What it did not say, it does not have any more.
    fn list_is_complete(&mut self, cx: &mut Cx<'_>, member: MemberId) {
        let Some(peer) = self.peers.get_mut(&member) else {
            return;
        };
        let burst = peer.original_mut().and_then(|original| {
            let burst = original.burst.take()?;
            original.told = Some(burst.of);
            Some(burst)
        });
        let (Some(burst), Some(inventory)) = (burst, peer.inventory.as_mut()) else {
            return;
        };
        // Of a list that is too long not everything was noted.
        let full = burst.seen.len() >= MAX_DOMAINS;
        let seen = |uuid: &Uuid| full || burst.seen.contains(uuid);
        let (kept, gone) = core::mem::take(&mut inventory.domains)
            .into_iter()
            .partition::<Domains, _>(|(uuid, _)| seen(uuid));
        inventory.domains = kept;
        for (uuid, record) in gone {
            self.gone.add(uuid, &record);
            self.stir(member, uuid, record.holding());
        }
        self.attention.all = true;
        self.settle_memory(cx, member);
    }

    pub(crate) fn times_of_originals(&self, at: &mut impl FnMut(Moment)) {
        for original in self.peers.values().filter_map(Peer::original) {
            at(original.since + SURE);
            if let Some(complete) = original.complete_at() {
                at(complete);
            }
        }
    }

    pub(crate) fn originals(&self) -> impl Iterator<Item = (MemberId, &Peer)> {
        let peers = self.peers.iter().map(|(member, peer)| (*member, peer));
        peers.filter(|(_, peer)| peer.original().is_some())
    }

    fn has_originals(&self) -> bool {
        self.originals().next().is_some()
    }

    pub(crate) fn send_original(&self, cx: &mut Cx<'_>, message: &Legacy) {
        if self.connected {
            cx.out.push(Output::Send(message.encode()));
        }
    }

    /// Originals take what they have never heard of for off: they are told what ours have.
    pub(crate) fn tell_originals(&self, cx: &mut Cx<'_>, change: &Change) {
        if !self.has_originals() {
            return;
        }
        let me = self.config.me.node;
        match change {
            Change::Record { uuid, record } => self.tell_state(cx, me, (*uuid, record)),
            Change::Gone { uuid } => {
                // There is no message for this; "shut off" keeps it from being unknown.
                if let Some(gone) = self.gone.find(*uuid) {
                    let record = Record {
                        name: gone.name.clone(),
                        state: SHUT_OFF,
                        active: false,
                        starting: false,
                        migration: Migration::None,
                        version: 0,
                    };
                    self.tell_state(cx, me, (*uuid, &record));
                }
            }
            Change::Current { .. } => {}
        }
    }

    pub(crate) fn tell_originals_all(&self, cx: &mut Cx<'_>) {
        if self.has_originals() {
            for (uuid, record) in &self.local.domains {
                self.tell_state(cx, self.config.me.node, (*uuid, record));
            }
        }
    }

    /// What departed hosts have is told by one of ours in their name: else an original would take it
    /// for unknown, and so for off.
    pub(crate) fn tell_memories(&self, cx: &mut Cx<'_>) {
        if !self.has_originals() || !self.answers_originals(cx) {
            return;
        }
        for (node, memory) in &self.memories {
            for (uuid, record) in &memory.domains {
                self.tell_state(cx, *node, (*uuid, record));
            }
        }
    }

    fn tell_state(&self, cx: &mut Cx<'_>, owner: NodeId, (uuid, record): (Uuid, &Record)) {
        let state = if record.active {
            record.state
        } else {
            SHUT_OFF
        };
        let message = Legacy::State {
            name: record.name.clone(),
            uuid,
            owner,
            state: i32::from(state),
        };
        self.send_original(cx, &message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, OTHER, uuid};
    use crate::seam::Event;

    fn state(number: u32) -> (Uuid, String, i32) {
        (uuid(number), "vm".to_owned(), 5)
    }

    #[test]
    fn of_a_list_that_is_too_long_only_so_much_is_kept_and_nothing_is_gone() {
        let mut bench = Bench::new();
        let most = u32::try_from(MAX_DOMAINS).unwrap();
        let bytes = &Legacy::State {
            name: "vm".to_owned(),
            uuid: uuid(most + 1),
            owner: OTHER.node,
            state: 1,
        };
        let bytes = &bytes.encode();
        bench.feed(Event::Delivered { from: OTHER, bytes });
        bench.later(1);
        bench.feed(Event::Tick);
        let mut out = Vec::new();
        let cx = &mut Cx::new(bench.now, &mut out);
        for number in 0..=most {
            bench.core.original_has(cx, OTHER, state(number));
        }
        let peer = &bench.core.peers[&OTHER];
        let burst = peer.original().and_then(|original| original.burst.as_ref());
        assert_eq!(burst.unwrap().seen.len(), MAX_DOMAINS);
        assert_eq!(peer.domains().unwrap().len(), MAX_DOMAINS);
        assert!(!peer.is_whole());
        bench.later(1);
        bench.feed(Event::Tick);
        // What it does not seem to have said may be what there was no room for.
        let domains = bench.core.peers[&OTHER].domains().unwrap();
        assert!(domains.contains_key(&uuid(most + 1)));
    }
}
