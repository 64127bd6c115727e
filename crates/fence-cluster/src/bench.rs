//! For tests that look inside: a core in a group of two, on a clock that the test sets.

use core::time::Duration;

use fence_proto::{DomainIdentity, Moment, Uuid};

use crate::cluster::Cluster;
use crate::seam::{
    Config, Event, Level, LocalDomain, MemberId, Migration, NameMode, NodeId, Now, Output,
    UnknownDomain, WallTime,
};
use crate::wire::message::Message;

pub(crate) const ME: MemberId = member(1);
pub(crate) const OTHER: MemberId = member(2);

pub(crate) const fn member(node: u32) -> MemberId {
    MemberId {
        node: NodeId(node),
        pid: 10,
    }
}

/// A domain that is shut off, or runs.
pub(crate) fn domain(number: u32, active: bool) -> LocalDomain {
    LocalDomain {
        identity: DomainIdentity {
            name: format!("vm{number}"),
            uuid: uuid(number),
        },
        active,
        state: if active { 1 } else { 5 },
        migration: Migration::None,
    }
}

pub(crate) fn uuid(number: u32) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Uuid(bytes)
}

/// The core, and what it has said.
pub(crate) struct Bench {
    pub(crate) core: Cluster,
    pub(crate) now: Now,
    out: Vec<Output>,
}

impl Bench {
    /// Two members, with quorum; this one's libvirt has listed nothing yet.
    pub(crate) fn new() -> Self {
        let now = Now {
            moment: Moment::from_epoch(Duration::from_secs(100)),
            wall: WallTime(1_700_000_000_000),
        };
        let config = Config {
            me: ME,
            request_timeout: Duration::from_secs(20),
            unknown: UnknownDomain::Failure,
            name_mode: NameMode::Name,
            proofs: true,
        };
        let mut bench = Self {
            core: Cluster::new(config, now),
            now,
            out: Vec::new(),
        };
        bench.members(&[ME, OTHER]);
        bench.feed(Event::Quorum(true));
        bench
    }

    pub(crate) fn feed(&mut self, event: Event<'_>) {
        self.core.handle(self.now, event, &mut self.out);
    }

    /// The group has these members now.
    pub(crate) fn members(&mut self, members: &[MemberId]) {
        let members = members.to_vec();
        let left = Vec::new();
        self.feed(Event::Membership { members, left });
    }

    pub(crate) fn hear(&mut self, from: MemberId, message: &Message) {
        let bytes = &message.encode();
        self.feed(Event::Delivered { from, bytes });
    }

    pub(crate) fn later(&mut self, seconds: u64) {
        self.now.moment = self.now.moment + Duration::from_secs(seconds);
        self.now.wall.0 += seconds * 1000;
    }

    /// The messages of our own kind that it has sent since this was last asked.
    pub(crate) fn sent(&mut self) -> Vec<Message> {
        let out = core::mem::take(&mut self.out).into_iter();
        let sent = out.filter_map(|output| match output {
            Output::Send(bytes) => Message::decode(&bytes).ok(),
            _ => None,
        });
        sent.collect()
    }

    /// The warnings that it has given since this was last asked.
    pub(crate) fn warnings(&mut self) -> Vec<String> {
        let out = core::mem::take(&mut self.out).into_iter();
        let warnings = out.filter_map(|output| match output {
            Output::Note(Level::Warn, text) => Some(text),
            _ => None,
        });
        warnings.collect()
    }
}
