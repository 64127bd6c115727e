//! The other members of the group, and what each has said of itself.

use std::collections::VecDeque;

use fence_proto::Moment;

use crate::cx::Cx;
use crate::inventory::{Assembly, Domains, Inventory, Memory};
use crate::limits::{ASK_AGAIN, MUTE};
use crate::original::Original;
use crate::seam::{LeaveReason, NodeId, WallTime};
use crate::starting::{Shown, Starting};
use crate::wire::message::{Mention, Stand};

/// What runs there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// It has not said anything yet.
    Unheard,
    /// This program.
    Ours,
    /// The original.
    Original(Original),
}

/// What a member has said of its being here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Nothing yet.
    New,
    /// Which departed hosts it remembers.
    Greeted,
    /// That its host is shutting down.
    ShuttingDown,
}

/// Another member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    /// When it became a member.
    pub(crate) joined: Moment,
    /// When it was last heard of, by either clock.
    pub(crate) heard: Moment,
    pub(crate) heard_wall: WallTime,
    /// Since when it has been heard of without long pauses.
    pub(crate) steady: Moment,
    pub(crate) phase: Phase,
    /// Since when it would have noticed hosts that come back.
    pub(crate) sighted: Option<WallTime>,
    /// It has said that its libvirt does not answer, before it had an inventory.
    pub(crate) silent: bool,
    /// What it has.
    pub(crate) inventory: Option<Inventory>,
    /// The part of a newer inventory that has come.
    pub(crate) assembling: Option<Assembly>,
    /// The part of a memory that has come.
    pub(crate) remembering: Option<(NodeId, Assembly)>,
    /// Something of its inventory is missing.
    pub(crate) behind: bool,
    /// When it was asked to send it again.
    pub(crate) asked: Option<Moment>,
}

impl Peer {
    pub(crate) const fn new(cx: &Cx<'_>) -> Self {
        Self {
            kind: Kind::Unheard,
            joined: cx.now,
            heard: cx.now,
            heard_wall: cx.wall,
            steady: cx.now,
            phase: Phase::New,
            sighted: None,
            silent: false,
            inventory: None,
            assembling: None,
            remembering: None,
            behind: false,
            asked: None,
        }
    }

    /// What it has by the records.
    pub(crate) fn domains(&self) -> Option<&Domains> {
        self.inventory.as_ref().map(|inventory| &inventory.domains)
    }

    /// Its inventory is here, in step with what it says, and its libvirt answers.
    pub(crate) fn is_whole(&self) -> bool {
        let current = |inventory: &Inventory| inventory.current;
        !self.behind && self.inventory.as_ref().is_some_and(current)
    }

    /// It has said everything that it says of itself when somebody joins.
    pub(crate) fn has_introduced_itself(&self) -> bool {
        match &self.kind {
            Kind::Unheard => false,
            Kind::Ours => self.phase != Phase::New && (self.inventory.is_some() || self.silent),
            Kind::Original(original) => original.has_spoken(),
        }
    }

    /// When it is no longer waited for.
    pub(crate) fn mute_at(&self) -> Moment {
        self.joined + MUTE
    }

    /// Whether its inventory should be asked for now.
    pub(crate) fn should_be_asked(&self, now: Moment) -> bool {
        let missing = self.behind || (self.inventory.is_none() && !self.silent);
        let since = self.asked.unwrap_or(self.joined);
        missing && matches!(self.kind, Kind::Ours) && now >= since + ASK_AGAIN
    }

    /// A sign of life, with how far its inventory is. Whether it says anything new.
    pub(crate) fn digest(&mut self, stand: Stand, current: bool) -> bool {
        let before = (self.silent, self.behind);
        match &self.inventory {
            None => self.silent = !current,
            Some(inventory) if inventory.stand != stand || inventory.current != current => {
                self.behind = true;
            }
            Some(_) => {}
        }
        before != (self.silent, self.behind)
    }

    /// What is remembered of it when it departs.
    pub(crate) fn into_memory(self, reason: LeaveReason, older: Option<Memory>) -> Memory {
        let whole = self.is_whole();
        let heard = self.heard_wall;
        let started = self.assembling.map(|assembly| assembly.inventory);
        let Some(inventory) = self.inventory else {
            return unsettled(older, started, reason, heard);
        };
        let mut domains = inventory.domains;
        if let Some(started) = started {
            domains.extend(started.domains);
        }
        let older = older.map_or(heard, |older| older.heard);
        Memory {
            stand: inventory.stand,
            whole,
            shutting_down: false,
            down: false,
            reason,
            heard: heard.max(older),
            domains,
            starting: Starting::AllBut(Shown::default()),
        }
    }
}

/// A host that was back and has departed again before it said what it has: it may have what it had,
/// what it began to tell, and more.
fn unsettled(
    older: Option<Memory>,
    started: Option<Inventory>,
    reason: LeaveReason,
    heard: WallTime,
) -> Memory {
    let mut memory = older.unwrap_or(Memory {
        stand: Stand {
            start: WallTime(0),
            seq: 0,
        },
        whole: false,
        shutting_down: false,
        down: false,
        reason,
        heard,
        domains: Domains::new(),
        starting: Starting::AllBut(Shown::default()),
    });
    // Newer than what those remember who have not seen it back.
    memory.stand.seq = memory.stand.seq.saturating_add(1);
    memory.whole = false;
    memory.reason = reason;
    memory.heard = memory.heard.max(heard);
    if let Some(started) = started {
        memory.domains.extend(started.domains);
    }
    memory
}

/// A memory of a departed host that is being fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Fetch {
    /// What it has to be.
    pub(crate) mention: Mention,
    /// Who has it; the first one is asked.
    pub(crate) holders: VecDeque<crate::seam::MemberId>,
    /// When it was asked for.
    pub(crate) asked: Option<Moment>,
}
