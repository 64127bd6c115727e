//! What may happen in a state, and what is assumed not to.
//!
//! Assumed, as docs/cluster.md says: somebody else starts a domain only where no copy runs or may
//! resume anywhere, only on a host with quorum whose daemon is in the group, and not while we are about to
//! start it. Everything else happens whenever it likes.

use fence_cluster::seam::{Job, LeaveReason};
use fence_proto::Action;

use crate::happening::Happening;
use crate::rules::Rules;
use crate::truth::{self, Part};
use crate::world::{Libvirt, World};

impl<R: Rules> World<R> {
    /// Everything that may happen now.
    pub(crate) fn happenings(&self) -> Vec<Happening> {
        let mut all = Vec::new();
        for domain in 0..self.truth.len() {
            self.domain_happenings(domain, &mut all);
        }
        for host in 0..self.hosts.len() {
            self.host_happenings(host, &mut all);
        }
        self.net_happenings(&mut all);
        all.retain(|happening| self.allows(*happening));
        all
    }

    fn allows(&self, happening: Happening) -> bool {
        happening.kind().is_none_or(|kind| {
            self.left[kind as usize] > 0 && (kind.is_recovery() || self.faults > 0)
        })
    }

    fn domain_happenings(&self, index: usize, all: &mut Vec<Happening>) {
        let domain = &self.truth[index];
        if let Some((from, to)) = domain.migrating()
            && self.libvirt_answers(from)
            && self.libvirt_answers(to)
        {
            all.push(Happening::Switch { domain: index });
            all.push(Happening::Abort { domain: index });
        }
        if let Some(host) = domain.remnant() {
            let orphan = domain.copies[host].is_some_and(|copy| copy.part == Part::Orphan);
            if orphan || self.libvirt_answers(host) {
                all.push(Happening::Remnant { domain: index });
            }
        }
        if domain.is_running() {
            all.push(Happening::Stop { domain: index });
        }
        for host in (0..self.hosts.len()).filter(|host| self.may_get_domains(*host)) {
            if self.may_be_started(index) {
                all.push(Happening::Start {
                    domain: index,
                    host,
                });
            }
            if let Some(from) = domain.may_migrate(host)
                && self.libvirt_answers(from)
                && self.net.side[from] == self.net.side[host]
            {
                all.push(Happening::Migrate {
                    domain: index,
                    to: host,
                });
            }
        }
    }

    fn may_get_domains(&self, host: usize) -> bool {
        let in_group = self.daemon(host).is_some() || self.plan.starts_anywhere;
        let quorate = self.net.quorate(host) && !self.net.torn;
        self.hosts[host].up && self.libvirt_answers(host) && in_group && quorate
    }

    fn may_be_started(&self, index: usize) -> bool {
        let starts = |job: &Job| match job {
            Job::Start { domain, .. } => truth::index(*domain) == index,
            _ => false,
        };
        let pending = self.hosts.iter().any(|host| {
            let jobs = host.daemon.iter().flat_map(|daemon| &daemon.jobs);
            host.late.iter().any(starts) || jobs.into_iter().any(|running| starts(&running.job))
        });
        let wanted = self.asked.iter().any(|asked| {
            let starting = matches!(asked.action, Action::On | Action::Reboot);
            asked.domain == index && starting && asked.is_live(self.now)
        });
        self.truth[index].is_clear() && !pending && !wanted
    }

    fn host_happenings(&self, host: usize, all: &mut Vec<Happening>) {
        let state = &self.hosts[host];
        if !state.up {
            all.push(Happening::Fence(host));
            if self.now >= state.down_since + 1000 && !self.net.torn {
                all.push(Happening::Boot(host));
            }
            return;
        }
        match &state.daemon {
            None => all.push(Happening::DaemonStart(host)),
            Some(daemon) => {
                all.push(if daemon.hung {
                    Happening::Resume(host)
                } else {
                    Happening::Hang(host)
                });
                for reason in [LeaveReason::Left, LeaveReason::ProcessDown] {
                    all.push(Happening::DaemonEnd(host, reason));
                }
            }
        }
        if state.libvirt == Libvirt::Fine {
            for silent in [true, false] {
                all.push(Happening::LibvirtHang { host, silent });
            }
            if !state.late.is_empty() {
                for done in [true, false] {
                    all.push(Happening::LateCall { host, done });
                }
            }
        } else {
            all.push(Happening::LibvirtBack(host));
        }
        for lose in [false, true] {
            all.push(Happening::Crash { host, lose });
        }
        all.push(Happening::Fence(host));
        all.push(if self.net.corosync[host] {
            Happening::CorosyncKill(host)
        } else {
            Happening::CorosyncBack(host)
        });
    }

    fn net_happenings(&self, all: &mut Vec<Happening>) {
        if self.net.is_cut() {
            all.push(Happening::Heal);
        } else {
            for host in 0..self.hosts.len() {
                let apart = 1 << host;
                // Two hosts part in one way only.
                if self.hosts.len() > 2 || host == 0 {
                    for lose in [false, true] {
                        all.push(Happening::Cut { apart, lose });
                    }
                }
            }
        }
        for (index, asked) in self.asked.iter().enumerate() {
            let hung = self
                .daemon(asked.host)
                .is_none_or(|daemon| daemon.hung || daemon.id != asked.by);
            if asked.is_open() && !hung {
                all.push(Happening::Abandon(index));
            }
        }
    }
}
