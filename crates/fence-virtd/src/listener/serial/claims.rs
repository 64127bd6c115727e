//! Which lines there are to be: the sockets that the running domains' XML names, one line for each. No
//! IO.
//!
//! A line belongs to one run of one domain. When the domain is started anew its socket is another one,
//! even if it has the same path, and whoever was connected to the old one has to begin again.
//!
//! A socket that two domains name, for whatever it may be, is nobody's: what comes out of it could not be told apart.
//! Paths are compared as texts. That two of them may lead to one file does no harm: a line is only served on a
//! socket that was made by the very name that its domain has for it ([`super::connect`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use fence_proto::Uuid;

use crate::config::SerialMode;
use crate::libvirt::watch::{Notice, WatchedDomain};

/// One line: a socket of one run of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LineId {
    /// Whose it is.
    pub domain: Uuid,
    /// libvirt's number of the run.
    pub run: u32,
    /// What the domain's XML calls the socket.
    pub path: PathBuf,
}

/// What is to be done so that the lines are those that are to be. Stops come before starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// This line is no more.
    Stop(LineId),
    /// This line is new; with the domain's name.
    Start(LineId, String),
    /// A line is refused: these domains name the same socket.
    Contested(PathBuf, Vec<String>),
    /// The XML of this domain cannot be used, for this reason.
    Unreadable(String, String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    name: String,
    run: u32,
    /// The sockets that are lines.
    lines: BTreeSet<PathBuf>,
    /// All sockets that the hypervisor listens on for it, the lines among them, or that it may.
    sockets: BTreeSet<PathBuf>,
}

/// The claims of all domains.
#[derive(Debug)]
pub(super) struct Claims {
    mode: SerialMode,
    domains: BTreeMap<Uuid, Claim>,
    owners: HashMap<PathBuf, BTreeSet<Uuid>>,
    lines: HashMap<PathBuf, LineId>,
}

impl Claims {
    /// None yet.
    pub(super) fn new(mode: SerialMode) -> Self {
        Self {
            mode,
            domains: BTreeMap::new(),
            owners: HashMap::new(),
            lines: HashMap::new(),
        }
    }

    /// Takes news of the domains. While the hypervisor is lost, what was known stays: connections that
    /// exist lead where they led.
    pub(super) fn take(&mut self, notice: Notice) -> Vec<Change> {
        let mut changes = Vec::new();
        match notice {
            Notice::Snapshot(domains) => {
                let there: BTreeSet<_> = domains.iter().map(|domain| domain.uuid).collect();
                let gone = self.domains.keys().filter(|uuid| !there.contains(uuid));
                for uuid in gone.copied().collect::<Vec<_>>() {
                    self.set(uuid, None, &mut changes);
                }
                for domain in domains {
                    self.changed(domain, &mut changes);
                }
            }
            Notice::Changed(domain) => self.changed(domain, &mut changes),
            Notice::Gone(uuid) | Notice::MigratedAway(uuid) => self.set(uuid, None, &mut changes),
            Notice::Current(_) | Notice::Lost(_) => {}
        }
        // What was started on the way there and is not to be after all.
        changes.retain(|change| match change {
            Change::Start(line, _) => self.has(line),
            _ => true,
        });
        changes.sort_by_key(|change| !matches!(change, Change::Stop(_)));
        changes
    }

    /// Whether there is to be such a line now.
    pub(super) fn has(&self, line: &LineId) -> bool {
        self.lines.get(&line.path) == Some(line)
    }

    fn changed(&mut self, domain: WatchedDomain, changes: &mut Vec<Change>) {
        let uuid = domain.uuid;
        let Some(run) = domain.instance else {
            return self.set(uuid, None, changes);
        };
        let mut claim = Claim {
            name: domain.name,
            run,
            lines: BTreeSet::new(),
            sockets: BTreeSet::new(),
        };
        match domain.devices {
            // Of a domain that could not be asked, what is known of this run still holds.
            None if self
                .domains
                .get(&uuid)
                .is_some_and(|known| known.run == run) =>
            {
                return;
            }
            None => {}
            Some(Ok(devices)) => {
                claim.sockets = devices.sockets().cloned().collect();
                claim.lines = match self.mode {
                    SerialMode::Serial => devices.serial.into_iter().collect(),
                    SerialMode::Vmchannel => devices.guestfwd.into_iter().collect(),
                };
            }
            Some(Err(unreadable)) => {
                changes.push(Change::Unreadable(
                    claim.name.clone(),
                    unreadable.to_string(),
                ));
                claim.sockets = unreadable.sockets;
            }
        }
        self.set(uuid, Some(claim), changes);
    }

    fn set(&mut self, uuid: Uuid, claim: Option<Claim>, changes: &mut Vec<Change>) {
        let sockets = |claim: Option<&Claim>| claim.map(|claim| claim.sockets.clone());
        let before = sockets(self.domains.get(&uuid)).unwrap_or_default();
        let after = sockets(claim.as_ref()).unwrap_or_default();
        for path in before.difference(&after) {
            if let Some(owners) = self.owners.get_mut(path) {
                owners.remove(&uuid);
            }
        }
        for path in &after {
            let owners = self.owners.entry(path.clone()).or_default();
            owners.insert(uuid);
        }
        match claim {
            Some(claim) => self.domains.insert(uuid, claim),
            None => self.domains.remove(&uuid),
        };
        for path in before.union(&after) {
            self.settle(path, !before.contains(path), changes);
        }
    }

    /// The line that a path is to be, if any, and the name of its domain.
    fn wanted(&self, path: &Path) -> Option<(LineId, &str)> {
        let owners = self.owners.get(path)?;
        let domain = *owners.first().filter(|_| owners.len() == 1)?;
        let claim = self.domains.get(&domain)?;
        let line = LineId {
            domain,
            run: claim.run,
            path: claim.lines.get(path)?.clone(),
        };
        Some((line, &claim.name))
    }

    /// Makes the line of a path what it is to be.
    fn settle(&mut self, path: &Path, newly_claimed: bool, changes: &mut Vec<Change>) {
        if newly_claimed {
            changes.extend(self.contest(path));
        }
        if self.owners.get(path).is_some_and(BTreeSet::is_empty) {
            self.owners.remove(path);
        }
        let wanted = self.wanted(path);
        let wanted = wanted.map(|(line, name)| (line, name.to_owned()));
        if self.lines.get(path) == wanted.as_ref().map(|(line, _)| line) {
            return;
        }
        if let Some(line) = self.lines.remove(path) {
            changes.push(Change::Stop(line));
        }
        if let Some((line, name)) = wanted {
            self.lines.insert(path.to_owned(), line.clone());
            changes.push(Change::Start(line, name));
        }
    }

    /// Several domains name a socket that is a line of one of them.
    fn contest(&self, path: &Path) -> Option<Change> {
        let owners = self.owners.get(path).filter(|owners| owners.len() > 1)?;
        let claims = owners.iter().filter_map(|uuid| self.domains.get(uuid));
        let claims: Vec<_> = claims.collect();
        let is_line = claims.iter().any(|claim| claim.lines.contains(path));
        let names = claims.iter().map(|claim| claim.name.clone());
        is_line.then(|| Change::Contested(path.to_owned(), names.collect()))
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
