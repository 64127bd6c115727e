//! Watching domains, on libvirt's test driver in this process and in a private libvirtd that is stopped
//! and killed.

use std::collections::BTreeMap;

use tokio::time::timeout;
use virt::connect::Connect;

use super::super::watch::{Notice, WatchSettings, WatchedDomain, Watcher};
use super::libvirtd::Libvirtd;
use super::*;

const RUNNING: u8 = 1;
const PAUSED: u8 = 3;
const SHUT_OFF: u8 = 5;

/// A watcher and what it has told.
struct Seen {
    watcher: Watcher,
    domains: BTreeMap<Uuid, WatchedDomain>,
    up: bool,
    snapshots: usize,
    losses: Vec<String>,
    current: Option<Instant>,
}

impl Seen {
    fn start(settings: WatchSettings) -> Self {
        Self::of_watcher(Watcher::start(settings))
    }

    fn of_watcher(watcher: Watcher) -> Self {
        Self {
            watcher,
            domains: BTreeMap::new(),
            up: false,
            snapshots: 0,
            losses: Vec::new(),
            current: None,
        }
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Snapshot(domains) => {
                let domains = domains.into_iter();
                self.domains = domains.map(|domain| (domain.uuid, domain)).collect();
                self.up = true;
                self.snapshots += 1;
            }
            Notice::Changed(domain) => {
                assert!(self.up);
                self.domains.insert(domain.uuid, domain);
            }
            Notice::Gone(uuid) | Notice::MigratedAway(uuid) => {
                assert!(self.up);
                self.domains.remove(&uuid);
            }
            Notice::Current(moment) => {
                assert!(self.up);
                self.current = Some(moment);
            }
            Notice::Lost(reason) => {
                self.domains.clear();
                self.up = false;
                self.losses.push(reason);
            }
        }
    }

    /// Listens until what was told is as wanted.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(60);
        while !wanted(self) {
            let left = give_up.saturating_duration_since(Instant::now());
            let notice = timeout(left, self.watcher.next()).await;
            let notice = notice.unwrap_or_else(|_| panic!("never {what}: {:?}", self.domains));
            self.take(notice);
        }
    }

    fn of(&self, name: &str) -> Option<&WatchedDomain> {
        self.domains.values().find(|domain| domain.name == name)
    }

    fn is(&self, name: &str, state: u8) -> bool {
        let domain = self.of(name);
        domain.is_some_and(|domain| domain.state == state)
            && domain.is_some_and(|domain| (state == SHUT_OFF) == domain.instance.is_none())
    }
}

/// Somebody else at the same libvirtd.
fn admin(libvirtd: &Libvirtd) -> Connect {
    Connect::open(Some(&libvirtd.uri())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_happens_to_a_domain_is_told() {
    let libvirtd = Libvirtd::start().await;
    let mut seen = Seen::start(WatchSettings::new(&libvirtd.uri()));
    seen.until("listed", |seen| seen.is("test", RUNNING)).await;
    let admin = admin(&libvirtd);
    let domain = Domain::define_xml(&admin, &running("vm", uuid(1))).unwrap();
    seen.until("defined", |seen| seen.is("vm", SHUT_OFF)).await;
    domain.create().unwrap();
    seen.until("started", |seen| seen.is("vm", RUNNING)).await;
    let first = seen.of("vm").unwrap().instance;
    domain.suspend().unwrap();
    seen.until("suspended", |seen| seen.is("vm", PAUSED)).await;
    domain.resume().unwrap();
    seen.until("resumed", |seen| seen.is("vm", RUNNING)).await;
    domain.destroy().unwrap();
    domain.create().unwrap();
    let again = |seen: &Seen| seen.is("vm", RUNNING) && seen.of("vm").unwrap().instance != first;
    seen.until("started again", again).await;
    domain.undefine().unwrap();
    let transient = |seen: &Seen| seen.of("vm").is_some_and(|domain| !domain.persistent);
    seen.until("undefined", transient).await;
    domain.destroy().unwrap();
    seen.until("gone", |seen| seen.of("vm").is_none()).await;
    assert_eq!((seen.snapshots, seen.losses.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_of_a_driver_in_this_process_are_watched() {
    let mut seen = Seen::start(WatchSettings::new("test:///default"));
    seen.until("listed", |seen| seen.is("test", RUNNING)).await;
    let admin = Connect::open(Some("test:///default")).unwrap();
    let domain = Domain::create_xml(&admin, &running("watched-here", uuid(7)), 0).unwrap();
    seen.until("started", |seen| seen.is("watched-here", RUNNING))
        .await;
    domain.destroy().unwrap();
    seen.until("gone", |seen| seen.of("watched-here").is_none())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backend_on_a_driver_in_this_process_is_watched_as_it_acts() {
    let dir = Dir::new();
    let node = dir.node("node", &[running("a", uuid(1)), running("b", uuid(2))]);
    let rig = Rig::new(&[node]).await;
    let mut watchers = rig.backend.watch(&WatchSettings::new("")).into_iter();
    let mut seen = Seen::of_watcher(watchers.next().unwrap());
    assert!(watchers.next().is_none());
    seen.until("listed", |seen| seen.is("a", RUNNING)).await;
    assert_eq!(rig.order(Action::Off, "a").await, SUCCESS);
    seen.until("off", |seen| seen.is("a", SHUT_OFF)).await;
    assert!(seen.is("b", RUNNING));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_between_registering_and_listing() {
    let libvirtd = Libvirtd::start().await;
    let admin = admin(&libvirtd);
    for number in 0..20 {
        Domain::define_xml(&admin, &running(&format!("vm{number}"), uuid(number))).unwrap();
    }
    // Domains come and go all the time, also while watchers begin.
    let busy = std::thread::spawn(move || {
        for round in 0..40 {
            for number in 0..20 {
                let domain = Domain::lookup_by_name(&admin, &format!("vm{number}")).unwrap();
                if (round + number) % 2 == 0 {
                    domain.create().unwrap();
                } else if domain.is_active().unwrap() {
                    domain.destroy().unwrap();
                }
            }
        }
        admin
    });
    let mut watchers: Vec<_> = (0..8)
        .map(|_| Seen::start(WatchSettings::new(&libvirtd.uri())))
        .collect();
    let admin = tokio::task::spawn_blocking(|| busy.join().unwrap())
        .await
        .unwrap();
    let truth: BTreeMap<_, _> = (0..20)
        .map(|number| {
            let name = format!("vm{number}");
            let domain = Domain::lookup_by_name(&admin, &name).unwrap();
            (name, domain.get_id())
        })
        .collect();
    for seen in &mut watchers {
        let agrees = |seen: &Seen| {
            truth.iter().all(|(name, instance)| {
                let domain = seen.of(name);
                domain.is_some_and(|domain| domain.instance == *instance)
            })
        };
        seen.until("as it is", agrees).await;
        assert_eq!(seen.snapshots, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_is_no_older_than_it_is_said_to_be() {
    let libvirtd = Libvirtd::start().await;
    let mut seen = Seen::start(WatchSettings::new(&libvirtd.uri()));
    seen.until("listed", |seen| seen.current.is_some()).await;
    let admin = admin(&libvirtd);
    let domain = Domain::define_xml(&admin, &running("vm", uuid(1))).unwrap();
    let mut before = None;
    for _ in 0..100 {
        domain.create().unwrap();
        let instance = domain.get_id();
        assert!(instance.is_some() && instance != before);
        before = instance;
        let started = Instant::now();
        seen.watcher.refresh();
        seen.until("current", |seen| seen.current > Some(started))
            .await;
        assert_eq!(seen.of("vm").unwrap().instance, instance);
        domain.destroy().unwrap();
        let stopped = Instant::now();
        seen.watcher.refresh();
        seen.until("current", |seen| seen.current > Some(stopped))
            .await;
        assert_eq!(seen.of("vm").unwrap().instance, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_thousand_domains_cause_no_list() {
    let libvirtd = Libvirtd::start().await;
    let mut seen = Seen::start(WatchSettings::new(&libvirtd.uri()));
    seen.until("listed", |seen| seen.up).await;
    let admin = admin(&libvirtd);
    let busy = std::thread::spawn(move || {
        for number in 0..1000 {
            let xml = running(&format!("vm{number}"), uuid(number));
            Domain::create_xml(&admin, &xml, 0).unwrap();
        }
        admin
    });
    seen.until("all there", |seen| seen.domains.len() == 1001)
        .await;
    let admin = busy.join().unwrap();
    let unread = Seen::start(WatchSettings::new(&libvirtd.uri()));
    tokio::task::spawn_blocking(move || {
        for number in 0..1000 {
            let domain = Domain::lookup_by_name(&admin, &format!("vm{number}")).unwrap();
            domain.destroy().unwrap();
        }
    })
    .await
    .unwrap();
    seen.until("all gone", |seen| seen.domains.len() == 1).await;
    assert_eq!(seen.snapshots, 1);
    // Who has not listened meanwhile hears of it all the same.
    let mut unread = unread;
    unread
        .until("all gone", |seen| seen.up && seen.domains.len() == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_libvirtd_is_a_loss_at_once_and_a_snapshot_when_it_is_back() {
    let mut libvirtd = Libvirtd::start().await;
    let mut seen = Seen::start(WatchSettings::new(&libvirtd.uri()));
    seen.until("listed", |seen| seen.is("test", RUNNING)).await;
    for round in 1..=2 {
        Domain::define_xml(&admin(&libvirtd), &running("vm", uuid(1))).unwrap();
        seen.until("defined", |seen| seen.is("vm", SHUT_OFF)).await;
        libvirtd.kill();
        seen.until("lost", |seen| !seen.up).await;
        libvirtd.start_again().await;
        seen.until("listed again", |seen| seen.is("test", RUNNING))
            .await;
        // The test driver forgets; so must we.
        assert!(seen.of("vm").is_none());
        assert_eq!(seen.snapshots, 1 + round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_libvirtd_is_a_loss_and_a_snapshot_when_it_goes_on() {
    let libvirtd = Libvirtd::start().await;
    let mut settings = WatchSettings::new(&libvirtd.uri());
    settings.ping = Duration::from_millis(300);
    settings.patience = Duration::from_secs(2);
    let mut seen = Seen::start(settings);
    seen.until("listed", |seen| seen.is("test", RUNNING)).await;
    for _ in 0..2 {
        let stopped = libvirtd.stop();
        seen.until("lost", |seen| !seen.up).await;
        // Further tries hang as well.
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(stopped);
        seen.until("listed again", |seen| seen.is("test", RUNNING))
            .await;
        // Events come on the new connection.
        let admin = admin(&libvirtd);
        let domain = Domain::create_xml(&admin, &running("vm", uuid(1)), 0).unwrap();
        seen.until("started", |seen| seen.is("vm", RUNNING)).await;
        domain.destroy().unwrap();
        seen.until("gone", |seen| seen.of("vm").is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_that_starts_before_libvirtd_says_what_is_missing_and_then_lists() {
    let mut libvirtd = Libvirtd::start().await;
    libvirtd.kill();
    let mut seen = Seen::start(WatchSettings::new(&libvirtd.uri()));
    seen.until("lost", |seen| !seen.losses.is_empty()).await;
    assert!(seen.losses[0].contains("libvirt-sock"), "{:?}", seen.losses);
    libvirtd.start_again().await;
    seen.until("listed", |seen| seen.is("test", RUNNING)).await;
    assert_eq!(seen.losses.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_listed_anew_at_intervals_and_when_asked_for() {
    let libvirtd = Libvirtd::start().await;
    let mut settings = WatchSettings::new(&libvirtd.uri());
    settings.resync = Duration::from_millis(200);
    let mut seen = Seen::start(settings);
    seen.until("listed often", |seen| seen.snapshots >= 3).await;
    let mut calm = Seen::start(WatchSettings::new(&libvirtd.uri()));
    calm.until("listed", |seen| seen.snapshots == 1).await;
    calm.watcher.resync();
    calm.until("listed again", |seen| seen.snapshots == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_domains_that_are_on_are_told_when_asked_for() {
    let libvirtd = Libvirtd::start().await;
    let mut settings = WatchSettings::new(&libvirtd.uri());
    settings.devices = true;
    let mut seen = Seen::start(settings);
    let admin = admin(&libvirtd);
    let device =
        "<devices><serial type='unix'><source mode='bind' path='/tmp/x'/></serial></devices>";
    let xml = domain_in("vm", uuid(1), RUNNING, device);
    let domain = Domain::define_xml(&admin, &xml).unwrap();
    seen.until("defined", |seen| seen.is("vm", SHUT_OFF)).await;
    assert_eq!(seen.of("vm").unwrap().devices, None);
    domain.create().unwrap();
    seen.until("started", |seen| seen.is("vm", RUNNING)).await;
    let devices = seen.of("vm").unwrap().devices.clone().unwrap().unwrap();
    assert_eq!(devices.serial, [PathBuf::from("/tmp/x")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_watcher_leaves_no_thread() {
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        // Those of this test: watchers of other tests run at the same time.
        names.filter(|name| name.starts_with("virt-watch")).count()
    };
    let libvirtd = Libvirtd::start().await;
    let mut many: Vec<_> = (0..30)
        .map(|_| Seen::start(WatchSettings::new(&libvirtd.uri())))
        .collect();
    for seen in &mut many {
        seen.until("listed", |seen| seen.up).await;
    }
    assert!(threads() >= 60);
    drop(many);
    eventually(async || threads() < 60).await;
}
