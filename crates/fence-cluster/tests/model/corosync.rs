//! What corosync does in a state: orders messages, tells of members and quorum, falls apart.

use std::sync::Arc;

use fence_cluster::seam::{LeaveReason, MemberId, NodeId};

use crate::net::{Item, What};
use crate::rules::Rules;
use crate::world::{Told, World, host_of, node};

impl<R: Rules> World<R> {
    pub(crate) fn kill_corosync(&mut self, host: usize) {
        let place = self.net.place();
        if let Some(daemon) = &mut self.hosts[host].daemon {
            let what = What::Disconnected;
            daemon.inbox.push_back(Item { place, what });
            daemon.view.clear();
            daemon.told = None;
        }
        self.tear(host);
    }

    /// This host's corosync is silent, and nobody has noticed.
    pub(crate) fn tear(&mut self, host: usize) {
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        let heard = others.filter(|other| self.net.connected(host, *other));
        self.net.torn |= self.net.corosync[host] && heard.count() > 0;
        self.net.corosync[host] = false;
    }

    pub(crate) fn cut(&mut self, apart: u8, lose: bool) {
        let side = |host: usize| (apart >> host) & 1;
        if lose {
            for this in [0, 1] {
                self.lose(
                    |host| side(host) == this,
                    |from| side(host_of(from)) != this,
                );
            }
        }
        for (host, of) in self.net.side.iter_mut().enumerate() {
            *of = side(host);
        }
        self.notice();
    }

    /// These hosts lose the messages of those senders that none of them has taken up.
    pub(crate) fn lose(&mut self, here: impl Fn(usize) -> bool, theirs: impl Fn(NodeId) -> bool) {
        let mut taken_up = 0;
        for (_, state) in self.hosts.iter().enumerate().filter(|(h, _)| here(*h)) {
            if let Some(daemon) = &state.daemon {
                let next = daemon.inbox.front().map_or(u32::MAX, |item| item.place);
                taken_up = taken_up.max(next.saturating_sub(1));
            }
        }
        for (_, state) in self.hosts.iter_mut().enumerate().filter(|(h, _)| here(*h)) {
            if let Some(daemon) = &mut state.daemon {
                daemon.inbox.retain(|item| match &item.what {
                    What::Message { from, .. } => item.place <= taken_up || !theirs(from.node),
                    _ => true,
                });
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.net.side.fill(0);
        self.notice();
    }

    /// Who has vanished is noticed, and what was sent meanwhile finds its place.
    pub(crate) fn notice(&mut self) {
        self.net.torn = false;
        self.reform();
        for (from, bytes) in std::mem::take(&mut self.net.held) {
            self.order(from, bytes);
        }
    }

    pub(crate) fn reform(&mut self) {
        self.reform_after(LeaveReason::ProcessDown);
    }

    /// Tells every member whose membership has changed. `reason` is for those whose host is there.
    pub(crate) fn reform_after(&mut self, reason: LeaveReason) {
        if self.net.torn {
            return;
        }
        let place = self.net.place();
        for host in 0..self.hosts.len() {
            if !self.net.corosync[host] {
                continue;
            }
            let members = self.members_at(host);
            let told = (self.net.quorate(host), self.nodes_at(host));
            let net = &self.net;
            let Some(daemon) = &mut self.hosts[host].daemon else {
                continue;
            };
            let before = daemon.told.as_ref();
            if before.is_none_or(|before| before.0 != told.0) {
                daemon.quorum.push_back(Told::Quorum(told.0));
            }
            if before.is_none_or(|before| before.1 != told.1) {
                daemon.quorum.push_back(Told::Nodes(told.1.clone()));
            }
            daemon.told = Some(told);
            if daemon.view == members {
                continue;
            }
            let gone = daemon.view.iter().filter(|old| !members.contains(old));
            let left = gone.map(|old| {
                let there = net.connected(host, host_of(old.node));
                (*old, if there { reason } else { LeaveReason::NodeDown })
            });
            let left = left.collect();
            daemon.view.clone_from(&members);
            let what = What::Membership { members, left };
            daemon.inbox.push_back(Item { place, what });
        }
    }

    fn nodes_at(&self, host: usize) -> Vec<NodeId> {
        let all = (0..self.hosts.len()).filter(|other| self.net.connected(host, *other));
        all.map(node).collect()
    }

    fn members_at(&self, host: usize) -> Vec<MemberId> {
        let all = (0..self.hosts.len()).filter(|other| self.net.connected(host, *other));
        all.filter_map(|other| Some(self.daemon(other)?.id))
            .collect()
    }

    /// Gives a message its place in the order.
    pub(crate) fn order(&mut self, from: MemberId, bytes: Arc<[u8]>) {
        let host = host_of(from.node);
        if !self.net.corosync[host] {
            return;
        }
        if self.net.torn {
            self.net.held.push_back((from, bytes));
            return;
        }
        let place = self.net.place();
        for other in 0..self.hosts.len() {
            if !self.net.connected(host, other) {
                continue;
            }
            if let Some(daemon) = &mut self.hosts[other].daemon {
                let bytes = Arc::clone(&bytes);
                let what = What::Message { from, bytes };
                daemon.inbox.push_back(Item { place, what });
            }
        }
    }
}
