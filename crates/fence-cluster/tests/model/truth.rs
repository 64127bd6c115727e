//! What really is: which host has which copy of which domain, in which part of a migration. Nobody
//! in the model knows all of this; the claims are judged by it.
//!
//! Facts about migrations as tried with libvirt and QEMU: destroying the source before the switch
//! kills both halves, destroying the destination leaves the source running, and a source that loses
//! power leaves the incoming half paused for a while.

use fence_cluster::seam::{LocalDomain, Migration};
use fence_proto::{DomainIdentity, Uuid};

// libvirt's virDomainState.
const RUNNING: u8 = 1;
const PAUSED: u8 = 3;
const SHUT_OFF: u8 = 5;

/// A copy of a domain on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Copy {
    /// Which run it belongs to: both halves of a migration are one run.
    pub(crate) run: u8,
    pub(crate) part: Part,
}

/// What part a copy plays in a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// It runs, and is not being migrated.
    Whole,
    /// It runs and is being sent elsewhere.
    Outgoing,
    /// The other half runs already; this one is paused and about to go.
    Leaving,
    /// It is being received and may resume at any moment.
    Incoming,
    /// Its source is dead; it goes after a while.
    Orphan,
}

/// One domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Domain {
    /// By host.
    pub(crate) copies: Vec<Option<Copy>>,
    /// By host: a definition that stays when it is shut off.
    pub(crate) defined: Vec<bool>,
    /// By host: its last run here was migrated away, and libvirt knows.
    pub(crate) moved: Vec<bool>,
    pub(crate) next_run: u8,
}

/// What became of a destroy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destroyed {
    Active { migrating: bool },
    WasOff,
    WasAbsent,
}

/// The identity of domain number `index`.
pub(crate) fn identity(index: usize) -> DomainIdentity {
    DomainIdentity {
        name: format!("vm{index}"),
        uuid: uuid(index),
    }
}

pub(crate) fn uuid(index: usize) -> Uuid {
    let mut bytes = [0; 16];
    bytes[0] = u8::try_from(index).unwrap() + 0xa0;
    Uuid(bytes)
}

/// The number of the domain with this UUID.
pub(crate) fn index(uuid: Uuid) -> usize {
    usize::from(uuid.0[0].wrapping_sub(0xa0))
}

impl Domain {
    pub(crate) fn new(hosts: usize) -> Self {
        Self {
            copies: vec![None; hosts],
            defined: vec![false; hosts],
            moved: vec![false; hosts],
            next_run: 0,
        }
    }

    fn part(&self, host: usize) -> Option<Part> {
        self.copies[host].map(|copy| copy.part)
    }

    fn find(&self, part: Part) -> Option<usize> {
        (0..self.copies.len()).find(|host| self.part(*host) == Some(part))
    }

    fn set(&mut self, host: usize, part: Part) {
        if let Some(copy) = &mut self.copies[host] {
            copy.part = part;
        }
    }

    /// No copy anywhere.
    pub(crate) fn is_clear(&self) -> bool {
        self.copies.iter().all(Option::is_none)
    }

    /// No copy anywhere that runs or may resume.
    pub(crate) fn is_off(&self) -> bool {
        !self.has_run_before(self.next_run)
    }

    /// Some copy has the guest running.
    pub(crate) fn is_running(&self) -> bool {
        self.copies
            .iter()
            .flatten()
            .any(|copy| matches!(copy.part, Part::Whole | Part::Outgoing))
    }

    /// Some copy counts as on: anything but an incoming half.
    pub(crate) fn is_active(&self) -> bool {
        let mut parts = self.copies.iter().flatten().map(|copy| copy.part);
        parts.any(|part| !matches!(part, Part::Incoming | Part::Orphan))
    }

    /// Some copy of a run older than `run` runs or may resume. The source's half does not, once the
    /// destination runs: what libvirt does if the connection breaks within the call that ends the migration is
    /// not modelled.
    pub(crate) fn has_run_before(&self, run: u8) -> bool {
        let mut copies = self.copies.iter().flatten();
        copies.any(|copy| copy.run < run && copy.part != Part::Leaving)
    }

    pub(crate) fn start(&mut self, host: usize) {
        self.moved[host] = false;
        self.copies[host] = Some(Copy {
            run: self.next_run,
            part: Part::Whole,
        });
        self.next_run += 1;
    }

    /// The host's hypervisor kills its copy. Says what it was, and which hosts changed.
    pub(crate) fn destroy(&mut self, host: usize) -> (Destroyed, Vec<usize>) {
        let Some(copy) = self.copies[host].take() else {
            let was = if self.defined[host] {
                Destroyed::WasOff
            } else {
                Destroyed::WasAbsent
            };
            return (was, Vec::new());
        };
        let mut changed = vec![host];
        match copy.part {
            Part::Outgoing => {
                if let Some(other) = self.find(Part::Incoming) {
                    self.set(other, Part::Orphan);
                    changed.push(other);
                }
            }
            Part::Incoming => {
                if let Some(other) = self.find(Part::Outgoing) {
                    self.set(other, Part::Whole);
                    changed.push(other);
                }
            }
            Part::Whole | Part::Leaving | Part::Orphan => {}
        }
        let migrating = copy.part != Part::Whole;
        (Destroyed::Active { migrating }, changed)
    }

    /// Whether a live migration to `to` may begin.
    pub(crate) fn may_migrate(&self, to: usize) -> Option<usize> {
        let from = self.find(Part::Whole)?;
        let alone = self.copies.iter().flatten().count() == 1;
        (alone && from != to).then_some(from)
    }

    pub(crate) fn begin(&mut self, to: usize) -> Vec<usize> {
        let Some(from) = self.may_migrate(to) else {
            return Vec::new();
        };
        self.set(from, Part::Outgoing);
        self.moved[to] = false;
        self.copies[to] = self.copies[from].map(|copy| Copy {
            part: Part::Incoming,
            ..copy
        });
        vec![from, to]
    }

    /// The halves of a migration that has not switched over.
    pub(crate) fn migrating(&self) -> Option<(usize, usize)> {
        Some((self.find(Part::Outgoing)?, self.find(Part::Incoming)?))
    }

    /// The destination resumes.
    pub(crate) fn switch(&mut self) -> Vec<usize> {
        let Some((from, to)) = self.migrating() else {
            return Vec::new();
        };
        self.set(from, Part::Leaving);
        self.set(to, Part::Whole);
        vec![from, to]
    }

    pub(crate) fn abort(&mut self) -> Vec<usize> {
        let Some((from, to)) = self.migrating() else {
            return Vec::new();
        };
        self.set(from, Part::Whole);
        self.copies[to] = None;
        vec![from, to]
    }

    /// What goes by itself after a while: the source after the switch, an orphan.
    pub(crate) fn remnant(&self) -> Option<usize> {
        self.find(Part::Leaving).or_else(|| self.find(Part::Orphan))
    }

    /// What a migration left behind on this host goes by itself.
    pub(crate) fn remove_remnant(&mut self, host: usize) {
        self.moved[host] = self.part(host) == Some(Part::Leaving);
        self.copies[host] = None;
    }

    /// What is said of a run that was migrated away from this host.
    pub(crate) fn seen_moved(&self, host: usize, index: usize) -> Option<LocalDomain> {
        (self.moved[host] && self.copies[host].is_none()).then(|| LocalDomain {
            identity: identity(index),
            active: false,
            state: SHUT_OFF,
            migration: Migration::Outgoing,
        })
    }

    /// What this host's libvirt says it is.
    pub(crate) fn seen_at(&self, host: usize, index: usize) -> Option<LocalDomain> {
        let (active, state, migration) = match self.part(host) {
            Some(Part::Whole) => (true, RUNNING, Migration::None),
            Some(Part::Outgoing) => (true, RUNNING, Migration::Outgoing),
            Some(Part::Leaving) => (true, PAUSED, Migration::Outgoing),
            Some(Part::Incoming | Part::Orphan) => (true, PAUSED, Migration::Incoming),
            None if self.defined[host] && self.moved[host] => {
                return self.seen_moved(host, index);
            }
            None if self.defined[host] => (false, SHUT_OFF, Migration::None),
            None => return None,
        };
        Some(LocalDomain {
            identity: identity(index),
            active,
            state,
            migration,
        })
    }
}
