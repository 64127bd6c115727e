//! What this host's hypervisors have, as one: from the watchers of several URIs to what the core is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fence_cluster::seam::{LocalDomain, Migration};
use fence_proto::{DomainIdentity, Uuid};
use tokio::sync::mpsc;

use crate::libvirt::LibvirtBackend;
use crate::libvirt::jobs::weight;
use crate::libvirt::watch::{Notice, WatchSettings, WatchedDomain};

/// Notices that may wait. A watcher keeps the rest, the newest of each domain.
const MAX_NOTICES: usize = 64;

/// Domains whose going is remembered.
const MAX_GONE: usize = 256;

/// How often all is listed anew, though events should have told everything.
const RESYNC: Duration = Duration::from_secs(60);

/// libvirt's numbers: virDomainState.
const SHUT_OFF: u8 = 5;
const CRASHED: u8 = 6;

/// What has become known of this host's domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// This is everything.
    Inventory(Vec<LocalDomain>),
    /// This is what the domain is now.
    Changed(LocalDomain),
    /// It is not here any more.
    Gone(Uuid),
    /// It is not here any more because a migration took it elsewhere. This is what it was, not active.
    MigratedAway(LocalDomain),
    /// From here on nothing is known.
    Lost,
}

/// Watches all hypervisors of this host until it is dropped.
#[derive(Debug)]
pub(super) struct Inventory {
    notices: mpsc::Receiver<(usize, Notice)>,
    domains: Domains,
}

impl Inventory {
    /// Begins to watch what this backend has.
    pub(super) fn watch(backend: &LibvirtBackend) -> Self {
        let (sender, notices) = mpsc::channel(MAX_NOTICES);
        let watchers = backend.watch(&WatchSettings {
            migration: true,
            resync: RESYNC,
            ..WatchSettings::new("")
        });
        let hosts = watchers.len();
        for (index, watcher) in watchers.into_iter().enumerate() {
            let sender = sender.clone();
            tokio::spawn(async move {
                loop {
                    let notice = tokio::select! {
                        notice = watcher.next() => notice,
                        () = sender.closed() => return,
                    };
                    if sender.send((index, notice)).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            notices,
            domains: Domains::of(hosts),
        }
    }

    /// Everything, as far as it was told; `None` while not everything is known.
    pub(super) fn all(&self) -> Option<Vec<LocalDomain>> {
        let domains = &self.domains;
        domains.is_complete().then(|| domains.all())
    }

    /// The next news. Cancel-safe.
    pub(super) async fn next(&mut self) -> News {
        loop {
            match self.notices.recv().await {
                Some((index, notice)) => {
                    if let Some(news) = self.domains.take(index, notice) {
                        return news;
                    }
                }
                // The watchers end when this is dropped.
                None => std::future::pending().await,
            }
        }
    }
}

/// What each hypervisor has, if it answers.
#[derive(Debug)]
struct Domains {
    hosts: Vec<Option<BTreeMap<Uuid, LocalDomain>>>,
    /// What went lately, as it was: why is sometimes told later.
    gone: VecDeque<LocalDomain>,
    /// The last thing told was that nothing is known.
    lost: bool,
}

impl Domains {
    fn of(hosts: usize) -> Self {
        Self {
            hosts: vec![None; hosts],
            gone: VecDeque::new(),
            lost: false,
        }
    }

    /// Only when every hypervisor has told what it has, anything is told: a host that does not know all of
    /// its domains knows nothing.
    fn take(&mut self, index: usize, notice: Notice) -> Option<News> {
        let host = self.hosts.get_mut(index)?;
        match notice {
            Notice::Current(_) => None,
            Notice::Lost(_) => {
                *host = None;
                (!std::mem::replace(&mut self.lost, true)).then_some(News::Lost)
            }
            Notice::Snapshot(domains) => {
                let domains = domains.into_iter().map(|it| (it.uuid, local(it)));
                *host = Some(domains.collect());
                self.lost &= !self.is_complete();
                self.is_complete().then(|| News::Inventory(self.all()))
            }
            Notice::Changed(domain) => {
                let uuid = domain.uuid;
                let before = self.of_domain(uuid);
                self.hosts
                    .get_mut(index)?
                    .as_mut()?
                    .insert(uuid, local(domain));
                self.news_of(uuid, before.as_ref())
            }
            Notice::Gone(uuid) => {
                let before = self.of_domain(uuid);
                let gone = self.hosts.get_mut(index)?.as_mut()?.remove(&uuid);
                self.remember(gone);
                self.news_of(uuid, before.as_ref())
            }
            Notice::MigratedAway(uuid) => {
                let before = self.of_domain(uuid);
                let gone = self.hosts.get_mut(index)?.as_mut()?.remove(&uuid);
                self.remember(gone);
                if self.of_domain(uuid).is_some() {
                    // It went to, or was left on, another hypervisor of this host.
                    return self.news_of(uuid, before.as_ref());
                }
                let known = self.gone.iter().find(|it| it.identity.uuid == uuid)?;
                self.is_complete()
                    .then(|| News::MigratedAway(known.clone()))
            }
        }
    }

    fn remember(&mut self, gone: Option<LocalDomain>) {
        let Some(gone) = gone else { return };
        let uuid = gone.identity.uuid;
        self.gone.retain(|known| known.identity.uuid != uuid);
        self.gone.push_front(LocalDomain {
            active: false,
            state: SHUT_OFF,
            migration: Migration::Outgoing,
            ..gone
        });
        self.gone.truncate(MAX_GONE);
    }

    fn is_complete(&self) -> bool {
        self.hosts.iter().all(Option::is_some)
    }

    fn news_of(&self, uuid: Uuid, before: Option<&LocalDomain>) -> Option<News> {
        let now = self.of_domain(uuid);
        if !self.is_complete() || now.as_ref() == before {
            return None;
        }
        Some(now.map_or(News::Gone(uuid), News::Changed))
    }

    /// The copy that matters most.
    fn of_domain(&self, uuid: Uuid) -> Option<LocalDomain> {
        let copies = self.hosts.iter().flatten().filter_map(|it| it.get(&uuid));
        // The first one of those that weigh the same.
        let best = copies.reduce(|best, it| if weight(it) > weight(best) { it } else { best });
        best.cloned()
    }

    fn all(&self) -> Vec<LocalDomain> {
        let uuids = self.hosts.iter().flatten().flat_map(BTreeMap::keys);
        let uuids: BTreeSet<_> = uuids.copied().collect();
        let domains = uuids.into_iter().filter_map(|uuid| self.of_domain(uuid));
        domains.collect()
    }
}

fn local(domain: WatchedDomain) -> LocalDomain {
    LocalDomain {
        active: is_active(domain.state, domain.instance),
        identity: DomainIdentity {
            name: domain.name,
            uuid: domain.uuid,
        },
        state: domain.state,
        migration: domain.migration.into(),
    }
}

/// A domain that has a run's number is active; of one that has none the state tells, and in doubt it is.
const fn is_active(state: u8, instance: Option<u32>) -> bool {
    instance.is_some() || !matches!(state, SHUT_OFF | CRASHED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::watch;

    const A: Uuid = Uuid([1; 16]);
    const B: Uuid = Uuid([2; 16]);

    fn domain(uuid: Uuid, instance: Option<u32>) -> WatchedDomain {
        WatchedDomain {
            uuid,
            name: "vm".to_owned(),
            state: if instance.is_some() { 1 } else { SHUT_OFF },
            reason: 0,
            instance,
            persistent: true,
            migration: watch::Migration::None,
            devices: None,
        }
    }

    fn snapshot(domains: &[WatchedDomain]) -> Notice {
        Notice::Snapshot(domains.to_vec())
    }

    fn active(news: Option<News>) -> Vec<(Uuid, bool)> {
        let Some(News::Inventory(domains)) = news else {
            panic!("{news:?}");
        };
        let domains = domains.iter();
        domains.map(|it| (it.identity.uuid, it.active)).collect()
    }

    #[test]
    fn nothing_is_told_before_every_hypervisor_has_told_all() {
        let mut domains = Domains::of(2);
        assert_eq!(domains.take(0, snapshot(&[domain(A, None)])), None);
        assert_eq!(domains.take(0, Notice::Changed(domain(A, Some(1)))), None);
        let news = domains.take(1, snapshot(&[domain(B, None)]));
        assert_eq!(active(news), [(A, true), (B, false)]);
    }

    #[test]
    fn domain_that_is_active_on_any_hypervisor_is_active() {
        let mut domains = Domains::of(2);
        domains.take(0, snapshot(&[domain(A, None)]));
        let news = domains.take(1, snapshot(&[domain(A, Some(4))]));
        assert_eq!(active(news), [(A, true)]);
        // A change of the copy that does not speak for the domain is no news.
        assert_eq!(domains.take(0, Notice::Gone(A)), None);
        let news = domains.take(1, Notice::Changed(domain(A, None)));
        assert!(matches!(news, Some(News::Changed(it)) if !it.active));
        assert_eq!(domains.take(1, Notice::Gone(A)), Some(News::Gone(A)));
    }

    #[test]
    fn incoming_half_gives_way_to_the_one_that_runs() {
        let mut incoming = domain(A, Some(1));
        incoming.migration = watch::Migration::Incoming;
        let mut domains = Domains::of(2);
        domains.take(0, snapshot(&[incoming]));
        domains.take(1, snapshot(&[domain(A, Some(2))]));
        let copy = domains.of_domain(A).unwrap();
        assert_eq!(copy.migration, Migration::None);
        domains.take(1, Notice::Gone(A));
        let copy = domains.of_domain(A).unwrap();
        assert_eq!(copy.migration, Migration::Incoming);
    }

    #[test]
    fn domain_that_a_migration_took_away_is_told_with_what_it_was() {
        let mut domains = Domains::of(2);
        domains.take(0, snapshot(&[domain(A, Some(1)), domain(B, Some(2))]));
        domains.take(1, snapshot(&[]));
        let Some(News::MigratedAway(left)) = domains.take(0, Notice::MigratedAway(A)) else {
            panic!("not told");
        };
        assert_eq!((left.identity.uuid, left.active), (A, false));
        assert_eq!(left.migration, Migration::Outgoing);
        // Also if that it is gone was told before.
        assert_eq!(domains.take(0, Notice::Gone(B)), Some(News::Gone(B)));
        let late = domains.take(0, Notice::MigratedAway(B));
        assert!(matches!(late, Some(News::MigratedAway(_))), "{late:?}");
        // To another hypervisor of this host it did not leave.
        domains.take(0, Notice::Changed(domain(A, Some(3))));
        domains.take(1, Notice::Changed(domain(A, Some(1))));
        assert_eq!(domains.take(0, Notice::MigratedAway(A)), None);
    }

    #[test]
    fn silence_of_one_hypervisor_is_told_once_and_ends_with_a_complete_inventory() {
        let mut domains = Domains::of(2);
        domains.take(0, snapshot(&[domain(A, Some(1))]));
        domains.take(1, snapshot(&[]));
        let lost = || Notice::Lost("gone".to_owned());
        assert_eq!(domains.take(1, lost()), Some(News::Lost));
        assert_eq!(domains.take(0, lost()), None);
        assert_eq!(domains.take(1, snapshot(&[])), None);
        assert_eq!(active(domains.take(0, snapshot(&[]))), []);
        assert_eq!(domains.take(0, lost()), Some(News::Lost));
    }

    #[test]
    fn in_doubt_a_domain_is_active() {
        assert!(is_active(0, None) && is_active(3, None) && is_active(SHUT_OFF, Some(1)));
        assert!(!is_active(SHUT_OFF, None) && !is_active(CRASHED, None));
    }
}
