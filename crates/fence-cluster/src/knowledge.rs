//! What the records together say of a domain.

use fence_proto::{DomainIdentity, DomainRef, Uuid};

use crate::cluster::Cluster;
use crate::seam::{MemberId, NodeId};
use crate::wire::record::{Holding, Record};

/// Whose record it is. In the order of who counts more when two may have had the last run: one that
/// cannot be asked is not passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// This host's.
    Here,
    /// Another member's.
    Member(MemberId),
    /// A departed host's.
    Departed(NodeId),
}

/// Which domain a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// No record has it.
    Unknown,
    /// This one; all names that it has.
    Known(Uuid, Vec<String>),
    /// Several.
    Ambiguous(Vec<(DomainIdentity, Place)>),
}

impl Cluster {
    /// Every record of the domain.
    pub(crate) fn records(&self, uuid: Uuid) -> impl Iterator<Item = (Place, &Record)> {
        self.all_domains()
            .filter_map(move |(place, domains)| Some((place, domains.get(&uuid)?)))
    }

    /// Everything that every host has or had.
    pub(crate) fn all_domains(&self) -> impl Iterator<Item = (Place, &crate::inventory::Domains)> {
        let here = core::iter::once((Place::Here, &self.local.domains));
        let peers = self.peers.iter();
        let peers =
            peers.filter_map(|(member, peer)| Some((Place::Member(*member), peer.domains()?)));
        let memories = self.memories.iter();
        let memories = memories.map(|(node, memory)| (Place::Departed(*node), &memory.domains));
        here.chain(peers).chain(memories)
    }

    /// The version of the domain's newest run that is known of.
    pub(crate) fn newest(&self, uuid: Uuid) -> u64 {
        let gone = self.gone.find(uuid).map_or(0, |gone| gone.version);
        let versions = self.records(uuid).map(|(_, record)| record.version);
        versions.max().unwrap_or(0).max(gone)
    }

    /// Who had the domain's last run, if it is known and the host still has the domain.
    pub(crate) fn last_owner(&self, uuid: Uuid) -> Option<Place> {
        let records = self.records(uuid);
        let (place, record) = records.max_by_key(|(place, record)| {
            let copy = record.holding() == Holding::Copy;
            (record.version, copy, *place)
        })?;
        let gone = self.gone.find(uuid).map_or(0, |gone| gone.version);
        (record.version > gone).then_some(place)
    }

    /// Whether the domain's last run left its host by a migration and nobody has said since that it
    /// has it.
    pub(crate) fn has_drifted(&self, uuid: Uuid) -> bool {
        let newest = self.newest(uuid);
        let arrived = self
            .records(uuid)
            .any(|(_, record)| record.version == newest && record.holding() == Holding::Copy);
        let left = self
            .records(uuid)
            .any(|(_, record)| record.version == newest && record.has_drifted());
        let gone = self.gone.find(uuid);
        let left = left || gone.is_some_and(|gone| gone.drifted && gone.version == newest);
        left && !arrived
    }

    /// A name of the domain.
    pub(crate) fn name_of(&self, uuid: Uuid) -> String {
        let mut names = self.records(uuid).map(|(_, record)| record.name.clone());
        let gone = || self.gone.find(uuid).map(|gone| gone.name.clone());
        names.next().or_else(gone).unwrap_or_default()
    }

    /// Whether a member other than this one has a copy of the domain, by its record.
    pub(crate) fn other_member_has(&self, uuid: Uuid) -> bool {
        self.records(uuid).any(|(place, record)| {
            matches!(place, Place::Member(_)) && record.holding() >= Holding::Incoming
        })
    }

    /// Whether any other host may have a copy, by the records; one that was fenced has none.
    pub(crate) fn other_host_has(&self, uuid: Uuid) -> bool {
        self.records(uuid).any(|(place, record)| {
            let counts = match place {
                Place::Here => false,
                Place::Member(_) => true,
                Place::Departed(node) => !self.is_fenced(node),
            };
            counts && record.holding() >= Holding::Incoming
        })
    }

    /// Which domain is called so. Hosts that were fenced, and domains that are gone, only count
    /// where nothing else does.
    pub(crate) fn meaning(&self, text: &DomainRef) -> Meaning {
        let fenced =
            |place: &Place| matches!(place, Place::Departed(node) if self.is_fenced(*node));
        let mut live = Vec::new();
        let mut dead = Vec::new();
        for (place, domains) in self.all_domains() {
            for (uuid, record) in domains {
                if is_called(text, *uuid, &record.name) {
                    let list = if fenced(&place) { &mut dead } else { &mut live };
                    list.push((record.identity(*uuid), place));
                }
            }
        }
        if live.is_empty() {
            live = dead;
        }
        if live.is_empty() {
            let gone = self.gone.iter();
            let called = gone.filter(|(uuid, gone)| is_called(text, *uuid, &gone.name));
            live.extend(called.map(|(uuid, gone)| {
                let name = gone.name.clone();
                (DomainIdentity { name, uuid }, Place::Here)
            }));
        }
        meaning_of(live)
    }

    /// All names that the records have for the domain.
    pub(crate) fn names_of(&self, uuid: Uuid) -> Vec<String> {
        let mut names: Vec<_> = self
            .records(uuid)
            .map(|(_, record)| record.name.clone())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Whether the text names this domain: by its UUID, or its name without regard to case.
pub(crate) fn is_called(text: &DomainRef, uuid: Uuid, name: &str) -> bool {
    text.as_uuid() == Some(uuid) || name.eq_ignore_ascii_case(text.as_str())
}

/// What these findings mean together.
pub(crate) fn meaning_of(found: Vec<(DomainIdentity, Place)>) -> Meaning {
    let Some(uuid) = found.first().map(|(identity, _)| identity.uuid) else {
        return Meaning::Unknown;
    };
    if found.iter().any(|(identity, _)| identity.uuid != uuid) {
        return Meaning::Ambiguous(found);
    }
    let names = found.into_iter().map(|(identity, _)| identity.name);
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    Meaning::Known(uuid, names)
}
