//! What a host has: the inventories of members, how they are put together from parts, and what is
//! remembered of hosts that departed and of domains that are gone.

use std::collections::{BTreeMap, VecDeque};

use fence_proto::{Moment, Uuid};

use crate::limits::{MAX_DOMAINS, MAX_GONE};
use crate::reason::Reason;
use crate::seam::{LeaveReason, NodeId, WallTime};
use crate::starting::Starting;
use crate::wire::message::{Change, Mention, PART_BYTES, Part, Stand};
use crate::wire::record::{Holding, Record};

/// All domains of a host.
pub(crate) type Domains = BTreeMap<Uuid, Record>;

/// What a member says it has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Inventory {
    pub(crate) stand: Stand,
    /// Its libvirt answers.
    pub(crate) current: bool,
    pub(crate) domains: Domains,
}

impl Inventory {
    /// Takes a change that leads to `stand`; an error if another one is missing before it.
    pub(crate) fn apply(&mut self, stand: Stand, change: Change) -> Result<(), Reason> {
        let next = Stand {
            seq: self.stand.seq.saturating_add(1),
            ..self.stand
        };
        if stand != next {
            return Err(Reason::OutOfOrder);
        }
        self.stand = stand;
        match change {
            Change::Record { uuid, record } => self.put(uuid, record),
            Change::Gone { uuid } => {
                self.domains.remove(&uuid);
            }
            Change::Current { current } => self.current = current,
        }
        Ok(())
    }

    /// A host that has more than can be kept counts as one whose inventory is not current.
    pub(crate) fn put(&mut self, uuid: Uuid, record: Record) {
        if self.domains.len() >= MAX_DOMAINS && !self.domains.contains_key(&uuid) {
            self.current = false;
        } else {
            self.domains.insert(uuid, record);
        }
    }

    /// The parts to send it in: one at least.
    pub(crate) fn parts(stand: Stand, current: bool, domains: &Domains) -> Vec<Part> {
        let mut records = Vec::new();
        let mut bytes = 0_usize;
        for (uuid, record) in domains {
            if bytes.saturating_add(record.wire_len()) > PART_BYTES || records.is_empty() {
                records.push(Vec::new());
                bytes = 0;
            }
            bytes = bytes.saturating_add(record.wire_len());
            if let Some(part) = records.last_mut() {
                part.push((*uuid, record.clone()));
            }
        }
        if records.is_empty() {
            records.push(Vec::new());
        }
        let parts = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let numbered = (0..).zip(records);
        numbered
            .map(|(part, records)| Part {
                stand,
                part,
                parts,
                current,
                records,
            })
            .collect()
    }
}

/// An inventory of which some parts have come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Assembly {
    pub(crate) inventory: Inventory,
    next: u32,
    parts: u32,
}

/// What a part brought.
#[derive(Debug)]
pub(crate) enum Assembled {
    Partly(Assembly),
    Whole(Inventory),
}

impl Assembly {
    /// Adds the next part to what there is; a first part begins anew.
    pub(crate) fn add(so_far: Option<Self>, part: Part) -> Result<Assembled, Reason> {
        let mut assembly = match so_far {
            _ if part.part == 0 => Self {
                inventory: Inventory {
                    stand: part.stand,
                    current: true,
                    domains: Domains::new(),
                },
                next: 0,
                parts: part.parts,
            },
            Some(assembly) => assembly,
            None => return Err(Reason::OutOfOrder),
        };
        let fits = assembly.next == part.part
            && assembly.parts == part.parts
            && assembly.inventory.stand == part.stand;
        if !fits {
            return Err(Reason::OutOfOrder);
        }
        assembly.inventory.current &= part.current;
        for (uuid, record) in part.records {
            assembly.inventory.put(uuid, record);
        }
        assembly.next = assembly.next.saturating_add(1);
        if assembly.next == assembly.parts {
            Ok(Assembled::Whole(assembly.inventory))
        } else {
            Ok(Assembled::Partly(assembly))
        }
    }
}

/// That a host was fenced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Fenced {
    pub(crate) at: WallTime,
    pub(crate) by: String,
}

/// What is remembered of a departed host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub(crate) stand: Stand,
    /// The inventory was whole and current when the host departed, and since then it cannot have
    /// been given anything. If not, it may have more.
    pub(crate) whole: bool,
    /// Its host said that it is shutting down, and corosync has not lost it yet.
    pub(crate) shutting_down: bool,
    /// Corosync has not had it since.
    pub(crate) down: bool,
    pub(crate) reason: LeaveReason,
    /// When it was last heard of.
    pub(crate) heard: WallTime,
    pub(crate) domains: Domains,
    pub(crate) starting: Starting,
}

impl Memory {
    pub(crate) const fn mention(&self, node: NodeId) -> Mention {
        Mention {
            node,
            stand: self.stand,
            whole: self.is_whole(),
            heard: self.heard,
        }
    }

    /// Whether the host has nothing but this.
    pub(crate) const fn is_whole(&self) -> bool {
        self.whole && self.down
    }

    /// Whether the host has nothing of the domain but this.
    pub(crate) fn is_whole_for(&self, uuid: Uuid) -> bool {
        self.is_whole() && !self.starting.may_be(uuid)
    }

    pub(crate) fn holding(&self, uuid: Uuid) -> Holding {
        holding(&self.domains, uuid)
    }
}

/// What a host may have of a domain, by its records.
pub(crate) fn holding(domains: &Domains, uuid: Uuid) -> Holding {
    domains.get(&uuid).map_or(Holding::Nothing, Record::holding)
}

/// The state of asking for a host's proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Inquiry {
    /// The proof, if there is one.
    pub(crate) fenced: Option<Fenced>,
    /// When it was last asked for, and since when it would have to be.
    pub(crate) asked: Option<(Moment, WallTime)>,
    /// What was said last instead of a proof.
    pub(crate) refusal: Option<String>,
}

/// A domain that a host had and has no longer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Gone {
    pub(crate) name: String,
    pub(crate) version: u64,
    /// It left by a migration.
    pub(crate) drifted: bool,
}

/// Domains that were known once and are gone, the oldest forgotten first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tombstones {
    domains: BTreeMap<Uuid, Gone>,
    order: VecDeque<Uuid>,
}

impl Tombstones {
    pub(crate) fn add(&mut self, uuid: Uuid, record: &Record) {
        let gone = Gone {
            name: record.name.clone(),
            version: record.version,
            drifted: record.has_drifted(),
        };
        match self.domains.get_mut(&uuid) {
            Some(older) if older.version > gone.version => return,
            Some(older) if older.version == gone.version => {
                older.drifted |= gone.drifted;
                return;
            }
            _ => {}
        }
        if self.domains.insert(uuid, gone).is_none() {
            self.order.push_back(uuid);
        }
        while self.order.len() > MAX_GONE {
            if let Some(oldest) = self.order.pop_front() {
                self.domains.remove(&oldest);
            }
        }
    }

    /// The domain has had a newer run.
    pub(crate) fn outdated(&mut self, uuid: Uuid, version: u64) {
        let older = |gone: &Gone| gone.version < version;
        if self.domains.get(&uuid).is_some_and(older) {
            self.domains.remove(&uuid);
            self.order.retain(|other| *other != uuid);
        }
    }

    pub(crate) fn find(&self, uuid: Uuid) -> Option<&Gone> {
        self.domains.get(&uuid)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Uuid, &Gone)> {
        self.domains.iter().map(|(uuid, gone)| (*uuid, gone))
    }
}
