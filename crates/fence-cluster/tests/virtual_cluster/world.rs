//! Everything together: the clock, the hosts, the bus, the fencing, and what a test does to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fence_cluster::seam::{
    Event, Job, JobId, LeaveReason, MemberId, Migration, NodeId, Now, Outcome, Output, Proof,
    Request, Ticket, WallTime,
};
use fence_proto::host::Answer;
use fence_proto::{Access, Action, DomainRef, Moment, Reply, Requester, Source, Uuid};

use super::bus::{Bus, DETECT, FORM, Handed};
use super::host::{DESTROY, Daemon, Doing, Host, Inbox, LOOK, SILENT, START, Setup, Told};
use super::libvirt::{Libvirt, Run};
use super::truth::Asked;

/// The wall clock at the test's zero, in milliseconds.
const EPOCH: u64 = 1_700_000_000_000;

pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) hosts: BTreeMap<u32, Host>,
    pub(crate) bus: Bus,
    pub(crate) setup: Setup,
    /// When each host was last fenced.
    pub(crate) fenced: BTreeMap<u32, WallTime>,
    /// Requests under way and over, by ticket.
    pub(crate) asked: BTreeMap<u64, Asked>,
    pub(crate) access: Arc<Access>,
    next_run: Run,
    next_ticket: u64,
    next_pid: u32,
    /// Every start that a daemon made: when, where, what.
    pub(crate) starts: Vec<(Moment, u32, Uuid)>,
    pub(crate) log: Vec<String>,
    /// Somebody starts domains by hand on hosts that are cut off, which nobody can know.
    pub(crate) by_hand: bool,
    /// When each domain was last started by somebody else.
    pub(crate) booted: BTreeMap<String, Moment>,
    /// When each daemon was last stopped by a signal.
    pub(crate) frozen: BTreeMap<u32, Moment>,
}

pub(crate) fn uuid(number: u8) -> Uuid {
    Uuid([number; 16])
}

impl World {
    /// So many hosts, all up and in one group, with libvirts that have nothing.
    pub(crate) fn new(hosts: u32) -> Self {
        let mut world = Self::cold(hosts, Setup::default());
        for node in 1..=hosts {
            world.start_daemon(node);
        }
        world.run_for(Duration::from_secs(1));
        world
    }

    /// As [`Self::new`], configured otherwise.
    pub(crate) fn with(hosts: u32, setup: Setup) -> Self {
        let mut world = Self::cold(hosts, setup);
        for node in 1..=hosts {
            world.start_daemon(node);
        }
        world.run_for(Duration::from_secs(1));
        world
    }

    /// Hosts without daemons.
    pub(crate) fn cold(hosts: u32, setup: Setup) -> Self {
        let host = |node| Host {
            node,
            power: true,
            libvirt: Libvirt::default(),
            daemon: None,
            original: None,
            orphans: Vec::new(),
        };
        Self {
            now: Moment::ZERO + Duration::from_secs(100),
            hosts: (1..=hosts).map(|node| (node, host(node))).collect(),
            bus: Bus::new(hosts),
            setup,
            fenced: BTreeMap::new(),
            asked: BTreeMap::new(),
            access: Arc::new(Access::unrestricted()),
            next_run: 1,
            next_ticket: 1,
            next_pid: 1000,
            starts: Vec::new(),
            log: Vec::new(),
            by_hand: false,
            booted: BTreeMap::new(),
            frozen: BTreeMap::new(),
        }
    }

    pub(crate) fn clock(&self) -> Now {
        let ms = u64::try_from(self.now.since_epoch().as_millis()).unwrap();
        Now {
            moment: self.now,
            wall: WallTime(EPOCH + ms),
        }
    }

    pub(crate) fn host(&mut self, node: u32) -> &mut Host {
        self.hosts.get_mut(&node).unwrap()
    }

    fn daemon(&mut self, node: u32) -> Option<&mut Daemon> {
        self.host(node).daemon.as_mut()
    }

    /// The host's daemon, in the group.
    pub(crate) fn member(&mut self, node: u32) -> MemberId {
        self.daemon(node).unwrap().me
    }

    // --- What a test does ---

    pub(crate) fn start_daemon(&mut self, node: u32) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let me = MemberId {
            node: NodeId(node),
            pid,
        };
        let daemon = Daemon::new(me, self.setup, self.clock());
        self.host(node).daemon = Some(daemon);
        let names = self
            .hosts
            .keys()
            .map(|node| (NodeId(*node), format!("h{node}")));
        let names = names.collect();
        self.feed(node, Event::Hosts(names));
        if !self.host(node).libvirt.hung {
            self.post(node, Duration::from_millis(3), Inbox::Inventory);
        }
        if self.bus.rings.contains_key(&node) {
            self.bus.join(self.now, me);
        }
    }

    /// Ends a daemon: stopped or killed.
    pub(crate) fn end_daemon(&mut self, node: u32, reason: LeaveReason) {
        let Some(daemon) = self.host(node).daemon.take() else {
            return;
        };
        let open = daemon.doing.into_iter();
        for doing in open.filter(|doing| doing.outcome.is_none()) {
            if self.host(node).libvirt.hung {
                self.host(node).orphans.push(doing);
            } else {
                self.effect(node, doing.job);
            }
        }
        self.bus.leave(self.now, node, reason);
    }

    pub(crate) fn freeze_daemon(&mut self, node: u32) {
        self.frozen.insert(node, self.now);
        self.daemon(node).unwrap().stopped = true;
    }

    pub(crate) fn thaw_daemon(&mut self, node: u32) {
        self.daemon(node).unwrap().stopped = false;
    }

    /// Power off, at once.
    pub(crate) fn power_off(&mut self, node: u32) {
        let host = self.host(node);
        host.power = false;
        host.daemon = None;
        host.original = None;
        host.orphans.clear();
        let was: Vec<_> = host.libvirt.domains.keys().copied().collect();
        for uuid in was {
            self.abandon_migration(uuid, node);
            self.host(node).libvirt.end(uuid, Migration::None);
        }
        let libvirt = &mut self.host(node).libvirt;
        libvirt.hung = false;
        libvirt.kept.clear();
        for domain in libvirt.domains.values_mut() {
            domain.migration = Migration::None;
        }
        self.bus.rings.remove(&node);
        self.bus.leave(self.now, node, LeaveReason::NodeDown);
        self.bus.form_in(self.now, DETECT);
    }

    pub(crate) fn power_on(&mut self, node: u32) {
        self.host(node).power = true;
        self.bus.rings.insert(node, 0);
        self.start_daemon(node);
    }

    /// Switched on, cut off from the others, without its daemon.
    pub(crate) fn power_on_alone(&mut self, node: u32) {
        self.host(node).power = true;
        self.bus.rings.insert(node, 1);
        self.bus.form_in(self.now, FORM);
    }

    /// Fenced: off, with a proof of it.
    pub(crate) fn fence(&mut self, node: u32) {
        self.power_off(node);
        let wall = self.clock().wall;
        // The fencer knows whole seconds.
        self.fenced.insert(node, WallTime(wall.0 / 1000 * 1000));
    }

    /// Cuts hosts off from the others, into a partition of their own.
    pub(crate) fn cut(&mut self, nodes: &[u32], ring: u32) {
        for node in nodes {
            self.bus.rings.insert(*node, ring);
        }
        self.bus.form_in(self.now, DETECT);
    }

    pub(crate) fn heal(&mut self) {
        for ring in self.bus.rings.values_mut() {
            *ring = 0;
        }
        self.bus.form_in(self.now, FORM);
    }

    /// Corosync dies on one host; the daemon notices at once.
    pub(crate) fn kill_corosync(&mut self, node: u32) {
        self.bus.rings.remove(&node);
        self.bus.leave(self.now, node, LeaveReason::NodeDown);
        self.bus.form_in(self.now, DETECT);
        self.post(node, Duration::ZERO, Inbox::Disconnected);
    }

    pub(crate) fn restart_corosync(&mut self, node: u32) {
        self.bus.rings.insert(node, 0);
        if let Some(daemon) = self.daemon(node) {
            let me = daemon.me;
            self.bus.join(self.now, me);
        }
    }

    pub(crate) fn hang_libvirt(&mut self, node: u32) {
        self.host(node).libvirt.hung = true;
        self.post(node, SILENT, Inbox::InventoryLost);
    }

    /// libvirt answers again, and first does what it was told.
    pub(crate) fn free_libvirt(&mut self, node: u32) {
        self.host(node).libvirt.hung = false;
        let orphans = std::mem::take(&mut self.host(node).orphans);
        for doing in orphans {
            self.effect(node, doing.job);
        }
        self.post(node, Duration::from_millis(5), Inbox::Inventory);
    }

    pub(crate) fn define(&mut self, node: u32, number: u8) {
        self.host(node).libvirt.define(uuid(number), &name(number));
        self.changed(node, uuid(number));
    }

    /// Somebody starts it by hand.
    pub(crate) fn boot(&mut self, node: u32, number: u8) {
        self.booted.insert(name(number), self.now);
        let run = self.fresh_run();
        self.host(node)
            .libvirt
            .run(uuid(number), &name(number), run);
        self.changed(node, uuid(number));
    }

    /// Defined and running.
    pub(crate) fn install(&mut self, node: u32, number: u8) {
        self.define(node, number);
        self.boot(node, number);
    }

    /// The guest shuts itself down.
    pub(crate) fn shut_down(&mut self, node: u32, number: u8) {
        self.host(node).libvirt.end(uuid(number), Migration::None);
        self.changed(node, uuid(number));
    }

    pub(crate) fn undefine(&mut self, node: u32, number: u8) {
        self.host(node).libvirt.domains.remove(&uuid(number));
        self.changed(node, uuid(number));
    }

    /// A live migration begins.
    pub(crate) fn migrate(&mut self, number: u8, from: u32, to: u32) {
        let uuid = uuid(number);
        let run = self.host(from).libvirt.run_of(uuid).unwrap();
        let domain = self.host(from).libvirt.domains.get_mut(&uuid).unwrap();
        domain.migration = Migration::Outgoing;
        let there = &mut self.host(to).libvirt;
        there.run(uuid, &name(number), run);
        let domain = there.domains.get_mut(&uuid).unwrap();
        domain.migration = Migration::Incoming;
        domain.state = 3;
        // libvirt has an event for the incoming half, and none for the outgoing.
        self.changed(to, uuid);
    }

    /// It runs at the destination, if both halves are still there.
    pub(crate) fn switch_over(&mut self, number: u8, from: u32, to: u32) {
        let uuid = uuid(number);
        let there = self.host(to).libvirt.migration_of(uuid) == Migration::Incoming;
        let here = self.host(from).libvirt.migration_of(uuid) == Migration::Outgoing;
        if !there || !here {
            return;
        }
        let run = self.host(from).libvirt.run_of(uuid).unwrap();
        self.host(to).libvirt.run(uuid, &name(number), run);
        self.host(from).libvirt.end(uuid, Migration::Outgoing);
        self.changed(to, uuid);
        self.changed(from, uuid);
    }

    /// One half of a migration is gone: what becomes of the other.
    pub(crate) fn abandon_migration(&mut self, uuid: Uuid, gone: u32) {
        let half = self.host(gone).libvirt.migration_of(uuid);
        if self.host(gone).libvirt.run_of(uuid).is_none() {
            return;
        }
        let others: Vec<_> = self.hosts.keys().copied().filter(|n| *n != gone).collect();
        for other in others {
            let libvirt = &mut self.host(other).libvirt;
            match (half, libvirt.migration_of(uuid)) {
                (Migration::Incoming, Migration::Outgoing) => {
                    // It goes on at the source.
                    if let Some(domain) = libvirt.domains.get_mut(&uuid) {
                        domain.migration = Migration::None;
                    }
                }
                (Migration::Outgoing, Migration::Incoming) if self.hosts[&gone].power => {
                    self.host(other).libvirt.end(uuid, Migration::None);
                    self.changed(other, uuid);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn request(&mut self, node: u32, action: Action, domain: &str) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let request = Request {
            action,
            domain: DomainRef::new(domain).unwrap(),
            requester: Requester::new(
                Source::Ip("10.0.0.1".parse().unwrap()),
                Arc::clone(&self.access),
            ),
            start_by: self.now + Duration::from_secs(20),
            answer_by: self.now + Duration::from_secs(25),
        };
        let asked = Asked::new(self, node, action, domain);
        self.asked.insert(ticket, asked);
        self.feed(node, Event::Request(Ticket(ticket), request));
        ticket
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, node: u32, action: Action, domain: &str) -> Told {
        let ticket = self.request(node, action, domain);
        self.answer(ticket)
    }

    /// Waits for the answer to a request.
    pub(crate) fn answer(&mut self, ticket: u64) -> Told {
        let asked = &self.asked[&ticket];
        let (node, until) = (asked.node, asked.at + Duration::from_secs(26));
        self.run_until(until, |world| world.told(node, ticket).is_some());
        let told = self.told(node, ticket);
        told.unwrap_or_else(|| panic!("no answer in time\n{}", self.log.join("\n")))
    }

    pub(crate) fn told(&self, node: u32, ticket: u64) -> Option<Told> {
        let daemon = self.hosts[&node].daemon.as_ref()?;
        daemon.told.get(&ticket).cloned()
    }

    pub(crate) fn reply(&mut self, node: u32, action: Action, domain: &str) -> Reply {
        match self.ask(node, action, domain).answer {
            Answer::Reply(reply) => reply,
            Answer::List(_) => Reply::HostListFollows,
            Answer::NotStarted(_) => Reply::Failure,
        }
    }

    /// Where the domain runs, a migration's incoming half not counted.
    pub(crate) fn runs_on(&self, number: u8) -> Vec<u32> {
        let runs = |host: &&Host| {
            let domain = host.libvirt.domains.get(&uuid(number));
            domain.is_some_and(|d| d.run.is_some() && d.migration != Migration::Incoming)
        };
        let hosts = self.hosts.values().filter(runs);
        hosts.map(|host| host.node).collect()
    }

    // --- How it goes on ---

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time, |_| false);
    }

    pub(crate) fn run_until(&mut self, until: Moment, done: impl Fn(&Self) -> bool) {
        let mut at_once = 0;
        while !done(self) {
            let next = self.next_due().filter(|due| *due <= until);
            let Some(due) = next else {
                self.now = until;
                return;
            };
            if due > self.now {
                self.now = due;
                at_once = 0;
            }
            at_once += 1;
            assert!(
                at_once < 50_000,
                "time stands still\n{}",
                self.log.join("\n")
            );
            self.step();
        }
    }

    fn next_due(&self) -> Option<Moment> {
        let mut due: Vec<_> = self.bus.due().into_iter().collect();
        for host in self.hosts.values() {
            if let Some(daemon) = &host.daemon {
                due.extend(daemon.due());
                let open = |doing: &&Doing| !daemon.stopped || doing.outcome.is_none();
                for doing in daemon.doing.iter().filter(open) {
                    let held = host.libvirt.hung && doing.outcome.is_none();
                    match (held, daemon.stopped) {
                        (true, true) => {}
                        (true, false) => due.push(doing.silent),
                        (false, _) => due.push(doing.due),
                    }
                }
            }
        }
        due.into_iter().min().map(|due| due.max(self.now))
    }

    fn step(&mut self) {
        let nodes: Vec<_> = self.hosts.keys().copied().collect();
        if self.bus.due().is_some_and(|due| due <= self.now) {
            for (member, handed) in self.bus.turn(self.now) {
                let node = member.node.0;
                let original = self.host(node).original.as_ref();
                if original.is_some_and(|original| original.me == member) {
                    self.hand_original(node, handed);
                } else if self.daemon(node).is_some_and(|daemon| daemon.me == member) {
                    self.post(node, Duration::ZERO, Inbox::Handed(handed));
                }
            }
            return;
        }
        for node in nodes {
            if self.step_host(node) {
                return;
            }
        }
    }

    fn step_host(&mut self, node: u32) -> bool {
        let now = self.now;
        let hung = self.host(node).libvirt.hung;
        if !hung && self.execute(node) {
            return true;
        }
        let Some(daemon) = self.daemon(node).filter(|daemon| !daemon.stopped) else {
            return false;
        };
        if daemon.inbox.front().is_some_and(|(due, _)| *due <= now) {
            let (_, item) = daemon.inbox.pop_front().unwrap();
            self.take(node, item);
            return true;
        }
        let due = |doing: &Doing| {
            let held = hung && doing.outcome.is_none();
            now >= if held { doing.silent } else { doing.due }
        };
        if let Some(index) = daemon.doing.iter().position(due) {
            let doing = daemon.doing.remove(index);
            self.end_job(node, doing);
            return true;
        }
        if daemon
            .core
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.feed(node, Event::Tick);
            return true;
        }
        false
    }

    pub(crate) fn post(&mut self, node: u32, after: Duration, item: Inbox) {
        let due = self.now + after;
        if let Some(daemon) = self.daemon(node) {
            let behind = daemon.inbox.iter().rposition(|(other, _)| *other <= due);
            let at = behind.map_or(0, |at| at + 1);
            daemon.inbox.insert(at, (due, item));
        }
    }

    /// libvirt says that something has changed.
    pub(crate) fn changed(&mut self, node: u32, uuid: Uuid) {
        self.post(node, Duration::from_millis(2), Inbox::Changed(uuid));
    }

    fn take(&mut self, node: u32, item: Inbox) {
        match item {
            Inbox::Handed(Handed::Membership { members, left }) => {
                self.feed(node, Event::Membership { members, left });
            }
            Inbox::Handed(Handed::Nodes { nodes, quorum }) => {
                self.feed(node, Event::Nodes(nodes));
                self.feed(node, Event::Quorum(quorum));
            }
            Inbox::Handed(Handed::Message { from, bytes }) => {
                let bytes = &bytes;
                self.feed(node, Event::Delivered { from, bytes });
            }
            Inbox::Disconnected => self.feed(node, Event::Disconnected),
            Inbox::Changed(uuid) => {
                if self.host(node).libvirt.hung {
                    return;
                }
                match self.host(node).libvirt.describe(uuid) {
                    Some(domain) => self.feed(node, Event::Changed(domain)),
                    None => self.feed(node, Event::Gone(uuid)),
                }
            }
            Inbox::Inventory => {
                if self.host(node).libvirt.hung {
                    return;
                }
                let all = self.host(node).libvirt.all();
                self.daemon(node).unwrap().has_inventory = true;
                self.feed(node, Event::Inventory(all));
            }
            Inbox::InventoryLost => {
                if self.host(node).libvirt.hung {
                    self.feed(node, Event::InventoryLost);
                }
            }
            Inbox::Proof(of, since) => {
                let proof = match self.fenced.get(&of.0) {
                    Some(at) if *at >= since => Proof::Fenced {
                        at: *at,
                        by: "test".to_owned(),
                    },
                    _ => Proof::NotFenced,
                };
                let node_id = of;
                self.feed(
                    node,
                    Event::Proof {
                        node: node_id,
                        since,
                        proof,
                    },
                );
            }
        }
    }

    /// Gives the core an event, and does what it says.
    pub(crate) fn feed(&mut self, node: u32, event: Event<'_>) {
        let clock = self.clock();
        let Some(daemon) = self.daemon(node) else {
            return;
        };
        let mut out = Vec::new();
        daemon.core.handle(clock, event, &mut out);
        for output in out {
            self.obey(node, output);
        }
    }

    fn obey(&mut self, node: u32, output: Output) {
        let now = self.now;
        match output {
            Output::Send(bytes) => {
                let me = self.daemon(node).unwrap().me;
                self.bus.send(now, me, bytes);
            }
            Output::Do(id, job) => self.begin_job(node, id, job),
            Output::AskProof {
                node: of, since, ..
            } => {
                self.post(node, Duration::from_millis(20), Inbox::Proof(of, since));
            }
            Output::Reply(Ticket(ticket), answer, why) => {
                let at = now.since_epoch().as_secs_f64();
                self.log.push(format!(
                    "{at:.3} h{node} answers {ticket}: {answer:?} {why:?}"
                ));
                let told = Told {
                    at: now,
                    answer,
                    why,
                };
                self.check(node, ticket, &told);
                let daemon = self.daemon(node).unwrap();
                let twice = daemon.told.insert(ticket, told);
                assert!(twice.is_none(), "answered twice");
            }
            Output::Note(level, text) => {
                let at = now.since_epoch().as_secs_f64();
                self.log.push(format!("{at:.3} h{node} {level:?}: {text}"));
                self.daemon(node).unwrap().notes.push(text);
            }
        }
    }

    fn begin_job(&mut self, node: u32, id: JobId, job: Job) {
        let now = self.now;
        let at = now.since_epoch().as_secs_f64();
        self.log.push(format!("{at:.3} h{node} does {job:?}"));
        let (takes, silent) = match &job {
            Job::Off { end_by, .. } => (DESTROY, *end_by),
            Job::Start { end_by, .. } => (START, *end_by),
            _ => (LOOK, now + SILENT),
        };
        if let Job::Start { domain, .. } = &job {
            self.check_start(node, *domain);
        }
        let doing = Doing {
            id,
            job,
            due: now + takes,
            silent: silent.max(now),
            outcome: None,
        };
        let daemon = self.daemon(node).unwrap();
        let domain = |job: &Job| match job {
            Job::Look(domain)
            | Job::Forget(domain)
            | Job::Off { domain, .. }
            | Job::Start { domain, .. } => Some(*domain),
            Job::Find(_) | Job::Ping => None,
        };
        let same = |other: &Doing| {
            domain(&other.job).is_some() && domain(&other.job) == domain(&doing.job)
        };
        assert!(!daemon.doing.iter().any(same), "two jobs for one domain");
        daemon.doing.push(doing);
    }

    /// libvirt does what it was told, whatever has become of the daemon meanwhile.
    fn execute(&mut self, node: u32) -> bool {
        let now = self.now;
        let Some(daemon) = self.daemon(node) else {
            return false;
        };
        let open = |doing: &Doing| doing.outcome.is_none() && now >= doing.due;
        let Some(index) = daemon.doing.iter().position(open) else {
            return false;
        };
        let job = daemon.doing[index].job.clone();
        let outcome = self.effect(node, job);
        let daemon = self.daemon(node).unwrap();
        daemon.doing[index].outcome = Some(outcome);
        true
    }

    fn end_job(&mut self, node: u32, doing: Doing) {
        let id = doing.id;
        let outcome = doing.outcome.clone().unwrap_or(Outcome::Silent);
        if doing.outcome.is_none() && matches!(doing.job, Job::Off { .. } | Job::Start { .. }) {
            self.host(node).orphans.push(doing);
        }
        let at = self.now.since_epoch().as_secs_f64();
        self.log
            .push(format!("{at:.3} h{node} job is over: {outcome:?}"));
        self.feed(node, Event::Done(id, outcome));
    }

    /// What libvirt does.
    fn effect(&mut self, node: u32, job: Job) -> Outcome {
        let libvirt = &self.hosts[&node].libvirt;
        match job {
            Job::Look(uuid) => Outcome::Found(libvirt.describe(uuid).into_iter().collect()),
            Job::Find(text) => Outcome::Found(libvirt.called(text.as_str())),
            Job::Ping => Outcome::Alive,
            Job::Forget(uuid) => {
                self.host(node).libvirt.kept.remove(&uuid);
                Outcome::WasAbsent
            }
            Job::Off {
                domain,
                keep_definition,
                ..
            } => self.destroy(node, domain, keep_definition),
            Job::Start { domain, .. } => self.start(node, domain),
        }
    }

    fn destroy(&mut self, node: u32, uuid: Uuid, keep: bool) -> Outcome {
        let libvirt = &self.hosts[&node].libvirt;
        let Some(domain) = libvirt.domains.get(&uuid).cloned() else {
            return Outcome::WasAbsent;
        };
        if domain.run.is_none() {
            return Outcome::WasOff;
        }
        self.abandon_migration(uuid, node);
        let libvirt = &mut self.host(node).libvirt;
        if keep && !domain.persistent {
            libvirt.kept.insert(uuid, domain.name.clone());
        }
        libvirt.end(uuid, Migration::None);
        self.changed(node, uuid);
        Outcome::Off {
            migrating: domain.migration != Migration::None,
            vanished: false,
        }
    }

    fn start(&mut self, node: u32, uuid: Uuid) -> Outcome {
        let libvirt = &mut self.host(node).libvirt;
        if libvirt.run_of(uuid).is_some() {
            return Outcome::Started;
        }
        let name = match (libvirt.domains.get(&uuid), libvirt.kept.remove(&uuid)) {
            (Some(domain), _) => domain.name.clone(),
            (None, Some(kept)) => kept,
            (None, None) => return Outcome::Failed("it is not defined here".to_owned()),
        };
        let run = self.fresh_run();
        self.host(node).libvirt.run(uuid, &name, run);
        self.starts.push((self.now, node, uuid));
        self.changed(node, uuid);
        Outcome::Started
    }

    pub(crate) fn fresh_run(&mut self) -> Run {
        self.next_run += 1;
        self.next_run
    }
}

pub(crate) fn name(number: u8) -> String {
    format!("vm{number}")
}
