//! Which steps a state has.
//!
//! Usually things take their course: messages arrive in their order, everybody does at once what is
//! due, time passes when nothing else is left to do. From this course the explorer may depart in two ways: a *stall*
//! holds up one lane of one host for as long as one likes, while everything else goes on, time
//! too (but not while it is messages that are held up: corosync would say that the host is gone); and happenings come between any two steps. A plan that is `free` has no usual course: whatever may come
//! next may come next (but time still waits until nothing else can be done).

use fence_cluster::seam::Job;

use crate::claims::{Asked, PATIENCE};
use crate::rules::Rules;
use crate::step::{Lane, Step};
use crate::world::{Daemon, Libvirt, World};

/// How long a call to a hung libvirt is waited for.
const CALL: u64 = 5000;

impl<R: Rules> World<R> {
    /// Every possible step.
    pub(crate) fn steps(&self) -> Vec<Step> {
        if self.is_over() {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let due = self.due();
        if due.is_empty() {
            if self.net.torn {
                steps.push(Step::Notice);
            }
            if !self.withholds_messages() {
                steps.extend(self.advance());
            }
        }
        if self.stalls > 0 {
            let mut lanes: Vec<_> = due.iter().filter_map(Step::lane).collect();
            lanes.dedup();
            steps.extend(
                lanes
                    .into_iter()
                    .map(|(host, lane)| Step::Stall(host, lane)),
            );
        }
        let usual = if self.plan.free { due.len() } else { 1 };
        steps.extend(due.into_iter().take(usual));
        for (host, lane) in &self.stalled {
            if self
                .daemon(*host)
                .is_some_and(|daemon| daemon.waiting(*lane) > 0)
            {
                steps.push(Step::Unstall(*host, *lane));
            }
        }
        if self.may_ask() {
            steps.push(Step::Ask);
        }
        steps.extend(self.happenings().into_iter().map(Step::Happens));
        steps
    }

    /// The next step if nothing unusual happens until then.
    pub(crate) fn usual_step(&self, until: u64) -> Option<Step> {
        if let Some(step) = self.due().into_iter().next() {
            return Some(step);
        }
        if self.net.torn {
            return Some(Step::Notice);
        }
        let next = self.next_due()?;
        (next <= until).then_some(Step::Advance(next))
    }

    /// What daemons can do at once, in the usual order: the oldest message first.
    pub(crate) fn due(&self) -> Vec<Step> {
        let mut items = Vec::new();
        let mut rest = Vec::new();
        for host in 0..self.hosts.len() {
            let Some(daemon) = self.daemon(host).filter(|daemon| !daemon.hung) else {
                continue;
            };
            if let Some(item) = daemon.inbox.front()
                && !self.is_stalled(host, Lane::Inbox)
            {
                items.push((item.place, Step::Take(host, Lane::Inbox, 0)));
            }
            self.due_at(host, daemon, &mut rest);
        }
        items.sort_by_key(|(place, _)| *place);
        let mut steps: Vec<_> = items.into_iter().map(|(_, step)| step).collect();
        steps.extend(rest);
        // Deadlines come last, and never before messages that have arrived.
        for host in 0..self.hosts.len() {
            let ticks = self.daemon(host).is_some_and(|daemon| {
                let due = daemon.rules.deadline();
                let is_due = due.is_some_and(|due| due <= Self::moment(self.now));
                is_due
                    && daemon.inbox.is_empty()
                    && !daemon.hung
                    && daemon.idle_at != Some(self.now)
            });
            if ticks {
                steps.push(Step::Tick(host));
            }
        }
        steps
    }

    fn due_at(&self, host: usize, daemon: &Daemon<R>, steps: &mut Vec<Step>) {
        for lane in [Lane::Quorum, Lane::Local, Lane::Done] {
            if daemon.waiting(lane) > 0 && !self.is_stalled(host, lane) {
                steps.push(Step::Take(host, lane, 0));
            }
        }
        if !self.is_stalled(host, Lane::Proofs) {
            let proofs = 0..daemon.waiting(Lane::Proofs);
            steps.extend(proofs.map(|index| Step::Take(host, Lane::Proofs, index)));
        }
        for (index, running) in daemon.jobs.iter().enumerate() {
            match self.hosts[host].libvirt {
                Libvirt::Fine if self.is_stalled(host, Lane::Jobs) => {}
                Libvirt::Fine => steps.push(Step::Take(host, Lane::Jobs, index)),
                Libvirt::Hung { silent } => {
                    if silent && self.times_out_at(&running.job, running.since) <= self.now {
                        steps.push(Step::Silent(host, index));
                    }
                }
            }
        }
    }

    /// Some daemon's messages are held up. Corosync does not do that for long.
    fn withholds_messages(&self) -> bool {
        self.stalled.iter().any(|(host, lane)| {
            let daemon = self.daemon(*host);
            *lane == Lane::Inbox && daemon.is_some_and(|daemon| !daemon.inbox.is_empty())
        })
    }

    fn times_out_at(&self, job: &Job, since: u64) -> u64 {
        match job {
            Job::Off { end_by, .. } | Job::Start { end_by, .. } => {
                u64::try_from(end_by.since_epoch().as_millis()).unwrap_or(u64::MAX)
            }
            _ => since + CALL,
        }
    }

    fn is_stalled(&self, host: usize, lane: Lane) -> bool {
        self.stalled.contains(&(host, lane))
    }

    /// When something is due next.
    fn next_due(&self) -> Option<u64> {
        let mut next: Option<u64> = None;
        for host in 0..self.hosts.len() {
            let Some(daemon) = self.daemon(host).filter(|daemon| !daemon.hung) else {
                continue;
            };
            let deadline = daemon.rules.deadline().map(|deadline| {
                // Up to the next whole millisecond.
                let nanos = deadline.since_epoch().as_nanos();
                u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX)
            });
            let hung = self.hosts[host].libvirt == Libvirt::Hung { silent: true };
            let jobs = daemon.jobs.iter().filter(|_| hung);
            let silent = jobs.map(|running| self.times_out_at(&running.job, running.since));
            for at in deadline.into_iter().chain(silent) {
                let at = at.max(self.now + 1);
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        // Whether anybody wakes for it or not: an answer is due, and some time later overdue.
        // If its daemon has ended, some time passes too.
        let waits = |asked: &Asked| match asked.over_at {
            Some(at) => vec![at + 1000],
            None => vec![asked.at + PATIENCE, asked.at + PATIENCE + 1000],
        };
        let answers = self.asked.iter().flat_map(waits);
        let answers = answers.filter(|at| *at > self.now);
        next.into_iter().chain(answers).min()
    }

    fn advance(&self) -> Option<Step> {
        let next = self.next_due()?;
        (next <= self.ends_at()).then_some(Step::Advance(next))
    }

    /// The time that is of no more interest.
    fn ends_at(&self) -> u64 {
        if self.asked.len() < self.plan.asks.len() {
            return self.plan.ask_by + self.begun_at();
        }
        let ends = self.asked.iter().map(|asked| match asked.over_at {
            Some(at) => at + self.plan.tail,
            None => asked.at + PATIENCE + 2000,
        });
        ends.max().unwrap_or(0)
    }

    fn begun_at(&self) -> u64 {
        if self.plan.warm { 5000 } else { 1000 }
    }

    fn may_ask(&self) -> bool {
        let Some(ask) = self.plan.asks.get(self.asked.len()) else {
            return false;
        };
        let heard = self.daemon(ask.host).is_some_and(|daemon| !daemon.hung);
        heard && self.now <= self.begun_at() + self.plan.ask_by
    }

    /// Everything is asked and answered, and what was begun is over.
    fn is_over(&self) -> bool {
        let answered = self.asked.iter().all(|asked| !asked.is_open());
        let asked = self.asked.len() == self.plan.asks.len();
        let idle = self.hosts.iter().all(|host| {
            let daemon = host.daemon.as_ref();
            let busy = daemon.is_some_and(|daemon| {
                !daemon.jobs.is_empty() || !daemon.done.is_empty() || !daemon.inbox.is_empty()
            });
            !busy && host.late.is_empty()
        });
        !self.flaws.is_empty() || (asked && answered && idle && self.now >= self.ends_at())
    }
}

impl Step {
    const fn lane(&self) -> Option<(usize, Lane)> {
        match self {
            Self::Take(host, lane, _) => Some((*host, *lane)),
            _ => None,
        }
    }
}

impl<R: Rules> Daemon<R> {
    pub(crate) fn waiting(&self, lane: Lane) -> usize {
        match lane {
            Lane::Inbox => self.inbox.len(),
            Lane::Quorum => self.quorum.len(),
            Lane::Local => self.local.len(),
            Lane::Done => self.done.len(),
            Lane::Jobs => self.jobs.len(),
            Lane::Proofs => self.proofs.len(),
        }
    }
}
