//! The agreed order: in each partition, all members get the same messages and membership changes in
//! the same order. After a cut nothing is ordered until the new memberships are there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fence_cluster::seam::{LeaveReason, MemberId, NodeId};
use fence_proto::Moment;

/// How long corosync takes to notice that a host is gone.
pub(crate) const DETECT: Duration = Duration::from_millis(3_400);

/// How long a new membership takes when everybody is alive.
pub(crate) const FORM: Duration = Duration::from_millis(20);

/// How long a message takes.
pub(crate) const TRANSIT: Duration = Duration::from_millis(1);

/// What a member's corosync hands over.
#[derive(Debug, Clone)]
pub(crate) enum Handed {
    Membership {
        members: Vec<MemberId>,
        left: Vec<(MemberId, LeaveReason)>,
    },
    /// The hosts whose corosyncs are in this partition.
    Nodes {
        nodes: Vec<NodeId>,
        quorum: bool,
    },
    Message {
        from: MemberId,
        bytes: Vec<u8>,
    },
}

/// The rings of all hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bus {
    /// The partition of each host whose corosync runs.
    pub(crate) rings: BTreeMap<u32, u32>,
    /// The members as they last were told, by host.
    views: BTreeMap<MemberId, BTreeSet<MemberId>>,
    /// The daemons that have joined, by host.
    pub(crate) joined: BTreeMap<u32, MemberId>,
    /// What was sent and is not ordered yet.
    sent: VecDeque<(Moment, MemberId, Vec<u8>)>,
    /// Nothing is ordered until then.
    pub(crate) forming: Option<Moment>,
    /// Why members that are gone are gone.
    reasons: BTreeMap<MemberId, LeaveReason>,
    /// How many hosts there are.
    pub(crate) hosts: usize,
    /// Messages and bytes that were ordered.
    pub(crate) traffic: (usize, usize),
    /// Messages of the original's kind.
    pub(crate) legacy: usize,
}

impl Bus {
    /// So many hosts whose corosyncs run, in one partition.
    pub(crate) fn new(hosts: u32) -> Self {
        Self {
            rings: (1..=hosts).map(|node| (node, 0)).collect(),
            hosts: usize::try_from(hosts).unwrap(),
            ..Self::default()
        }
    }

    pub(crate) fn send(&mut self, now: Moment, from: MemberId, bytes: Vec<u8>) {
        self.sent.push_back((now + TRANSIT, from, bytes));
    }

    /// New memberships after `pause`.
    pub(crate) fn form_in(&mut self, now: Moment, pause: Duration) {
        let at = now + pause;
        self.forming = Some(self.forming.map_or(at, |forming| forming.max(at)));
    }

    pub(crate) fn join(&mut self, now: Moment, member: MemberId) {
        self.joined.insert(member.node.0, member);
        self.form_in(now, FORM);
    }

    pub(crate) fn leave(&mut self, now: Moment, host: u32, reason: LeaveReason) {
        if let Some(member) = self.joined.remove(&host) {
            self.reasons.insert(member, reason);
            self.views.remove(&member);
            let gone = reason != LeaveReason::NodeDown;
            self.form_in(now, if gone { FORM } else { DETECT });
        }
    }

    /// When something is due.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.forming
            .or_else(|| self.sent.front().map(|(due, ..)| *due))
    }

    fn together(&self, one: u32, other: u32) -> bool {
        let ring = self.rings.get(&one);
        ring.is_some() && ring == self.rings.get(&other)
    }

    pub(crate) fn has_quorum(&self, host: u32) -> bool {
        let ring = self.rings.get(&host);
        let same = self.rings.values().filter(|other| Some(*other) == ring);
        ring.is_some() && same.count() * 2 > self.hosts
    }

    /// Whether one host's daemon has the other's for a member.
    pub(crate) fn sees(&self, one: u32, other: u32) -> bool {
        let view = self
            .joined
            .get(&one)
            .and_then(|member| self.views.get(member));
        let other = self.joined.get(&other);
        view.is_some_and(|view| other.is_some_and(|other| view.contains(other)))
    }

    /// Does what is due, and says who is handed what.
    pub(crate) fn turn(&mut self, now: Moment) -> Vec<(MemberId, Handed)> {
        if let Some(forming) = self.forming {
            if forming > now {
                return Vec::new();
            }
            self.forming = None;
            return self.form();
        }
        let mut handed = Vec::new();
        if self.sent.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, from, bytes)) = self.sent.pop_front() else {
                return handed;
            };
            if self.joined.get(&from.node.0) != Some(&from) {
                return handed;
            }
            self.legacy += usize::from(fence_cluster::wire::legacy::is_legacy(&bytes));
            self.traffic.0 += 1;
            self.traffic.1 += bytes.len();
            for (host, member) in &self.joined {
                if self.together(*host, from.node.0) {
                    let bytes = bytes.clone();
                    handed.push((*member, Handed::Message { from, bytes }));
                }
            }
        }
        handed
    }

    fn form(&mut self) -> Vec<(MemberId, Handed)> {
        let mut handed = self.form_group();
        for (host, member) in self.joined.clone() {
            let all = self.rings.keys().copied();
            let nodes: Vec<_> = all
                .filter(|other| self.together(*other, host))
                .map(NodeId)
                .collect();
            let quorum = self.has_quorum(host);
            handed.push((member, Handed::Nodes { nodes, quorum }));
        }
        handed
    }

    fn form_group(&mut self) -> Vec<(MemberId, Handed)> {
        let mut handed = Vec::new();
        for (host, member) in self.joined.clone() {
            let others = self.joined.iter();
            let others = others.filter(|(other, _)| self.together(**other, host));
            let members: BTreeSet<_> = others.map(|(_, member)| *member).collect();
            if members.is_empty() {
                continue;
            }
            let before = self.views.insert(member, members.clone());
            if before.as_ref() == Some(&members) {
                continue;
            }
            let left = before.unwrap_or_default();
            let left = left.difference(&members).map(|gone| {
                let reason = self.reasons.get(gone);
                (*gone, reason.copied().unwrap_or(LeaveReason::NodeDown))
            });
            let change = Handed::Membership {
                left: left.collect(),
                members: members.into_iter().collect(),
            };
            handed.push((member, change));
        }
        handed
    }
}
