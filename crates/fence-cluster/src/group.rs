//! Who is in the group: joining, leaving, telling each other what there is, and noticing who has
//! missed something.

use std::collections::{BTreeMap, VecDeque};

use fence_proto::Moment;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::inventory::{Assembled, Assembly, Domains, Inventory, Memory};
use crate::limits::{ASK_AGAIN, DIGEST, MAX_MEMORIES};
use crate::peers::{Fetch, Kind, Peer};
use crate::reason::Reason;
use crate::seam::{LeaveReason, MemberId, NodeId};
use crate::wire::message::{Change, Mention, Message, Part, Stand, Want};
use crate::wire::record::Record;

impl Cluster {
    /// The group has changed.
    pub(crate) fn membership(
        &mut self,
        cx: &mut Cx<'_>,
        members: &[MemberId],
        left: &[(MemberId, LeaveReason)],
    ) {
        let rejoined = !self.connected;
        if rejoined {
            self.connected = true;
            self.joined = cx.wall;
        }
        let me = self.config.me;
        for (member, reason) in left.iter().filter(|(member, _)| *member != me) {
            self.departs(cx, *member, *reason);
        }
        // The shell should have said why; whoever is missing is gone all the same.
        let known: Vec<_> = self.peers.keys().copied().collect();
        for member in known.iter().filter(|member| !members.contains(member)) {
            self.departs(cx, *member, LeaveReason::NodeDown);
        }
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
        let mentions = memories
            .map(|(node, memory)| memory.mention(*node))
            .collect();
        self.send(cx, &Message::Hello { mentions });
        self.send_inventory(cx);
        self.digest_due = cx.now + DIGEST;
    }

    fn departs(&mut self, cx: &mut Cx<'_>, member: MemberId, reason: LeaveReason) {
        let Some(peer) = self.peers.remove(&member) else {
            return;
        };
        let node = member.node;
        let name = self.host_name(node);
        cx.info(format!("{name} has left the group: {}", why_left(reason)));
        for fetch in self.fetches.values_mut() {
            if fetch.holders.front() == Some(&member) {
                fetch.asked = None;
            }
            fetch.holders.retain(|holder| *holder != member);
        }
        self.fetches.retain(|_, fetch| !fetch.holders.is_empty());
        let others = self.peers.iter();
        let replaced = others
            .filter(|(other, _)| other.node == node)
            .any(|(_, peer)| peer.is_whole());
        if !replaced && node != self.config.me.node {
            let older = self.memories.remove(&node);
            let mut memory = peer.into_memory(reason, older);
            self.remember_starts(member, &mut memory);
            self.remember(cx, node, memory);
        }
        self.close_requests_of(cx, member);
        self.member_has_left(member);
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

    fn remember(&mut self, cx: &mut Cx<'_>, node: NodeId, memory: Memory) {
        if self.memories.len() >= MAX_MEMORIES && !self.memories.contains_key(&node) {
            self.counters.count(Reason::Full);
            cx.warn(format!("too many departed hosts: {node} is not remembered"));
            return;
        }
        self.memories.insert(node, memory);
    }

    /// Nobody else is there any more, as far as this member can tell.
    pub(crate) fn disconnected(&mut self, cx: &mut Cx<'_>) {
        if !self.connected {
            return;
        }
        self.connected = false;
        cx.warn("the connection to corosync is lost: nothing is claimed about other hosts");
        let members: Vec<_> = self.peers.keys().copied().collect();
        for member in members {
            self.departs(cx, member, LeaveReason::NodeDown);
        }
        self.fetches.clear();
        self.begin_turns_anew(cx);
    }

    /// The hosts of corosync's configuration.
    pub(crate) fn hosts_configured(&mut self, cx: &mut Cx<'_>, hosts: Vec<(NodeId, String)>) {
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

    /// A message of our own kind.
    pub(crate) fn delivered_ours(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        message: Message,
    ) -> Result<(), Reason> {
        if from != self.config.me {
            let peer = self.peers.get_mut(&from).ok_or(Reason::NotAMember)?;
            peer.heard = cx.now;
            peer.heard_wall = cx.wall;
            if !matches!(peer.kind, Kind::Ours) {
                peer.kind = Kind::Ours;
                // What it may have said as the original does not count.
                peer.inventory = None;
            }
        } else if !self.connected {
            return Err(Reason::NotAMember);
        }
        match &message {
            Message::Hello { .. } | Message::Inventory { .. } | Message::Memory { .. } => {
                self.all_touched = true;
            }
            _ => {}
        }
        match message {
            Message::Hello { mentions } => self.hello(from, &mentions),
            Message::Inventory { part } => self.inventory_part(cx, from, part),
            Message::Changed { stand, change } => self.peer_changed(cx, from, stand, change),
            Message::Digest { stand, current } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    self.all_touched |= peer.digest(stand, current);
                }
                Ok(())
            }
            Message::Want { want } => {
                self.wanted(cx, from, want);
                Ok(())
            }
            Message::Memory {
                mention,
                reason,
                part,
            } => self.memory_part(cx, from, (mention, reason), part),
            request => self.delivered_request(cx, from, request),
        }
    }

    fn hello(&mut self, from: MemberId, mentions: &[Mention]) -> Result<(), Reason> {
        let Some(peer) = self.peers.get_mut(&from) else {
            return Ok(());
        };
        peer.greeted = true;
        for mention in mentions {
            if let Some(memory) = self.memories.get_mut(&mention.node) {
                memory.heard = memory.heard.max(mention.heard);
            }
            if !self.lacks(mention) {
                continue;
            }
            let fetch = Fetch {
                mention: *mention,
                holders: VecDeque::new(),
                asked: None,
            };
            let fetch = self.fetches.entry(mention.node).or_insert(fetch);
            if mention.stand > fetch.mention.stand {
                fetch.mention = *mention;
                fetch.holders.clear();
                fetch.asked = None;
            }
            if mention.stand == fetch.mention.stand && !fetch.holders.contains(&from) {
                fetch.holders.push_back(from);
            }
        }
        if self.fetches.len() > MAX_MEMORIES {
            self.fetches.pop_last();
            return Err(Reason::Full);
        }
        Ok(())
    }

    /// Whether somebody remembers more of a host than this member.
    fn lacks(&self, mention: &Mention) -> bool {
        let node = mention.node;
        let here = self
            .peers
            .iter()
            .any(|(member, peer)| member.node == node && peer.is_whole());
        let older = self.memories.get(&node);
        node != self.config.me.node
            && !here
            && older.is_none_or(|older| older.stand < mention.stand)
    }

    fn inventory_part(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        part: Part,
    ) -> Result<(), Reason> {
        let Some(peer) = self.peers.get_mut(&from) else {
            return Ok(());
        };
        match Assembly::add(peer.assembling.take(), part) {
            Ok(Assembled::Partly(assembly)) => peer.assembling = Some(assembly),
            Ok(Assembled::Whole(inventory)) => self.inventory_whole(cx, from, inventory),
            Err(reason) => {
                peer.behind = true;
                return Err(reason);
            }
        }
        Ok(())
    }

    /// A member has said everything that it has: what it had is settled, if its libvirt answers.
    fn inventory_whole(&mut self, cx: &mut Cx<'_>, from: MemberId, mut inventory: Inventory) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let before = peer.inventory.take();
        self.succeed(
            &mut inventory,
            before.map_or_else(Default::default, |i| i.domains),
        );
        for (uuid, record) in &inventory.domains {
            self.gone.outdated(*uuid, record.version);
            self.stir(*uuid, record.holding());
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.inventory = Some(inventory);
            peer.behind = false;
            peer.silent = false;
            peer.asked = None;
        }
        self.settle_memory(cx, from);
    }

    /// What the host had before, and has no longer, is gone.
    fn succeed(&mut self, inventory: &mut Inventory, before: Domains) {
        for (uuid, record) in before {
            match inventory.domains.get_mut(&uuid) {
                // A daemon that was restarted has forgotten which run was the last one.
                Some(now) => now.version = now.version.max(record.version),
                None => self.gone.add(uuid, &record),
            }
        }
    }

    /// A departed host is back, and its libvirt says what it has: that ends the memory of it.
    fn settle_memory(&mut self, cx: &mut Cx<'_>, from: MemberId) {
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.is_whole()) else {
            return;
        };
        let Some(memory) = self.memories.remove(&from.node) else {
            return;
        };
        let Some(mut inventory) = peer.inventory.take() else {
            return;
        };
        self.succeed(&mut inventory, memory.domains);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.inventory = Some(inventory);
        }
        self.inquiries.remove(&from.node);
        self.fetches.remove(&from.node);
        let name = self.host_name(from.node);
        cx.debug(format!("{name} is back and says what it has"));
    }

    fn peer_changed(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        stand: Stand,
        change: Change,
    ) -> Result<(), Reason> {
        let Some(inventory) = self.peers.get_mut(&from).and_then(|p| p.inventory.as_mut()) else {
            return Ok(());
        };
        let uuid = match &change {
            Change::Record { uuid, .. } | Change::Gone { uuid } => Some(*uuid),
            Change::Current { .. } => None,
        };
        let before = uuid.and_then(|uuid| inventory.domains.get(&uuid)).cloned();
        if let Err(reason) = inventory.apply(stand, change.clone()) {
            self.all_touched = true;
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.behind = true;
            }
            return Err(reason);
        }
        match change {
            Change::Record { uuid, record } => {
                self.gone.outdated(uuid, record.version);
                self.stir(uuid, record.holding());
            }
            Change::Gone { uuid } => {
                if let Some(before) = &before {
                    self.gone.add(uuid, before);
                }
            }
            Change::Current { .. } => {
                self.all_touched = true;
                self.settle_memory(cx, from);
            }
        }
        if let Some(uuid) = uuid {
            self.touch_domain(uuid);
        }
        if let (Some(uuid), Some(before)) = (uuid, before) {
            self.stir(uuid, before.holding());
        }
        Ok(())
    }

    fn wanted(&mut self, cx: &mut Cx<'_>, from: MemberId, want: Want) {
        match want {
            Want::Inventory { of } if of == self.config.me && from != of => {
                self.send_inventory_again(cx);
            }
            Want::Memory { node, from: holder } => {
                // It will come for everybody: nobody else needs to ask.
                if let Some(fetch) = self.fetches.get_mut(&node)
                    && fetch.holders.front() == Some(&holder)
                {
                    fetch.asked = Some(cx.now);
                }
                if holder == self.config.me {
                    self.send_memory(cx, node);
                }
            }
            Want::Inventory { .. } => {}
        }
    }

    fn send_memory(&self, cx: &mut Cx<'_>, node: NodeId) {
        let Some(memory) = self.memories.get(&node) else {
            return;
        };
        let mention = memory.mention(node);
        let reason = memory.reason;
        for part in Inventory::parts(memory.stand, memory.whole, &memory.domains) {
            let message = Message::Memory {
                mention,
                reason,
                part,
            };
            self.send(cx, &message);
        }
    }

    fn memory_part(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        (mention, reason): (Mention, LeaveReason),
        part: Part,
    ) -> Result<(), Reason> {
        let node = mention.node;
        let Some(peer) = self.peers.get_mut(&from) else {
            return Ok(());
        };
        let so_far = peer.remembering.take();
        let so_far = so_far.filter(|(of, _)| *of == node).map(|(_, part)| part);
        match Assembly::add(so_far, part)? {
            Assembled::Partly(assembly) => peer.remembering = Some((node, assembly)),
            Assembled::Whole(inventory) if self.lacks(&mention) => {
                let older = self.memories.get(&node).map(|older| older.heard);
                let memory = Memory {
                    stand: inventory.stand,
                    whole: inventory.current,
                    reason,
                    heard: older.map_or(mention.heard, |older| older.max(mention.heard)),
                    domains: inventory.domains,
                };
                self.remember(cx, node, memory);
            }
            Assembled::Whole(_) => {}
        }
        let satisfied = |fetch: &mut Fetch| fetch.mention.stand <= mention.stand;
        if self.fetches.get_mut(&node).is_some_and(satisfied) {
            self.fetches.remove(&node);
        }
        Ok(())
    }

    /// What is due without anybody's asking: signs of life, and questions for what is missing.
    pub(crate) fn keep_up(&mut self, cx: &mut Cx<'_>) {
        if !self.connected {
            return;
        }
        if cx.now >= self.digest_due {
            let (stand, current) = (self.local.stand, self.local.current);
            self.send(cx, &Message::Digest { stand, current });
            self.digest_due = cx.now + DIGEST;
        }
        let mut wants = Vec::new();
        for (member, peer) in &mut self.peers {
            if peer.should_be_asked(cx.now) {
                peer.asked = Some(cx.now);
                wants.push(Want::Inventory { of: *member });
            }
        }
        for (node, fetch) in &mut self.fetches {
            let waited = fetch
                .asked
                .is_some_and(|asked| cx.is_past(asked, ASK_AGAIN));
            if waited {
                fetch.holders.rotate_left(1);
            }
            if (waited || fetch.asked.is_none())
                && let Some(holder) = fetch.holders.front()
            {
                fetch.asked = Some(cx.now);
                wants.push(Want::Memory {
                    node: *node,
                    from: *holder,
                });
            }
        }
        for want in wants {
            self.send(cx, &Message::Want { want });
        }
        self.keep_up_with_originals(cx);
    }

    pub(crate) fn times_of_group(&self, at: &mut impl FnMut(Moment)) {
        if !self.connected {
            return;
        }
        at(self.digest_due);
        for peer in self.peers.values() {
            at(peer.mute_at());
            at(peer.asked.unwrap_or(peer.joined) + ASK_AGAIN);
        }
        for fetch in self.fetches.values() {
            if let Some(asked) = fetch.asked {
                at(asked + ASK_AGAIN);
            }
        }
    }

    /// Whether this member may claim something: it knows what everybody has that can say so, and
    /// what is remembered of the others.
    pub(crate) fn is_ready(&self, now: Moment) -> bool {
        self.connected
            && self.hosts.is_some()
            && self.peers.values().all(|peer| {
                let introduced = peer.has_introduced_itself();
                introduced || now >= peer.mute_at()
            })
            && self.fetches.values().all(|fetch| {
                let holders = fetch.holders.iter();
                let mut peers = holders.filter_map(|holder| self.peers.get(holder));
                peers.all(|peer| now >= peer.mute_at())
            })
    }

    /// Another member has announced that it starts the domain.
    pub(crate) fn peer_starts(&mut self, from: MemberId, record: (fence_proto::Uuid, &str, u64)) {
        let (uuid, name, version) = record;
        let inventory = self.peers.get_mut(&from).and_then(|p| p.inventory.as_mut());
        if let Some(inventory) = inventory {
            crate::local::starting(&mut inventory.domains, uuid, name, version);
        }
        let holding = self.peers.get(&from).and_then(Peer::domains);
        let holding = holding
            .and_then(|domains| domains.get(&uuid))
            .map(Record::holding);
        if let Some(holding) = holding {
            self.stir(uuid, holding);
        }
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
