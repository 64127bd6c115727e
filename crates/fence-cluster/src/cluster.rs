//! The state machine: what one member of the group knows and does.

use std::collections::{BTreeMap, BTreeSet};

use fence_proto::{Moment, Uuid};

use crate::cases::Case;
use crate::cx::Cx;
use crate::inventory::{Inquiry, Memory, Tombstones};
use crate::jobs::Jobs;
use crate::limits::DIGEST;
use crate::local::Local;
use crate::peers::{Fetch, Kind, Peer};
use crate::reason::Counters;
use crate::seam::{Config, Event, MemberId, NodeId, Now, Output, Runs, WallTime};
use crate::turns::Turns;
use crate::wire::legacy::is_legacy;
use crate::wire::message::{Key, Message};

/// One member of the cluster. Feed it every event with [`Self::handle`], and do what comes out, in
/// order.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(crate) config: Config,
    /// The configured hosts, once they are known.
    pub(crate) hosts: Option<BTreeMap<NodeId, String>>,
    /// The hosts that corosync has, once they are known.
    pub(crate) nodes: Option<BTreeSet<NodeId>>,
    pub(crate) quorum: bool,
    pub(crate) connected: bool,
    /// Since when there has been no quorum or no connection.
    pub(crate) alone: Option<Moment>,
    /// Since when this member could claim something, with quorum, after every event.
    pub(crate) serves: Option<Moment>,
    /// The runs that this host had when that last ended, after long enough, by their versions: while they go on
    /// nobody can have started these domains elsewhere without fencing this host.
    pub(crate) held: BTreeMap<Uuid, u64>,
    /// Since when this member has been in the group, with quorum, without a break.
    pub(crate) joined: WallTime,
    /// The same, or earlier if others were and have said what they know: since then no host can have
    /// come back unnoticed.
    pub(crate) sighted: WallTime,
    /// When corosync got hosts that it had not had.
    pub(crate) appeared: BTreeMap<NodeId, WallTime>,
    pub(crate) local: Local,
    pub(crate) peers: BTreeMap<MemberId, Peer>,
    pub(crate) memories: BTreeMap<NodeId, Memory>,
    pub(crate) fetches: BTreeMap<NodeId, Fetch>,
    pub(crate) inquiries: BTreeMap<NodeId, Inquiry>,
    pub(crate) gone: Tombstones,
    pub(crate) turns: Turns,
    pub(crate) jobs: Jobs,
    /// Definitions that the shell keeps, for which request, and until when at most.
    pub(crate) kept: BTreeMap<Uuid, (Key, Moment)>,
    pub(crate) cases: BTreeMap<u64, Case>,
    /// The number of the next request.
    pub(crate) next_number: u64,
    pub(crate) digest_due: Moment,
    /// The number of the last request to members that run the original, and how many requests of
    /// that kind were delivered.
    pub(crate) original_seqno: u32,
    pub(crate) original_requests: u64,
    /// How many members have departed.
    pub(crate) departures: u64,
    /// When a message of this member's own last came back: until then everybody's did.
    pub(crate) echoed: Moment,
    /// When the last event was handled.
    pub(crate) last: Moment,
    pub(crate) attention: Attention,
    pub(crate) counters: Counters,
}

/// Which requests have to be looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attention {
    /// Those that something has happened to.
    pub(crate) touched: BTreeSet<u64>,
    /// All of them.
    pub(crate) all: bool,
    /// Those about which something would be claimed if nothing else were waiting.
    pub(crate) claims: BTreeSet<u64>,
    /// Nothing else is waiting.
    pub(crate) drained: bool,
}

impl Cluster {
    /// A daemon that starts now, has joined nothing and has heard nothing from its libvirt.
    #[must_use]
    pub fn new(config: Config, now: Now) -> Self {
        Self {
            config,
            hosts: None,
            nodes: None,
            quorum: false,
            connected: false,
            alone: Some(now.moment),
            serves: None,
            held: BTreeMap::new(),
            joined: now.wall,
            sighted: now.wall,
            appeared: BTreeMap::new(),
            local: Local::new(now.wall),
            peers: BTreeMap::new(),
            memories: BTreeMap::new(),
            fetches: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            gone: Tombstones::default(),
            turns: Turns::default(),
            jobs: Jobs::default(),
            kept: BTreeMap::new(),
            cases: BTreeMap::new(),
            next_number: 1,
            digest_due: now.moment + DIGEST,
            original_seqno: 0,
            original_requests: 0,
            departures: 0,
            echoed: now.moment,
            last: now.moment,
            attention: Attention::default(),
            counters: Counters::default(),
        }
    }

    /// Takes in what happened; appends what has to be done.
    pub fn handle(&mut self, now: Now, event: Event<'_>, out: &mut Vec<Output>) {
        let mut cx = Cx::new(now, out);
        let cx = &mut cx;
        self.attention.drained = matches!(event, Event::Tick);
        // What is over is over before anything else happens: the daemon may have stood still.
        self.expire_cases(cx);
        if self.attention.drained {
            let claims = core::mem::take(&mut self.attention.claims);
            self.attention.touched.extend(claims);
        }
        self.attention.all = self.touches_all(now.moment, &event);
        self.take(cx, event);
        self.look_around(cx);
        self.clear_memories(cx.now);
        if self.attention.drained {
            self.begin_announced(cx);
        }
        self.keep_up(cx);
        self.forget_what_is_old(cx);
        self.end_old_turns(cx);
        self.advance_parts(cx);
        self.advance_cases(cx);
        self.note_what_is_held(now.moment);
        self.last = self.last.max(now.moment);
    }

    /// Whether an event, or the time, may matter to every request. Messages that only matter to one
    /// say so when they are handled.
    fn touches_all(&self, now: Moment, event: &Event<'_>) -> bool {
        let narrow = matches!(
            event,
            Event::Delivered { .. }
                | Event::Request(..)
                | Event::Abandoned(_)
                | Event::Done(..)
                | Event::Tick
        );
        let mut due = !narrow;
        self.times_of_requests(&mut |at| due |= at > self.last && at <= now);
        due
    }

    fn take(&mut self, cx: &mut Cx<'_>, event: Event<'_>) {
        match event {
            Event::Membership { members, left } => self.membership(cx, &members, &left),
            Event::Disconnected => self.disconnected(cx),
            Event::Delivered { from, bytes } => self.delivered(cx, from, bytes),
            Event::Quorum(quorum) => self.quorum_is(quorum),
            Event::Nodes(nodes) => self.nodes_are(cx, &nodes),
            Event::ShuttingDown => self.send(cx, &Message::Bye),
            Event::Hosts(hosts) => self.hosts_configured(cx, hosts),
            Event::Inventory(domains) => self.inventory_listed(cx, domains),
            Event::Changed(domain) => self.observe(cx, &domain, false),
            Event::Gone(uuid) => self.observe_gone(cx, uuid, false),
            Event::InventoryLost => self.inventory_lost(cx),
            Event::Proof { node, since, proof } => self.proof_answered(cx, node, since, proof),
            Event::Request(ticket, request) => self.requested(cx, ticket, request),
            Event::Abandoned(ticket) => self.abandoned(ticket),
            Event::Done(id, outcome) => self.job_done(cx, id, &outcome),
            Event::Tick => {}
        }
    }

    /// When [`Event::Tick`] is due, if nothing happens before. May lie in the past: then it is due
    /// at once, behind the events that are waiting already.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        if self.has_announced() || !self.attention.claims.is_empty() {
            return Some(self.last);
        }
        let mut next = None;
        let mut at = |moment: Moment| {
            // What was due by the last event has been considered with it.
            if moment > self.last {
                next = Some(next.map_or(moment, |next: Moment| next.min(moment)));
            }
        };
        self.times_of_group(&mut at);
        self.times_of_cases(&mut at);
        next
    }

    /// What was dropped and why, as `name=count`, for the log.
    #[must_use]
    pub fn summary(&self) -> String {
        self.counters.summary()
    }

    /// The members of the group, and what each of them runs as far as it has been heard.
    #[must_use]
    pub fn members(&self) -> Vec<(MemberId, Runs)> {
        let peers = self.peers.iter().map(|(member, peer)| {
            let runs = match peer.kind {
                Kind::Unheard => Runs::Unheard,
                Kind::Ours => Runs::Ours,
                Kind::Original(_) => Runs::Original,
            };
            (*member, runs)
        });
        peers.chain([(self.config.me, Runs::Ours)]).collect()
    }

    /// Sends to the group, if there is one.
    pub(crate) fn send(&self, cx: &mut Cx<'_>, message: &Message) {
        if self.connected {
            cx.out.push(Output::Send(message.encode()));
        }
    }

    fn delivered(&mut self, cx: &mut Cx<'_>, from: MemberId, bytes: &[u8]) {
        if from == self.config.me {
            self.echoed = cx.now;
        }
        let result = if is_legacy(bytes) {
            self.attention.all = true;
            self.delivered_original(cx, from, bytes)
        } else {
            Message::decode(bytes).and_then(|message| self.delivered_ours(cx, from, message))
        };
        if let Err(reason) = result {
            self.counters.count(reason);
            let len = bytes.len();
            cx.debug(format!(
                "a message of {len} bytes from {from} was dropped: {reason}"
            ));
        }
    }
}
