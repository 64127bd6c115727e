//! One host's libvirt: its domains, and what calls do to them.

use std::collections::BTreeMap;

use fence_cluster::seam::{LocalDomain, Migration};
use fence_proto::{DomainIdentity, Uuid};

/// One run of a domain, anywhere; a migration's two halves are one run.
pub(crate) type Run = u64;

/// A domain as this libvirt has it.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) name: String,
    /// It stays when it is shut off.
    pub(crate) persistent: bool,
    pub(crate) run: Option<Run>,
    pub(crate) migration: Migration,
    /// libvirt's state while it runs.
    pub(crate) state: u8,
}

/// What a host has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Libvirt {
    pub(crate) domains: BTreeMap<Uuid, Domain>,
    /// Definitions of transient domains that the daemon keeps for a reboot.
    pub(crate) kept: BTreeMap<Uuid, String>,
    /// Calls do not return.
    pub(crate) hung: bool,
}

impl Libvirt {
    pub(crate) fn describe(&self, uuid: Uuid) -> Option<LocalDomain> {
        let domain = self.domains.get(&uuid)?;
        Some(LocalDomain {
            identity: DomainIdentity {
                name: domain.name.clone(),
                uuid,
            },
            active: domain.run.is_some(),
            state: if domain.run.is_some() {
                domain.state
            } else {
                5
            },
            migration: domain.migration,
        })
    }

    pub(crate) fn all(&self) -> Vec<LocalDomain> {
        let uuids = self.domains.keys();
        uuids.filter_map(|uuid| self.describe(*uuid)).collect()
    }

    pub(crate) fn called(&self, text: &str) -> Vec<LocalDomain> {
        let all = self.all().into_iter();
        all.filter(|domain| {
            domain.identity.name == text || domain.identity.uuid.to_string() == text.to_lowercase()
        })
        .collect()
    }

    /// Defines a domain, shut off.
    pub(crate) fn define(&mut self, uuid: Uuid, name: &str) {
        self.domains.entry(uuid).or_insert(Domain {
            name: name.to_owned(),
            persistent: true,
            run: None,
            migration: Migration::None,
            state: 5,
        });
    }

    /// It runs here; a transient one if it is not defined.
    pub(crate) fn run(&mut self, uuid: Uuid, name: &str, run: Run) {
        let domain = self.domains.entry(uuid).or_insert(Domain {
            name: name.to_owned(),
            persistent: false,
            run: None,
            migration: Migration::None,
            state: 1,
        });
        domain.run = Some(run);
        domain.state = 1;
        domain.migration = Migration::None;
    }

    /// It runs here no longer, and `left` says how.
    pub(crate) fn end(&mut self, uuid: Uuid, left: Migration) {
        let Some(domain) = self.domains.get_mut(&uuid) else {
            return;
        };
        domain.run = None;
        domain.migration = left;
        if !domain.persistent {
            self.domains.remove(&uuid);
        }
    }

    pub(crate) fn run_of(&self, uuid: Uuid) -> Option<Run> {
        self.domains.get(&uuid)?.run
    }

    pub(crate) fn migration_of(&self, uuid: Uuid) -> Migration {
        self.domains
            .get(&uuid)
            .map_or(Migration::None, |domain| domain.migration)
    }
}
