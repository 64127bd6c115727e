//! What members tell each other of what they have and remember, and noticing who has missed
//! something.

use std::collections::VecDeque;

use fence_proto::Moment;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::inventory::{Assembled, Assembly, Domains, Inventory, Memory};
use crate::limits::{ASK_AGAIN, CLOCK_AHEAD, DIGEST, MAX_MEMORIES, SILENT};
use crate::peers::{Fetch, Kind, Peer, Phase};
use crate::reason::Reason;
use crate::seam::{LeaveReason, MemberId, NodeId, WallTime};
use crate::starting::Starting;
use crate::wire::message::{Change, Mention, Message, Part, Stand, Want};
use crate::wire::record::{Holding, Record};

impl Cluster {
    /// A message of our own kind.
    pub(crate) fn delivered_ours(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        message: Message,
    ) -> Result<(), Reason> {
        if from != self.config.me {
            let peer = self.peers.get_mut(&from).ok_or(Reason::NotAMember)?;
            if cx.is_past(peer.heard, SILENT) {
                peer.steady = cx.now;
            }
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
                self.attention.all = true;
            }
            _ => {}
        }
        match message {
            Message::Hello { sighted, mentions } => self.hello(cx, from, sighted, &mentions),
            Message::Inventory { part } => self.inventory_part(cx, from, part),
            Message::Changed { stand, change } => self.peer_changed(cx, from, stand, change),
            Message::Digest { stand, current } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    self.attention.all |= peer.digest(stand, current);
                }
                Ok(())
            }
            Message::Bye => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.phase = Phase::ShuttingDown;
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

    fn hello(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        sighted: Option<WallTime>,
        mentions: &[Mention],
    ) -> Result<(), Reason> {
        let Some(peer) = self.peers.get_mut(&from) else {
            return Ok(());
        };
        peer.phase = Phase::Greeted;
        peer.sighted = sighted;
        for mention in mentions {
            let mention = &self.with_a_possible_time(cx, from, *mention);
            let down = self.is_down(mention.node);
            if let Some(memory) = self.memories.get_mut(&mention.node) {
                memory.heard = memory.heard.max(mention.heard);
                // Somebody who had quorum all the time knows that nothing was added.
                memory.whole |= mention.whole && memory.stand == mention.stand && down;
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
        let over = self.fetches.len() > MAX_MEMORIES;
        while self.fetches.len() > MAX_MEMORIES {
            self.fetches.pop_last();
        }
        if over { Err(Reason::Full) } else { Ok(()) }
    }

    /// The mention; if its time lies far ahead, which would be later than any fencing, with the present
    /// instead: the host was heard of before.
    fn with_a_possible_time(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        mention: Mention,
    ) -> Mention {
        if mention.heard.0 <= cx.wall.0.saturating_add(CLOCK_AHEAD) {
            return mention;
        }
        self.counters.count(Reason::BadField);
        let (who, of) = (self.host_name(from.node), self.host_name(mention.node));
        cx.warn(format!(
            "{who} says that it heard of {of} at a time that lies more than an hour ahead: it is taken for now; set the clocks of both hosts right"
        ));
        Mention {
            heard: cx.wall,
            ..mention
        }
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
            from,
            &mut inventory,
            before.map_or_else(Default::default, |i| i.domains),
        );
        let mut changes = Vec::new();
        for (uuid, record) in &inventory.domains {
            self.gone.outdated(*uuid, record.version);
            // A libvirt that has just stopped answering may have said it long ago: it shows nothing.
            self.stir(from, *uuid, record.holding());
            changes.extend(self.runs_last_here(*uuid, record));
        }
        self.announce(cx, changes);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.inventory = Some(inventory);
            peer.behind = false;
            peer.silent = false;
            peer.asked = None;
        }
        self.settle_memory(cx, from);
    }

    /// What the host had before, and has no longer, is gone.
    fn succeed(&mut self, from: MemberId, inventory: &mut Inventory, before: Domains) {
        for (uuid, record) in before {
            match inventory.domains.get_mut(&uuid) {
                // A daemon that was restarted has forgotten which run was the last one.
                Some(now) => now.version = now.version.max(record.version),
                None => self.gone.add(uuid, &record),
            }
            self.stir(from, uuid, record.holding());
        }
    }

    /// A departed host is back, and its libvirt says what it has: that ends the memory of it.
    pub(crate) fn settle_memory(&mut self, cx: &mut Cx<'_>, from: MemberId) {
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.is_whole()) else {
            return;
        };
        let Some(memory) = self.memories.remove(&from.node) else {
            return;
        };
        let Some(mut inventory) = peer.inventory.take() else {
            return;
        };
        self.succeed(from, &mut inventory, memory.domains);
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
            self.attention.all = true;
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.behind = true;
            }
            return Err(reason);
        }
        match change {
            Change::Record { uuid, record } => {
                self.gone.outdated(uuid, record.version);
                self.told(from, uuid, (record.holding(), Holding::Nothing));
                let change = self.runs_last_here(uuid, &record);
                self.announce(cx, change.into_iter().collect());
            }
            Change::Gone { uuid } => {
                if let Some(before) = &before {
                    self.gone.add(uuid, before);
                }
            }
            Change::Current { .. } => {
                self.attention.all = true;
                self.settle_memory(cx, from);
            }
        }
        if let Some(uuid) = uuid {
            self.touch_domain(uuid);
        }
        if let (Some(uuid), Some(before)) = (uuid, before) {
            self.stir(from, uuid, before.holding());
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
                let heard = self.with_a_possible_time(cx, from, mention).heard;
                let older = self.memories.get(&node).map(|older| older.heard);
                let memory = Memory {
                    stand: inventory.stand,
                    whole: mention.whole && inventory.current,
                    shutting_down: false,
                    down: self.is_down(node),
                    reason,
                    heard: older.map_or(heard, |older| older.max(heard)),
                    domains: inventory.domains,
                    starting: Starting::anything(self.departures, cx.now),
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
        self.times_of_originals(at);
        for fetch in self.fetches.values() {
            if let Some(asked) = fetch.asked {
                at(asked + ASK_AGAIN);
            }
        }
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
            self.stir(from, uuid, holding);
        }
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
