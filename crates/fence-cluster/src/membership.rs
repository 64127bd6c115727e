//! Who is in the group, and what is remembered of those who are not.

use std::collections::BTreeMap;

use fence_proto::Moment;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::inventory::Memory;
use crate::limits::{DIGEST, MAX_MEMORIES, SETTLED, SILENT};
use crate::peers::{Kind, Peer, Phase};
use crate::reason::Reason;
use crate::seam::{LeaveReason, MemberId, Migration, NodeId, WallTime};
use crate::starting::Starting;
use crate::wire::message::{Mention, Message};
use crate::wire::record::Holding;

impl Cluster {
    /// The group has changed.
    pub(crate) fn membership(
        &mut self,
        cx: &mut Cx<'_>,
        members: &[MemberId],
        left: &[(MemberId, LeaveReason)],
    ) {
        let rejoined = !self.connected;
        self.connected = true;
        let me = self.config.me;
        let mut gone: Vec<_> = left.to_vec();
        // The shell should have said why; whoever is missing is gone all the same.
        let missing = self.peers.keys().filter(|member| !members.contains(member));
        let unsaid = missing.filter(|member| !left.iter().any(|(other, _)| other == *member));
        gone.extend(unsaid.map(|member| (*member, LeaveReason::NodeDown)));
        gone.retain(|(member, _)| *member != me);
        self.depart(cx, &gone);
        let mut joined = rejoined;
        for member in members.iter().filter(|member| **member != me) {
            if !self.peers.contains_key(member) {
                self.peers.insert(*member, Peer::new(cx));
                joined = true;
            }
        }
        if joined {
            self.greet(cx);
            self.begin_turns_anew(cx);
            self.begin_rounds_anew(cx);
        }
    }

    /// Tells everybody what this member has and remembers.
    fn greet(&mut self, cx: &mut Cx<'_>) {
        let memories = self.memories.iter();
        let mentions: Vec<Mention> = memories
            .map(|(node, memory)| memory.mention(*node))
            .collect();
        let sighted = self.alone.is_none().then_some(self.sighted);
        self.send(cx, &Message::Hello { sighted, mentions });
        self.send_inventory(cx);
        self.digest_due = cx.now + DIGEST;
    }

    /// Members are gone. First it is taken down what all of them may have begun, then their
    /// requests end: one may have been told to start something by another.
    fn depart(&mut self, cx: &mut Cx<'_>, gone: &[(MemberId, LeaveReason)]) {
        for (member, reason) in gone {
            if let Some(peer) = self.peers.remove(member) {
                let name = self.host_name(member.node);
                cx.info(format!("{name} has left the group: {}", why_left(*reason)));
                self.remember_peer(cx, *member, *reason, peer);
            }
        }
        for (member, _) in gone {
            for fetch in self.fetches.values_mut() {
                if fetch.holders.front() == Some(member) {
                    fetch.asked = None;
                }
                fetch.holders.retain(|holder| holder != member);
            }
            self.close_requests_of(cx, *member);
            self.member_has_left(*member);
        }
        self.fetches.retain(|_, fetch| !fetch.holders.is_empty());
        if !gone.is_empty() {
            self.tell_memories(cx);
        }
    }

    fn remember_peer(
        &mut self,
        cx: &mut Cx<'_>,
        member: MemberId,
        reason: LeaveReason,
        peer: Peer,
    ) {
        let node = member.node;
        let mut others = self.peers.iter().filter(|(other, _)| other.node == node);
        let replaced = others.any(|(_, peer)| peer.is_whole());
        if replaced || node == self.config.me.node {
            return;
        }
        let older = self.memories.remove(&node);
        // It may have stood still, and have got something, before it departed.
        let stood_still = self.echoed.since(peer.heard) > SILENT;
        let ours = matches!(peer.kind, Kind::Ours);
        let shutting_down = peer.phase == Phase::ShuttingDown;
        let mut memory = peer.into_memory(reason, older);
        // Without quorum others may have it, and give the host whatever they like; a host that is up
        // without its daemon may be given something, too.
        let goes_on = reason != LeaveReason::NodeDown && !shutting_down;
        memory.whole &= self.quorum && self.connected && !stood_still && !goes_on && ours;
        memory.shutting_down = shutting_down;
        self.departures = self.departures.saturating_add(1);
        memory.starting = if shutting_down {
            Starting::Nothing
        } else {
            Starting::anything(self.departures, cx.now)
        };
        memory.down = self.is_down(node);
        self.remember_starts(member, &mut memory);
        self.remember(cx, node, memory);
    }

    /// Who was told to start a domain may have begun, without our having heard of it.
    fn remember_starts(&self, member: MemberId, memory: &mut Memory) {
        for (_, turn) in self.turns.iter() {
            let told = turn.start.is_some_and(|(starter, ..)| starter == member);
            if told || turn.round.candidate == Some(member) {
                let uuid = turn.round.uuid;
                let name = self.name_of(uuid);
                let version = self.newest(uuid).saturating_add(1);
                crate::local::starting(&mut memory.domains, uuid, &name, version);
            }
        }
    }

    pub(crate) fn remember(&mut self, cx: &mut Cx<'_>, node: NodeId, memory: Memory) {
        let configured = |node: &NodeId| {
            let hosts = self.hosts.as_ref();
            hosts.is_none_or(|hosts| hosts.contains_key(node))
        };
        if self.memories.len() >= MAX_MEMORIES && !self.memories.contains_key(&node) {
            // Hosts that are configured come first: they are what requests ask for.
            let mut strange = self.memories.keys().filter(|node| !configured(node));
            let strange = strange.next().copied().filter(|_| configured(&node));
            let Some(strange) = strange else {
                self.counters.count(Reason::Full);
                cx.warn(format!("too many departed hosts: {node} is not remembered"));
                return;
            };
            self.memories.remove(&strange);
        }
        self.memories.insert(node, memory);
    }

    /// Nobody else is there any more, as far as this member can tell.
    pub(crate) fn disconnected(&mut self, cx: &mut Cx<'_>) {
        if !self.connected {
            return;
        }
        self.connected = false;
        // Corosync says it anew.
        self.quorum = false;
        self.nodes = None;
        cx.warn("the connection to corosync is lost: nothing is claimed about other hosts");
        let members = self.peers.keys();
        let gone: Vec<_> = members
            .map(|member| (*member, LeaveReason::NodeDown))
            .collect();
        self.depart(cx, &gone);
        self.others_go_on();
        self.fetches.clear();
        self.begin_turns_anew(cx);
    }

    /// Notes since when this member would notice that a host has come back.
    pub(crate) fn look_around(&mut self, cx: &Cx<'_>) {
        if !self.connected || !self.quorum {
            self.alone.get_or_insert(cx.now);
            return;
        }
        if self.alone.take().is_some() {
            self.joined = cx.wall;
            self.sighted = cx.wall;
        }
        let peers = self.peers.values().filter_map(|peer| peer.sighted);
        self.sighted = peers.fold(self.sighted, WallTime::min);
    }

    /// Notes what this host runs when this member can claim nothing any more: because somebody has joined, who
    /// has not said yet what it has, or because quorum or corosync are gone, then or later.
    pub(crate) fn note_what_is_held(&mut self, now: Moment) {
        if self.alone.is_none() && self.is_ready(now) {
            // What became of quorum and members while this daemon stood still may only be about to be told.
            let stood_still = now >= self.last + SILENT;
            self.serves = self.serves.filter(|_| !stood_still).or(Some(now));
            return;
        }
        // Quorum and members are told one after the other: for a moment it may look as if nobody were missing.
        let served = self.serves.take();
        if served.is_some_and(|since| self.last >= since + SETTLED) {
            let records = self.local.domains.iter().filter(|(_, record)| {
                record.holding() == Holding::Copy && record.migration == Migration::None
            });
            let held = records.map(|(uuid, record)| (*uuid, record.version));
            self.held = held.collect();
        }
    }

    /// Whether this partition has quorum.
    pub(crate) fn quorum_is(&mut self, quorum: bool) {
        self.quorum = quorum;
        if !quorum {
            self.others_go_on();
        }
    }

    /// Others may have quorum, and give departed hosts whatever they like: what is remembered of
    /// them is not everything any more.
    fn others_go_on(&mut self) {
        for memory in self.memories.values_mut() {
            memory.whole = false;
        }
    }

    /// The hosts of corosync's configuration.
    pub(crate) fn hosts_configured(&mut self, cx: &mut Cx<'_>, hosts: Vec<(NodeId, String)>) {
        if hosts.is_empty() {
            cx.warn("corosync has no configured hosts: the list is not believed");
            return;
        }
        let hosts: BTreeMap<_, _> = hosts.into_iter().take(MAX_MEMORIES).collect();
        for (node, name) in self.hosts.iter().flatten() {
            if !hosts.contains_key(node) && self.memories.remove(node).is_some() {
                cx.info(format!(
                    "host {name} ({node}) is no longer configured: what it had is forgotten"
                ));
            }
        }
        self.hosts = Some(hosts);
    }

    /// The hosts that corosync has now. One that is up without its daemon may be given any domain by
    /// a cluster manager; one that is down, or cut off from the quorum, is not.
    pub(crate) fn nodes_are(&mut self, cx: &Cx<'_>, nodes: &[NodeId]) {
        let known = self.nodes.take().unwrap_or_default();
        self.appeared.retain(|node, _| nodes.contains(node));
        for node in nodes.iter().filter(|node| !known.contains(node)) {
            self.appeared.insert(*node, cx.wall);
        }
        for (node, memory) in &mut self.memories {
            let up = nodes.contains(node);
            if up && !known.contains(node) {
                // As good as heard of: it has been switched on since.
                memory.heard = memory.heard.max(cx.wall);
            }
            memory.whole &= !up || memory.shutting_down;
            memory.shutting_down &= up;
            memory.down = !up;
        }
        self.nodes = Some(nodes.iter().copied().collect());
    }

    /// Whether corosync is known not to have the host.
    pub(crate) fn is_down(&self, node: NodeId) -> bool {
        let nodes = self.nodes.as_ref();
        nodes.is_some_and(|nodes| !nodes.contains(&node))
    }

    /// Whether this member may claim something: it knows what everybody has that can say so, and
    /// what is remembered of the others.
    pub(crate) fn is_ready(&self, now: Moment) -> bool {
        let introduced = |peer: &Peer| peer.has_introduced_itself() || now >= peer.mute_at();
        let mut fetches = self.fetches.values();
        self.connected
            && self.hosts.is_some()
            && self.peers.values().all(introduced)
            && fetches.all(|fetch| {
                let holders = fetch.holders.iter();
                let mut peers = holders.filter_map(|holder| self.peers.get(holder));
                peers.all(|peer| now >= peer.mute_at())
            })
    }
}

/// Why a member is gone, for people.
pub(crate) const fn why_left(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Left => "its daemon was stopped",
        LeaveReason::NodeDown => "its host is down, cut off, or without corosync",
        LeaveReason::ProcessDown => "its daemon died",
    }
}
