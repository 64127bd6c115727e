//! The whole of it: hosts with their daemons, the network, the truth, what was asked, and what may
//! still go wrong. A state of the exploration.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use fence_cluster::seam::{
    Event, Job, JobId, LocalDomain, MemberId, NodeId, Now, Outcome, WallTime,
};
use fence_proto::{Moment, Uuid};

use crate::claims::{Asked, Flaws};
use crate::net::{Item, Net};
use crate::plan::{Kind, Plan};
use crate::rules::{Key, Rules, Setup};
use crate::step::Lane;
use crate::truth::Domain;

/// The wall clocks' time at the start: any will do.
const EPOCH: u64 = 1_700_000_000_000;

/// A state.
#[derive(Debug, Clone)]
pub(crate) struct World<R: Rules> {
    pub(crate) plan: Arc<Plan>,
    /// Milliseconds since the start.
    pub(crate) now: u64,
    pub(crate) truth: Vec<Domain>,
    pub(crate) hosts: Vec<Host<R>>,
    pub(crate) net: Net,
    pub(crate) asked: Vec<Asked>,
    /// By number of [`Kind`]: how often it may still happen.
    pub(crate) left: [u8; Kind::ALL.len()],
    pub(crate) faults: u8,
    pub(crate) stalls: u8,
    pub(crate) stalled: Vec<(usize, Lane)>,
    pub(crate) flaws: Flaws,
    /// What happened, when somebody wants to read it. No part of the state.
    pub(crate) log: Option<Vec<String>>,
}

/// A physical host.
#[derive(Debug, Clone)]
pub(crate) struct Host<R: Rules> {
    pub(crate) up: bool,
    pub(crate) down_since: u64,
    pub(crate) fenced_at: Option<u64>,
    pub(crate) libvirt: Libvirt,
    /// Calls that nobody waits for any more, and that libvirt may still carry out.
    pub(crate) late: Vec<Job>,
    pub(crate) daemon: Option<Daemon<R>>,
    pub(crate) next_pid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Libvirt {
    Fine,
    /// Does not answer; whether the daemon's calls time out.
    Hung {
        silent: bool,
    },
}

/// One run of the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Daemon<R: Rules> {
    pub(crate) id: MemberId,
    pub(crate) rules: Arc<R>,
    /// What the rules' state comes to, and when.
    pub(crate) digest: (u64, u64),
    pub(crate) hung: bool,
    pub(crate) inbox: VecDeque<Item>,
    /// What the last membership change that it got or will get said.
    pub(crate) view: Vec<MemberId>,
    pub(crate) quorum: VecDeque<Told>,
    /// The last that corosync told it.
    pub(crate) told: Option<(bool, Vec<NodeId>)>,
    pub(crate) local: VecDeque<Local>,
    pub(crate) jobs: Vec<Running>,
    pub(crate) done: VecDeque<(JobId, Outcome)>,
    pub(crate) proofs: Vec<(NodeId, WallTime)>,
    /// Domains whose definitions it kept for a start.
    pub(crate) kept: Vec<usize>,
    /// Who is there, as far as it has heard.
    pub(crate) here: Vec<MemberId>,
    /// Its own announcements that came back in time, and are not used up.
    pub(crate) begun: Vec<(Key, Uuid)>,
    /// The requests that it has heard are over.
    pub(crate) closed: Vec<Key>,
    /// When it ticked last to no effect.
    pub(crate) idle_at: Option<u64>,
}

/// What corosync tells besides messages, in no order with them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    Quorum(bool),
    Nodes(Vec<NodeId>),
}

/// What libvirt tells by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Local {
    Inventory(Vec<LocalDomain>),
    Changed(LocalDomain),
    Gone(Uuid),
    Lost,
}

/// A job that has not taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Running {
    pub(crate) id: JobId,
    pub(crate) job: Job,
    pub(crate) since: u64,
}

pub(crate) fn node(host: usize) -> NodeId {
    NodeId(u32::try_from(host).unwrap() + 1)
}

pub(crate) fn host_of(node: NodeId) -> usize {
    usize::try_from(node.0).unwrap() - 1
}

impl<R: Rules> World<R> {
    /// The start of a plan.
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let mut truth = vec![Domain::new(plan.hosts); plan.domains.len()];
        for (domain, place) in truth.iter_mut().zip(&plan.domains) {
            for host in &place.defined {
                domain.defined[*host] = true;
            }
            if let Some(host) = place.runs {
                domain.start(host);
            }
        }
        let mut left = [0; Kind::ALL.len()];
        for (kind, count) in &plan.menu {
            left[*kind as usize] = *count;
        }
        let host = Host {
            up: true,
            down_since: 0,
            fenced_at: None,
            libvirt: Libvirt::Fine,
            late: Vec::new(),
            daemon: None,
            next_pid: 1,
        };
        let mut world = Self {
            now: 1000,
            truth,
            hosts: vec![host; plan.hosts],
            net: Net::new(plan.hosts),
            asked: Vec::new(),
            left,
            faults: plan.faults,
            stalls: plan.stalls,
            stalled: Vec::new(),
            flaws: Flaws::default(),
            log: None,
            plan,
        };
        for host in 0..world.plan.hosts {
            world.start_daemon(host);
        }
        if world.plan.warm {
            world.settle();
        }
        world
    }

    /// Lets things take their usual course for some seconds, so that everybody knows everybody.
    fn settle(&mut self) {
        let until = self.now + 4000;
        while let Some(step) = self.usual_step(until) {
            self.apply(&step);
        }
    }

    pub(crate) fn clock(&self) -> Now {
        Now {
            moment: Moment::from_epoch(Duration::from_millis(self.now)),
            wall: self.wall(),
        }
    }

    pub(crate) const fn wall(&self) -> WallTime {
        WallTime(EPOCH + self.now)
    }

    pub(crate) fn wall_at(now: u64) -> WallTime {
        WallTime(EPOCH + now)
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(text());
        }
    }

    pub(crate) fn start_daemon(&mut self, host: usize) {
        let id = MemberId {
            node: node(host),
            pid: self.hosts[host].next_pid,
        };
        self.hosts[host].next_pid += 1;
        let setup = Setup {
            me: id,
            proofs: self.plan.proofs,
        };
        let rules = R::start(setup, self.clock());
        self.hosts[host].daemon = Some(Daemon {
            id,
            digest: (rules.digest(self.clock()), self.now),
            rules: Arc::new(rules),
            hung: false,
            inbox: VecDeque::new(),
            view: Vec::new(),
            quorum: VecDeque::new(),
            told: None,
            local: VecDeque::new(),
            jobs: Vec::new(),
            done: VecDeque::new(),
            proofs: Vec::new(),
            kept: Vec::new(),
            here: Vec::new(),
            begun: Vec::new(),
            closed: Vec::new(),
            idle_at: None,
        });
        let names = (0..self.plan.hosts).map(|host| (node(host), format!("host{host}")));
        self.feed(host, Event::Hosts(names.collect()));
        if self.hosts[host].libvirt == Libvirt::Fine {
            self.push_inventory(host);
        }
        self.reform();
    }

    pub(crate) fn push_inventory(&mut self, host: usize) {
        let seen = self.truth.iter().enumerate();
        let all = seen.filter_map(|(index, domain)| domain.seen_at(host, index));
        let all = all.collect();
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.local.push_back(Local::Inventory(all));
        }
    }

    /// Tells the daemons of these hosts what became of a domain there.
    pub(crate) fn touch(&mut self, domain: usize, hosts: &[usize]) {
        for &host in hosts {
            let seen = self.truth[domain].seen_at(host, domain);
            // One without a definition is seen to have moved before it is gone.
            let moved = self.truth[domain].seen_moved(host, domain);
            let moved = moved.filter(|_| seen.is_none());
            if self.hosts[host].libvirt != Libvirt::Fine {
                continue;
            }
            if let Some(daemon) = &mut self.hosts[host].daemon {
                let gone = Local::Gone(crate::truth::uuid(domain));
                let moved = moved.map(Local::Changed);
                daemon.local.extend(moved);
                daemon.local.push_back(seen.map_or(gone, Local::Changed));
            }
        }
        self.observe();
    }

    pub(crate) fn daemon(&self, host: usize) -> Option<&Daemon<R>> {
        self.hosts[host].daemon.as_ref()
    }
}

/// Equality and hash by these fields: the derives would ask them of `R`, whose digest stands for it.
macro_rules! compared_by {
    ($of:ident: $($field:ident),+) => {
        impl<R: Rules> PartialEq for $of<R> {
            fn eq(&self, other: &Self) -> bool {
                $(self.$field == other.$field)&&+
            }
        }

        impl<R: Rules> Hash for $of<R> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                $(self.$field.hash(state);)+
            }
        }
    };
}

compared_by!(World: now, truth, hosts, net, asked, left, faults, stalls, stalled, flaws);
compared_by!(Host: up, down_since, fenced_at, libvirt, late, daemon, next_pid);
compared_by!(Daemon: id, digest, hung, inbox, view, quorum, told, local, jobs, done, proofs, kept, here, begun, closed, idle_at);
