//! What libcpg and libquorum call while their events are dispatched.
//!
//! `rust-corosync` calls bare functions, under a lock of the whole process. So they do nothing but put the
//! event down where the thread that dispatches finds it: callbacks run on that thread and no other.

use std::cell::{Cell, RefCell};

use fence_cluster::seam::{LeaveReason, MemberId, NodeId};
use fence_cluster::wire::message::MAX_MESSAGE;
use rust_corosync::{cpg, quorum};

use super::Happening;

/// One of corosync's rings: who made it, and its number.
type Ring = (u32, u64);

thread_local! {
    static INBOX: RefCell<Vec<Happening>> = const { RefCell::new(Vec::new()) };
    /// The ring that the group was last told of in.
    static GROUP_RING: Cell<Option<Ring>> = const { Cell::new(None) };
    /// The ring that the quorum was last told of.
    static QUORUM_RING: Cell<Option<Ring>> = const { Cell::new(None) };
}

/// What was put down on this thread since the last time.
pub(super) fn take() -> Vec<Happening> {
    INBOX.with_borrow_mut(std::mem::take)
}

/// Whether the group has changed with corosync's ring and whether there is still quorum has not been told yet:
/// corosync's parts are told of a new ring one after the other, the group first, and agree with the other hosts in
/// between.
pub(super) fn quorum_is_behind() -> bool {
    let group = GROUP_RING.get();
    group.is_some() && group != QUORUM_RING.get()
}

fn put(happening: Happening) {
    INBOX.with_borrow_mut(|inbox| inbox.push(happening));
}

/// What libcpg is to call.
pub(super) const CPG: cpg::ModelData = cpg::ModelData::ModelV1(cpg::Model1Data {
    flags: cpg::Model1Flags::None,
    deliver_fn: Some(delivered),
    confchg_fn: Some(membership_changed),
    totem_confchg_fn: Some(ring_changed),
});

/// What libquorum is to call.
pub(super) const QUORUM: quorum::ModelData = quorum::ModelData::ModelV1(quorum::Model1Data {
    flags: quorum::Model1Flags::None,
    quorum_notification_fn: Some(quorum_changed),
    nodelist_notification_fn: Some(nodes_changed),
});

#[expect(clippy::too_many_arguments, reason = "rust-corosync demands it")]
fn delivered(
    _: &cpg::Handle,
    _group: String,
    node: rust_corosync::NodeId,
    pid: u32,
    message: &[u8],
    _length: usize,
) {
    // Enough for the core to see that it is too long: what waits has a bound whatever a stranger sends.
    let kept = message.get(..=MAX_MESSAGE).unwrap_or(message);
    put(Happening::Delivered {
        from: member(node, pid),
        bytes: kept.to_vec(),
    });
}

fn membership_changed(
    _: &cpg::Handle,
    _group: &str,
    members: Vec<cpg::Address>,
    left: Vec<cpg::Address>,
    _joined: Vec<cpg::Address>,
) {
    let members = members.iter().map(|it| member(it.nodeid, it.pid)).collect();
    let left = left.iter().map(|it| {
        let why = match it.reason {
            cpg::Reason::Leave => LeaveReason::Left,
            cpg::Reason::ProcDown => LeaveReason::ProcessDown,
            // Whatever else: the worst of the three.
            _ => LeaveReason::NodeDown,
        };
        (member(it.nodeid, it.pid), why)
    });
    put(Happening::Membership {
        members,
        left: left.collect(),
    });
}

fn ring_changed(_: &cpg::Handle, ring: cpg::RingId, _: Vec<rust_corosync::NodeId>) {
    GROUP_RING.set(Some((ring.nodeid.into(), ring.seq)));
}

fn quorum_changed(
    _: &quorum::Handle,
    quorate: bool,
    ring: quorum::RingId,
    _: Vec<rust_corosync::NodeId>,
) {
    QUORUM_RING.set(Some((ring.nodeid.into(), ring.seq)));
    put(Happening::Quorum(quorate));
}

fn nodes_changed(
    _: &quorum::Handle,
    _: quorum::RingId,
    members: Vec<rust_corosync::NodeId>,
    joined: Vec<rust_corosync::NodeId>,
    _left: Vec<rust_corosync::NodeId>,
) {
    let nodes = |kept: &dyn Fn(&rust_corosync::NodeId) -> bool| {
        let kept = members.iter().copied().filter(kept);
        Happening::Nodes(kept.map(|node| NodeId(node.into())).collect())
    };
    // A node whose corosync came back before it was missed is in both rings: it was away all the same.
    if !joined.is_empty() {
        put(nodes(&|node| !joined.contains(node)));
    }
    put(nodes(&|_| true));
}

fn member(node: rust_corosync::NodeId, pid: u32) -> MemberId {
    MemberId {
        node: NodeId(node.into()),
        pid,
    }
}
