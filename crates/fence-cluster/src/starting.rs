//! What a host may have been starting when it was lost, and what shows that it was not: libvirt tells of a start
//! when it is over, so that nobody may have heard of it.

use std::collections::BTreeSet;

use fence_proto::{Moment, Uuid};

use crate::cluster::Cluster;
use crate::inventory::Memory;
use crate::knowledge::Place;
use crate::limits::{MAX_DOMAINS, SILENT, SURE};
use crate::peers::{Kind, Peer};
use crate::seam::MemberId;
use crate::wire::message::Key;
use crate::wire::record::Holding;

/// What a host may have been starting when it was lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Starting {
    /// Nothing: it said before that it is shutting down.
    Nothing,
    /// Anything but what has been shown to run elsewhere since.
    AllBut(Shown),
}

/// What has been shown to run elsewhere since a host was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    domains: BTreeSet<Uuid>,
    /// How many departures there had been with this one.
    departures: u64,
    /// When what members say that they have running is sure to be younger than the departure.
    sure_at: Option<Moment>,
}

impl Starting {
    /// Anything, for a host that was lost now, as the last of so many.
    pub(crate) fn anything(departures: u64, now: Moment) -> Self {
        Self::AllBut(Shown {
            domains: BTreeSet::new(),
            departures,
            sure_at: Some(now + SURE),
        })
    }

    /// Whether it may have been the domain.
    pub(crate) fn may_be(&self, uuid: Uuid) -> bool {
        match self {
            Self::Nothing => false,
            Self::AllBut(shown) => !shown.domains.contains(&uuid),
        }
    }

    /// The beginning of the time after which what members say is sure, if it is over.
    fn due(&self, now: Moment) -> Option<Moment> {
        let Self::AllBut(shown) = self else {
            return None;
        };
        let at = shown.sure_at.filter(|at| now >= *at);
        at.map(|at| at.ago(SURE))
    }

    /// Moves its moment.
    pub(crate) fn moments(&mut self, mut shift: impl FnMut(&mut Moment)) {
        if let Self::AllBut(Shown {
            sure_at: Some(moment),
            ..
        }) = self
        {
            shift(moment);
        }
    }
}

impl Shown {
    /// One that does not fit any more counts as not shown.
    fn add(&mut self, uuid: Uuid) {
        if self.domains.len() < MAX_DOMAINS {
            self.domains.insert(uuid);
        }
    }

    fn is_due(&self, now: Moment) -> bool {
        self.sure_at.is_some_and(|at| now >= at)
    }
}

fn shown(memory: &mut Memory) -> Option<&mut Shown> {
    match &mut memory.starting {
        Starting::Nothing => None,
        Starting::AllBut(shown) => Some(shown),
    }
}

impl Cluster {
    /// A member says that it has a copy of the domain, or has it no longer. In the former case no host that was
    /// lost before can have been starting it.
    pub(crate) fn told(&mut self, member: MemberId, uuid: Uuid, (now, before): (Holding, Holding)) {
        if now >= Holding::Incoming {
            for shown in self.memories.values_mut().filter_map(shown) {
                shown.add(uuid);
            }
        }
        self.stir(member, uuid, now.max(before));
    }

    /// A member has found the domain in a round, or has destroyed it: no host that was lost before the round was
    /// delivered can have been starting it.
    pub(crate) fn found_in_round(&mut self, key: Key, round: u16) {
        let Some((uuid, departures)) = self.of_round(key, round) else {
            return;
        };
        for shown in self.memories.values_mut().filter_map(shown) {
            if shown.departures <= departures {
                shown.add(uuid);
            }
        }
    }

    /// The domain of a round that is known here, and how many departures there had been.
    fn of_round(&self, key: Key, round: u16) -> Option<(Uuid, u64)> {
        if let Some(turn) = self.turns.find(key)
            && turn.round.round == round
        {
            return Some((turn.round.uuid, turn.departures));
        }
        // Questions have no turns, and only their requester hears the answers.
        let case = self.cases.get(&key.number)?;
        let pursuit = &case.pursuit;
        let own = key.requester == self.config.me && pursuit.round == round;
        let target = case.target.as_ref().filter(|_| own)?;
        Some((target.uuid, pursuit.departures))
    }

    /// What members have had running for long enough cannot have been starting on a host when it was lost.
    pub(crate) fn clear_memories(&mut self, now: Moment) {
        let all = self.memories.values();
        let due = all.filter_map(|memory| memory.starting.due(now));
        // What all have said for so long is as good for the others.
        let Some(since) = due.min() else {
            return;
        };
        let unsteady =
            |peer: &Peer| matches!(peer.kind, Kind::Ours) && !Self::is_steady(peer, since, now);
        let again = self.peers.values().any(unsteady);
        let running = self.running(since, now);
        for shown in self.memories.values_mut().filter_map(shown) {
            if shown.is_due(now) {
                shown.sure_at = again.then_some(now + SURE);
                running.iter().for_each(|uuid| shown.add(*uuid));
            }
        }
    }

    /// Whether a member's daemon has not stood still since then.
    fn is_steady(peer: &Peer, since: Moment, now: Moment) -> bool {
        peer.steady <= since && now <= peer.heard + SILENT
    }

    /// The domains that members have running, or coming in: those that say so now and have said what they had
    /// since then. What was last said of a host whose libvirt does not answer, or whose daemon stands still, may have
    /// ended before.
    fn running(&self, since: Moment, now: Moment) -> BTreeSet<Uuid> {
        let says = |place: &Place| match place {
            Place::Here => self.local.current,
            Place::Member(member) => {
                let peer = self.peers.get(member);
                peer.is_some_and(|peer| peer.is_whole() && Self::is_steady(peer, since, now))
            }
            Place::Departed(_) => false,
        };
        let members = self.all_domains().filter(|(place, _)| says(place));
        let records = members.flat_map(|(_, domains)| domains);
        let copies = records.filter(|(_, record)| record.holding() >= Holding::Incoming);
        copies.map(|(uuid, _)| *uuid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_claim_ever_new_domains_fill_no_memory() {
        let mut shown = Shown::default();
        let uuid = |number: usize| Uuid(u128::try_from(number).unwrap().to_be_bytes());
        for number in 0..MAX_DOMAINS + 2 {
            shown.add(uuid(number));
        }
        assert_eq!(shown.domains.len(), MAX_DOMAINS);
        let starting = Starting::AllBut(shown);
        assert!(!starting.may_be(uuid(0)));
        assert!(starting.may_be(uuid(MAX_DOMAINS + 1)));
    }
}
