//! Corosync as its daemons promise it: within a part of the network all members get the same messages
//! and membership changes in one order, their own messages too (virtual synchrony).
//!
//! A message has its place in the order when it is sent. That loses nothing: members meet only through
//! the order and through libvirt, and the explorer lets any of them act first. Two things are left open: what those
//! on the other side of a cut still got, and what a host sent last before it lost power.

use std::collections::VecDeque;
use std::sync::Arc;

use fence_cluster::seam::{LeaveReason, MemberId};

/// What corosync hands to a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    /// Its place in the order.
    pub(crate) place: u32,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Membership {
        members: Vec<MemberId>,
        left: Vec<(MemberId, LeaveReason)>,
    },
    Message {
        from: MemberId,
        bytes: Arc<[u8]>,
    },
    Disconnected,
}

/// Which hosts can talk, and what has not found its place yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Net {
    /// By host: its side of the cut, if there is one.
    pub(crate) side: Vec<u8>,
    /// By host: whether corosync runs.
    pub(crate) corosync: Vec<bool>,
    /// Whether somebody vanished and the others have not noticed: nothing is delivered meanwhile.
    pub(crate) torn: bool,
    /// Sent while nothing is delivered.
    pub(crate) held: VecDeque<(MemberId, Arc<[u8]>)>,
    next_place: u32,
}

impl Net {
    pub(crate) fn new(hosts: usize) -> Self {
        Self {
            side: vec![0; hosts],
            corosync: vec![true; hosts],
            torn: false,
            held: VecDeque::new(),
            next_place: 0,
        }
    }

    pub(crate) const fn place(&mut self) -> u32 {
        self.next_place += 1;
        self.next_place
    }

    pub(crate) fn connected(&self, one: usize, other: usize) -> bool {
        self.corosync[one] && self.corosync[other] && self.side[one] == self.side[other]
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.side.iter().any(|side| *side != 0)
    }

    /// Whether corosync on this host says that there is quorum.
    pub(crate) fn quorate(&self, host: usize) -> bool {
        let hosts = self.side.len();
        let there = (0..hosts).filter(|other| self.connected(host, *other));
        there.count() * 2 > hosts
    }
}
