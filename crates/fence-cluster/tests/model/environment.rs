//! What happens to hosts and domains without our doing: doing it.

use fence_cluster::seam::{Event, Job, Ticket};

use crate::happening::Happening;
use crate::rules::Rules;
use crate::truth;
use crate::world::{Libvirt, World, node};

impl<R: Rules> World<R> {
    pub(crate) fn happen(&mut self, happening: Happening) {
        if let Some(kind) = happening.kind() {
            self.left[kind as usize] -= 1;
            if !kind.is_recovery() {
                self.faults -= 1;
            }
        }
        match happening {
            Happening::Start { domain, host } => {
                self.truth[domain].start(host);
                self.touch(domain, &[host]);
            }
            Happening::Stop { domain } => self.stop(domain),
            Happening::Migrate { domain, to } => self.change(domain, |d| d.begin(to)),
            Happening::Switch { domain } => self.change(domain, truth::Domain::switch),
            Happening::Abort { domain } => self.change(domain, truth::Domain::abort),
            Happening::Remnant { domain } => self.remnant(domain),
            Happening::DaemonEnd(host, reason) => {
                self.end_daemon(host);
                self.reform_after(reason);
            }
            Happening::DaemonStart(host) => self.start_daemon(host),
            Happening::Hang(host) => self.set_hung(host, true),
            Happening::Resume(host) => self.set_hung(host, false),
            Happening::LibvirtHang { host, silent } => self.hang_libvirt(host, silent),
            Happening::LibvirtBack(host) => self.recover_libvirt(host),
            Happening::Crash { host, lose } => self.crash(host, lose),
            Happening::Fence(host) => self.fence(host),
            Happening::Boot(host) => {
                self.hosts[host].up = true;
                self.net.corosync[host] = true;
                self.start_daemon(host);
            }
            Happening::Cut { apart, lose } => self.cut(apart, lose),
            Happening::Heal => self.heal(),
            Happening::CorosyncKill(host) => self.kill_corosync(host),
            Happening::CorosyncBack(host) => {
                self.net.corosync[host] = true;
                self.reform();
            }
            Happening::Abandon(index) => self.abandon(index),
            Happening::LateCall { host, done } => {
                let job = self.hosts[host].late.remove(0);
                if done {
                    self.effect(host, &job);
                }
            }
        }
    }

    fn hang_libvirt(&mut self, host: usize, silent: bool) {
        self.hosts[host].libvirt = Libvirt::Hung { silent };
        // What it had to tell is lost with the connection.
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.local.clear();
        }
    }

    fn recover_libvirt(&mut self, host: usize) {
        self.hosts[host].libvirt = Libvirt::Fine;
        // A libvirtd that was restarted does not know why a domain is off.
        for domain in &mut self.truth {
            domain.moved[host] = false;
        }
        self.push_inventory(host);
    }

    fn fence(&mut self, host: usize) {
        if self.hosts[host].up {
            self.crash(host, false);
        }
        self.hosts[host].fenced_at = Some(self.now);
    }

    fn abandon(&mut self, index: usize) {
        let host = self.asked[index].host;
        let ticket = Ticket(u64::try_from(index).unwrap());
        self.feed(host, Event::Abandoned(ticket));
    }

    fn change(&mut self, domain: usize, change: impl FnOnce(&mut truth::Domain) -> Vec<usize>) {
        let changed = change(&mut self.truth[domain]);
        self.touch(domain, &changed);
    }

    fn stop(&mut self, index: usize) {
        for host in 0..self.hosts.len() {
            if self.truth[index].copies[host].is_some() {
                let (_, changed) = self.truth[index].destroy(host);
                self.touch(index, &changed);
            }
        }
    }

    fn remnant(&mut self, index: usize) {
        if let Some(host) = self.truth[index].remnant() {
            self.truth[index].remove_remnant(host);
            self.touch(index, &[host]);
        }
    }

    fn set_hung(&mut self, host: usize, hung: bool) {
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.hung = hung;
        }
    }

    /// The daemon is no more. What it asked of libvirt may still be done.
    fn end_daemon(&mut self, host: usize) {
        let Some(daemon) = self.hosts[host].daemon.take() else {
            return;
        };
        let deeds = daemon.jobs.into_iter().map(|running| running.job);
        let deeds = deeds.filter(|job| matches!(job, Job::Off { .. } | Job::Start { .. }));
        self.hosts[host].late.extend(deeds);
        self.net.held.retain(|(from, _)| *from != daemon.id);
        self.stalled.retain(|(stalled, _)| *stalled != host);
        for asked in self.asked.iter_mut().filter(|asked| asked.by == daemon.id) {
            asked.orphaned = true;
            asked.over_at = asked.over_at.or(Some(self.now));
        }
    }

    fn crash(&mut self, host: usize, lose: bool) {
        if lose {
            let others = |other: usize| other != host;
            self.lose(others, |from| from == node(host));
        }
        self.end_daemon(host);
        let state = &mut self.hosts[host];
        state.up = false;
        state.down_since = self.now;
        state.libvirt = Libvirt::Fine;
        state.late.clear();
        for index in 0..self.truth.len() {
            let (_, changed) = self.truth[index].destroy(host);
            self.truth[index].moved[host] = false;
            self.touch(index, &changed);
        }
        self.tear(host);
    }
}
