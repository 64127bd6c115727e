//! This host's own inventory: what its libvirt says, and what the group is told of it.

use fence_proto::{Moment, Uuid};

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::inventory::{Domains, Inventory};
use crate::limits::{MANY_CHANGES, MAX_DOMAINS, SEND_AGAIN};
use crate::reason::Reason;
use crate::seam::{LocalDomain, Migration, WallTime};
use crate::wire::message::{Change, Message, Stand};
use crate::wire::record::{Holding, Record};

/// What this host has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Local {
    pub(crate) stand: Stand,
    /// libvirt has listed what it has at least once.
    pub(crate) known: bool,
    /// libvirt answers.
    pub(crate) current: bool,
    pub(crate) domains: Domains,
    /// When the whole was last sent.
    pub(crate) sent: Option<Moment>,
}

impl Local {
    pub(crate) const fn new(start: WallTime) -> Self {
        Self {
            stand: Stand { start, seq: 0 },
            known: false,
            current: false,
            domains: Domains::new(),
            sent: None,
        }
    }

    pub(crate) fn holding(&self, uuid: Uuid) -> Holding {
        crate::inventory::holding(&self.domains, uuid)
    }
}

/// A run of its own, which a migration's incoming half is not yet.
fn runs(domain: &LocalDomain) -> bool {
    domain.active && domain.migration != Migration::Incoming
}

/// Its last run left by a migration.
fn drifted(domain: &LocalDomain) -> bool {
    !domain.active && domain.migration == Migration::Outgoing
}

impl Cluster {
    /// Everything that libvirt has.
    pub(crate) fn inventory_listed(&mut self, cx: &mut Cx<'_>, domains: Vec<LocalDomain>) {
        let gone: Vec<_> = {
            let listed: std::collections::BTreeSet<_> =
                domains.iter().map(|domain| domain.identity.uuid).collect();
            let known = self.local.domains.keys();
            known
                .filter(|uuid| !listed.contains(uuid))
                .copied()
                .collect()
        };
        let mut changes = Vec::new();
        let first = !self.local.known;
        let was_current = self.local.current;
        self.local.known = true;
        self.local.current = true;
        for domain in &domains {
            changes.extend(self.take_in(cx, domain, false));
        }
        for uuid in gone {
            changes.extend(self.take_out(uuid, false));
        }
        if !was_current && !first && self.local.current {
            changes.push(Change::Current { current: true });
        }
        if first || changes.len() > MANY_CHANGES {
            self.local.stand.seq = self.local.stand.seq.saturating_add(1);
            self.send_inventory(cx);
        } else {
            self.announce(cx, changes);
        }
        self.settle_all(cx);
    }

    /// Looks after starts that ended without saying whether the domain runs.
    fn settle_all(&mut self, cx: &mut Cx<'_>) {
        let records = self.local.domains.iter();
        let open = records.filter(|(uuid, record)| {
            record.starting && !self.jobs.is_starting(**uuid) && !self.turns.starts(**uuid)
        });
        let open: Vec<_> = open.map(|(uuid, _)| *uuid).collect();
        for uuid in open {
            self.settle(cx, uuid);
        }
    }

    /// libvirt does not answer any more.
    pub(crate) fn inventory_lost(&mut self, cx: &mut Cx<'_>) {
        if !self.local.current {
            return;
        }
        self.local.current = false;
        self.announce(cx, vec![Change::Current { current: false }]);
    }

    /// libvirt says that the domain is this. `settled`: asked after whatever this host began.
    pub(crate) fn observe(&mut self, cx: &mut Cx<'_>, domain: &LocalDomain, settled: bool) {
        let change = self.take_in(cx, domain, settled);
        self.announce(cx, change.into_iter().collect());
    }

    /// libvirt says that it does not have the domain.
    pub(crate) fn observe_gone(&mut self, cx: &mut Cx<'_>, uuid: Uuid, settled: bool) {
        let change = self.take_out(uuid, settled);
        self.announce(cx, change.into_iter().collect());
    }

    fn take_in(&mut self, cx: &mut Cx<'_>, domain: &LocalDomain, settled: bool) -> Option<Change> {
        let uuid = domain.identity.uuid;
        let old = self.local.domains.get(&uuid);
        if old.is_none() && self.local.domains.len() >= MAX_DOMAINS {
            return self.overflow(cx);
        }
        let starting = old.is_some_and(|old| old.starting);
        let ran = old.is_some_and(|old| old.holding() == Holding::Copy);
        let version = match old {
            Some(old) if starting || ran || !runs(domain) => old.version,
            // The run that left was the last one.
            None if drifted(domain) => self.newest(uuid),
            None if !runs(domain) => 0,
            _ => self.newest(uuid).saturating_add(1),
        };
        let mut record = Record::of(domain, version);
        if old.is_some_and(Record::has_drifted) && !domain.active {
            // That its last run left is true until there is another one.
            record.migration = Migration::Outgoing;
        }
        record.starting = starting && !settled;
        if old == Some(&record) {
            return None;
        }
        self.gone.outdated(uuid, version);
        let before = old.map_or(Holding::Nothing, Record::holding);
        self.told(self.config.me, uuid, (record.holding(), before));
        self.local.domains.insert(uuid, record.clone());
        Some(Change::Record { uuid, record })
    }

    /// There is no room for a domain that this host has. Said once for a list, however many there are.
    fn overflow(&mut self, cx: &mut Cx<'_>) -> Option<Change> {
        self.counters.count(Reason::Full);
        if !core::mem::replace(&mut self.local.current, false) {
            return None;
        }
        cx.warn(format!(
            "this host has more than {MAX_DOMAINS} domains: its inventory counts as not current"
        ));
        Some(Change::Current { current: false })
    }

    fn take_out(&mut self, uuid: Uuid, settled: bool) -> Option<Change> {
        let record = self.local.domains.get_mut(&uuid)?;
        if record.starting && !settled {
            if !record.active {
                return None;
            }
            record.active = false;
            let record = record.clone();
            self.stir(self.config.me, uuid, Holding::Copy);
            return Some(Change::Record { uuid, record });
        }
        let record = self.local.domains.remove(&uuid)?;
        self.stir(self.config.me, uuid, record.holding());
        self.gone.add(uuid, &record);
        Some(Change::Gone { uuid })
    }

    /// This host is about to announce that it starts the domain, in a run with this version.
    /// Everybody takes that down when the announcement is delivered, so there is nothing to send;
    /// it is taken down here before, so that what is sent behind the announcement says it too.
    pub(crate) fn starts(&mut self, uuid: Uuid, name: &str, version: u64) {
        starting(&mut self.local.domains, uuid, name, version);
        self.stir(self.config.me, uuid, Holding::Copy);
    }

    /// Nothing came of it, and nothing will.
    pub(crate) fn starts_not(&mut self, cx: &mut Cx<'_>, uuid: Uuid) {
        let Some(record) = self.local.domains.get_mut(&uuid) else {
            return;
        };
        if !record.starting {
            return;
        }
        record.starting = false;
        let record = record.clone();
        self.stir(self.config.me, uuid, Holding::Copy);
        self.announce(cx, vec![Change::Record { uuid, record }]);
        // Whether it is defined here at all, libvirt says.
        self.settle(cx, uuid);
    }

    /// Another host has not got the domain running, but numbers its last run no lower than the run that
    /// is here: this daemon was started when that run had begun, and knew no number. This one is the last.
    pub(crate) fn runs_last_here(&mut self, uuid: Uuid, other: &Record) -> Option<Change> {
        let record = self.local.domains.get_mut(&uuid)?;
        let here = record.holding() == Holding::Copy && !record.starting;
        if !here || other.holding() == Holding::Copy || other.version < record.version {
            return None;
        }
        record.version = other.version.saturating_add(1);
        let record = record.clone();
        Some(Change::Record { uuid, record })
    }

    pub(crate) fn announce(&mut self, cx: &mut Cx<'_>, changes: Vec<Change>) {
        for change in changes {
            match &change {
                Change::Record { uuid, .. } | Change::Gone { uuid } => self.touch_domain(*uuid),
                Change::Current { .. } => self.attention.all = true,
            }
            self.local.stand.seq = self.local.stand.seq.saturating_add(1);
            let stand = self.local.stand;
            if self.local.known {
                self.tell_originals(cx, &change);
                self.send(cx, &Message::Changed { stand, change });
            }
        }
    }

    /// Sends the whole; or, before there is one, that there is none.
    pub(crate) fn send_inventory(&mut self, cx: &mut Cx<'_>) {
        let Local { stand, current, .. } = self.local;
        if !self.local.known {
            return self.send(cx, &Message::Digest { stand, current });
        }
        self.local.sent = Some(cx.now);
        for part in Inventory::parts(stand, current, &self.local.domains) {
            self.send(cx, &Message::Inventory { part });
        }
        self.tell_originals_all(cx);
    }

    /// Somebody has missed something.
    pub(crate) fn send_inventory_again(&mut self, cx: &mut Cx<'_>) {
        let sent = self.local.sent;
        if sent.is_none_or(|sent| cx.is_past(sent, SEND_AGAIN)) {
            self.send_inventory(cx);
        }
    }
}

/// Marks the domain as being started.
pub(crate) fn starting(domains: &mut Domains, uuid: Uuid, name: &str, version: u64) {
    let record = domains.entry(uuid).or_insert_with(|| Record {
        name: name.to_owned(),
        state: 0,
        active: false,
        starting: true,
        migration: Migration::None,
        version,
    });
    record.starting = true;
    record.version = record.version.max(version);
    // Whatever became of its last run, the next one is here.
    record.migration = Migration::None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, OTHER, domain, uuid};
    use crate::seam::Event;
    use crate::wire::message::Part;

    fn changes(bench: &mut Bench) -> Vec<Change> {
        let sent = bench.sent().into_iter();
        let changes = sent.filter_map(|message| match message {
            Message::Changed { change, .. } => Some(change),
            _ => None,
        });
        changes.collect()
    }

    #[test]
    fn list_that_is_too_long_does_not_count_as_current_and_is_warned_of_once() {
        let mut bench = Bench::new();
        let most = u32::try_from(MAX_DOMAINS).unwrap();
        let all = |count| (0..count).map(|number| domain(number, false)).collect();
        bench.feed(Event::Inventory(all(most)));
        bench.feed(Event::InventoryLost);
        bench.sent();
        // libvirt is back, with a few domains more.
        bench.feed(Event::Inventory(all(most + 3)));
        assert!(!bench.core.local.current);
        let changes = changes(&mut bench);
        assert!(!changes.contains(&Change::Current { current: true }));
        assert_eq!(bench.core.local.domains.len(), MAX_DOMAINS);
        bench.feed(Event::Inventory(all(most + 3)));
        assert_eq!(bench.warnings().len(), 1);
        // It is current again as soon as there is room.
        bench.feed(Event::Inventory(all(most)));
        assert!(bench.core.local.current);
    }

    #[test]
    fn run_here_is_the_last_one_whatever_number_a_leftover_elsewhere_has() {
        let mut bench = Bench::new();
        bench.feed(Event::Inventory(vec![domain(1, true)]));
        let version = |bench: &Bench| bench.core.local.domains[&uuid(1)].version;
        let mut stand = Stand {
            start: WallTime(1),
            seq: 1,
        };
        let leftover = |version| Record::of(&domain(1, false), version);
        assert_eq!(version(&bench), 1);
        let part = Part {
            stand,
            part: 0,
            parts: 1,
            current: true,
            records: vec![(uuid(1), leftover(1))],
        };
        bench.sent();
        bench.hear(OTHER, &Message::Inventory { part });
        assert_eq!(version(&bench), 2);
        stand.seq += 1;
        let change = Change::Record {
            uuid: uuid(1),
            record: leftover(9),
        };
        bench.hear(OTHER, &Message::Changed { stand, change });
        assert_eq!(version(&bench), 10);
        // The others are told.
        let told = changes(&mut bench).into_iter().map(|change| match change {
            Change::Record { record, .. } => record.version,
            _ => 0,
        });
        assert_eq!(told.collect::<Vec<_>>(), [2, 10]);
    }
}
