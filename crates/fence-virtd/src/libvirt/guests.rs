//! Which domain of this host has a vsock CID.
//!
//! Watchers keep, for each hypervisor on this machine, which domain has which CID; on another machine
//! the same number is another guest. That only says whom to ask about: a CID is used again when its
//! domain has ended, so the domain is asked for its XML when an answer is wanted. A peer that is still
//! connected then is that domain, since its connections end with it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fence_proto::{DomainIdentity, Uuid};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{timeout, timeout_at};
use tracing::{debug, warn};

use super::connection::{Connection, Fault, Reach};
use super::host::Host;
use super::pool::Lane;
use super::watch::{Notice, WatchSettings, WatchedDomain, Watcher};

/// How long a hypervisor may take to say what a domain is.
const PATIENCE: Duration = Duration::from_secs(2);

/// CIDs that the kernel's own ends have: the hypervisor's, this machine's, the host's.
const GUESTS_FROM: u32 = 3;

/// Who has which CID.
#[derive(Default)]
pub(super) struct Guests(OnceLock<Vec<Keeper>>);

/// One hypervisor and what its watcher told.
struct Keeper {
    host: Arc<Host>,
    watcher: Arc<Watcher>,
    news: watch::Receiver<News>,
    listening: AbortHandle,
}

/// What was told so far.
#[derive(Default)]
struct News {
    cids: BTreeMap<Uuid, u32>,
    /// It is no older than this.
    current: Option<Instant>,
}

impl Guests {
    /// Begins to watch the hypervisors on this machine, unless that was done.
    pub(super) fn expect(&self, hosts: &[Arc<Host>]) {
        self.keepers(hosts);
    }

    /// The domain that has this CID now; `None` if there is none, if nobody can tell in some seconds,
    /// or if several have it, on different hypervisors.
    pub(super) async fn find(&self, hosts: &[Arc<Host>], cid: u32) -> Option<DomainIdentity> {
        if cid < GUESTS_FROM {
            return None;
        }
        let keepers = self.keepers(hosts);
        let asked = Instant::now();
        let mut found = look(keepers, cid).await;
        if found.is_empty() {
            // It may have started a moment ago, or the one that was known have ended.
            for keeper in keepers {
                keeper.watcher.refresh();
            }
            let patience = asked + PATIENCE;
            for keeper in keepers {
                keeper.current_since(asked, patience).await;
            }
            found = look(keepers, cid).await;
        }
        match (found.pop(), found.is_empty()) {
            (Some(guest), true) => {
                debug!(cid, guest = guest.name, "identified");
                Some(guest)
            }
            (None, _) => {
                debug!(cid, "no domain has this CID, as far as is known");
                None
            }
            (Some(_), false) => {
                warn!(
                    cid,
                    "several domains have this CID: it is taken for none of them"
                );
                None
            }
        }
    }

    fn keepers(&self, hosts: &[Arc<Host>]) -> &[Keeper] {
        self.0.get_or_init(|| {
            let here = hosts.iter().filter(|host| host.reach() != Reach::Network);
            here.map(Keeper::start).collect()
        })
    }
}

/// What the domains that are known by this CID say themselves.
async fn look(keepers: &[Keeper], cid: u32) -> Vec<DomainIdentity> {
    let mut found = Vec::new();
    for keeper in keepers {
        for uuid in keeper.known_by(cid) {
            found.extend(keeper.ask(uuid, cid).await);
        }
    }
    found
}

impl Keeper {
    fn start(host: &Arc<Host>) -> Self {
        let connector = Arc::clone(host);
        let connect = Box::new(move || connector.connect_apart());
        let watcher = Arc::new(Watcher::with(settings(host), connect));
        let (sender, news) = watch::channel(News::default());
        let told = Arc::clone(&watcher);
        let listening = tokio::spawn(async move {
            loop {
                let notice = told.next().await;
                sender.send_modify(|news| news.note(notice));
            }
        });
        Self {
            host: Arc::clone(host),
            watcher,
            news,
            listening: listening.abort_handle(),
        }
    }

    fn known_by(&self, cid: u32) -> Vec<Uuid> {
        let news = self.news.borrow();
        let mine = news.cids.iter().filter(|(_, own)| **own == cid);
        mine.map(|(uuid, _)| *uuid).collect()
    }

    /// Waits until everything that started before `moment` is known, not longer than `patience`.
    async fn current_since(&self, moment: Instant, patience: Instant) {
        let mut news = self.news.clone();
        let caught_up = news.wait_for(|news| news.current.is_some_and(|current| current >= moment));
        if timeout_at(patience.into(), caught_up).await.is_err() {
            let uri = self.host.name();
            warn!(uri, "the hypervisor does not say which domains are on");
        }
    }

    /// Asks a domain whether this CID is its.
    async fn ask(&self, uuid: Uuid, cid: u32) -> Option<DomainIdentity> {
        let (sender, receiver) = oneshot::channel();
        let settings = settings(&self.host);
        let job = Box::new(move |worker: &mut super::worker::Worker| {
            let answer = worker.ask(|connection| guest_with(connection, uuid, cid, &settings));
            if let Err(fault) = &answer {
                worker.log_fault(&uuid, fault);
            }
            // Nobody waits any more.
            let _ = sender.send(answer.ok().flatten());
        });
        self.host.submit(Lane::Ask, job).ok()?;
        timeout(PATIENCE, receiver).await.ok()?.ok()?
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl News {
    fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Snapshot(domains) => {
                self.cids = domains.iter().filter_map(with_cid).collect();
            }
            Notice::Changed(domain) => match with_cid(&domain) {
                Some((uuid, cid)) => {
                    self.cids.insert(uuid, cid);
                }
                None => {
                    self.cids.remove(&domain.uuid);
                }
            },
            Notice::Gone(uuid) | Notice::MigratedAway(uuid) => {
                self.cids.remove(&uuid);
            }
            Notice::Current(since) => self.current = Some(since),
            // What is known is only ever a reason to ask.
            Notice::Lost(_) => {}
        }
    }
}

fn settings(host: &Host) -> WatchSettings {
    let devices = true;
    WatchSettings {
        devices,
        ..WatchSettings::new(host.uri())
    }
}

fn with_cid(domain: &WatchedDomain) -> Option<(Uuid, u32)> {
    Some((domain.uuid, cid_of(domain)?))
}

/// The CID of a domain that is on.
fn cid_of(domain: &WatchedDomain) -> Option<u32> {
    domain.instance?;
    domain.devices.as_ref()?.as_ref().ok()?.cid
}

fn guest_with(
    connection: &Arc<Connection>,
    uuid: Uuid,
    cid: u32,
    settings: &WatchSettings,
) -> Result<Option<DomainIdentity>, Fault> {
    let Some(domain) = connection.handle(uuid)? else {
        return Ok(None);
    };
    let watched = connection.watched(&domain, settings)?;
    let guest = watched.filter(|watched| cid_of(watched) == Some(cid));
    Ok(guest.map(|guest| DomainIdentity {
        name: guest.name,
        uuid: guest.uuid,
    }))
}
