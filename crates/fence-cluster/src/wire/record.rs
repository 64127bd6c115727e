//! One domain on one host, as the group's members tell each other.

use fence_proto::{DomainIdentity, Uuid};

use super::bytes::{Field, Item, Reader};
use crate::reason::Reason;
use crate::seam::{LocalDomain, Migration};

const ACTIVE: u8 = 1;
const STARTING: u8 = 2;
const OUTGOING: u8 = 4;
const INCOMING: u8 = 8;

/// A domain in a host's inventory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// libvirt's name for it there.
    pub name: String,
    /// libvirt's virDomainState.
    pub state: u8,
    /// There is a run of it: any state but shut off.
    pub active: bool,
    /// The host has begun to start it for a request, and what came of that is not known yet.
    pub starting: bool,
    /// As [`LocalDomain::migration`].
    pub migration: Migration,
    /// Orders the runs of the domain over all hosts: a run gets a number above all that its host
    /// knows of. 0: it has not run here as far as is known.
    pub version: u64,
}

/// What a host may have of a domain, by a record. In the order of how much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holding {
    /// Nothing.
    Nothing,
    /// A definition that is shut off.
    Definition,
    /// A migration's incoming half.
    Incoming,
    /// A run, or the beginning of one.
    Copy,
}

impl Record {
    /// What libvirt says, as a record.
    #[must_use]
    pub fn of(domain: &LocalDomain, version: u64) -> Self {
        Self {
            name: domain.identity.name.clone(),
            state: domain.state,
            active: domain.active,
            starting: false,
            migration: domain.migration,
            version,
        }
    }

    /// What the host may have.
    #[must_use]
    pub const fn holding(&self) -> Holding {
        if self.starting {
            Holding::Copy
        } else if !self.active {
            Holding::Definition
        } else if matches!(self.migration, Migration::Incoming) {
            Holding::Incoming
        } else {
            Holding::Copy
        }
    }

    /// Its last run left this host by a migration: it goes on elsewhere.
    #[must_use]
    pub const fn has_drifted(&self) -> bool {
        !self.active && !self.starting && matches!(self.migration, Migration::Outgoing)
    }

    /// Whether libvirt says the same.
    #[must_use]
    pub fn is(&self, domain: &LocalDomain) -> bool {
        self.name == domain.identity.name
            && self.state == domain.state
            && self.active == domain.active
            && self.migration == domain.migration
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self, uuid: Uuid) -> DomainIdentity {
        DomainIdentity {
            name: self.name.clone(),
            uuid,
        }
    }

    /// Bytes that it takes in a message with its UUID, at most.
    #[must_use]
    pub const fn wire_len(&self) -> usize {
        self.name.len().saturating_add(28)
    }
}

impl Field for Record {
    fn write(&self, to: &mut Vec<u8>) {
        let mut flags = 0;
        flags |= if self.active { ACTIVE } else { 0 };
        flags |= if self.starting { STARTING } else { 0 };
        flags |= match self.migration {
            Migration::None => 0,
            Migration::Outgoing => OUTGOING,
            Migration::Incoming => INCOMING,
        };
        self.version.write(to);
        to.push(flags);
        to.push(self.state);
        self.name.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Reason> {
        let version = Field::read(from)?;
        let flags = u8::read(from)?;
        let migration = match flags & !(ACTIVE | STARTING) {
            0 => Migration::None,
            OUTGOING => Migration::Outgoing,
            INCOMING => Migration::Incoming,
            _ => return Err(Reason::BadField),
        };
        Ok(Self {
            version,
            active: flags & ACTIVE != 0,
            starting: flags & STARTING != 0,
            migration,
            state: Field::read(from)?,
            name: Field::read(from)?,
        })
    }
}

/// A part of an inventory: 28 bytes each at least.
impl Item for (Uuid, Record) {
    const LIMIT: usize = 1_200;
}
