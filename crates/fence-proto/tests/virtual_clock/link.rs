//! The network: how bad it is, and connections that deliver in order or not at all.

use std::collections::VecDeque;
use std::time::Duration;

use fence_proto::Moment;

use crate::rng::Rng;

/// How bad the network is. Shares are in thousandths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Datagrams that never arrive. A connection's segments are lost as often and sent again.
    pub(crate) loss: u64,
    /// Datagrams that arrive twice.
    pub(crate) duplicate: u64,
    /// Datagrams that arrive up to three seconds late, behind newer ones.
    pub(crate) straggle: u64,
    /// One way.
    pub(crate) delay: (Duration, Duration),
    /// Connections that are reset at some moment of their first ten seconds.
    pub(crate) reset: u64,
    /// Connections that fall silent, without a reset, at such a moment.
    pub(crate) silence: u64,
}

impl Link {
    /// Nothing is lost and everything takes one millisecond, more or less.
    pub(crate) const GOOD: Self = Self {
        loss: 0,
        duplicate: 0,
        straggle: 0,
        delay: (Duration::from_micros(500), Duration::from_millis(1)),
        reset: 0,
        silence: 0,
    };

    /// When copies of a datagram arrive; none if it is lost.
    pub(crate) fn datagram(&self, rng: &mut Rng, now: Moment) -> Vec<Moment> {
        let copies = if rng.chance(self.duplicate) { 2 } else { 1 };
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            if rng.chance(self.loss) {
                continue;
            }
            let late = if rng.chance(self.straggle) {
                rng.between((Duration::ZERO, Duration::from_secs(3)))
            } else {
                Duration::ZERO
            };
            arrivals.push(now + rng.between(self.delay) + late);
        }
        arrivals
    }

    /// How long a segment takes, repeats included: 200 ms, 400 ms … after each loss.
    pub(crate) fn segment(&self, rng: &mut Rng) -> Duration {
        let mut delay = rng.between(self.delay);
        let mut again = Duration::from_millis(200);
        while rng.chance(self.loss) && again < Duration::from_secs(20) {
            delay += again;
            again *= 2;
        }
        delay
    }

    /// What will become of a new connection.
    pub(crate) fn fate(&self, rng: &mut Rng, now: Moment) -> Fate {
        let when = now + rng.between((Duration::ZERO, Duration::from_secs(10)));
        if rng.chance(self.reset) {
            Fate::ResetAt(when)
        } else if rng.chance(self.silence) {
            Fate::SilentFrom(when)
        } else {
            Fate::Lasting
        }
    }
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lasting,
    ResetAt(Moment),
    SilentFrom(Moment),
}

/// Who can be at the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Agent(usize),
    Host(usize),
    Stranger(usize),
}

/// What arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Bytes(Vec<u8>),
    Closed,
}

/// Which end: the one that connected, or the one that accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Connector,
    Acceptor,
}

impl End {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Connector => Self::Acceptor,
            Self::Acceptor => Self::Connector,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Connector => 0,
            Self::Acceptor => 1,
        }
    }
}

/// A connection. What has arrived waits in the inbox until its node takes it, as in a kernel.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The connector, and the acceptor once there is one.
    nodes: [Option<Node>; 2],
    fate: Fate,
    /// No item may arrive before the one that was sent before it.
    in_order: [Moment; 2],
    inbox: [VecDeque<Item>; 2],
    closed: [bool; 2],
}

impl Connection {
    pub(crate) fn new(connector: Node, fate: Fate) -> Self {
        Self {
            nodes: [Some(connector), None],
            fate,
            in_order: [Moment::ZERO; 2],
            inbox: [VecDeque::new(), VecDeque::new()],
            closed: [false; 2],
        }
    }

    pub(crate) fn accept(&mut self, node: Node) {
        self.nodes[End::Acceptor.index()] = Some(node);
    }

    pub(crate) const fn node(&self, end: End) -> Option<Node> {
        self.nodes[end.index()]
    }

    /// When something that is sent now arrives at `to`; `None` if it never does.
    pub(crate) fn arrival(&mut self, to: End, now: Moment, delay: Duration) -> Option<Moment> {
        if matches!(self.fate, Fate::SilentFrom(when) if now >= when) {
            return None;
        }
        let floor = &mut self.in_order[to.index()];
        *floor = (now + delay).max(*floor);
        Some(*floor)
    }

    pub(crate) const fn reset_at(&self) -> Option<Moment> {
        match self.fate {
            Fate::ResetAt(when) => Some(when),
            Fate::Lasting | Fate::SilentFrom(_) => None,
        }
    }

    /// The end closes; whether it was open.
    pub(crate) fn close(&mut self, end: End) -> bool {
        !core::mem::replace(&mut self.closed[end.index()], true)
    }

    pub(crate) const fn is_closed(&self, end: End) -> bool {
        self.closed[end.index()]
    }

    pub(crate) fn arrived(&mut self, at: End, item: Item) {
        self.inbox[at.index()].push_back(item);
    }

    pub(crate) fn take(&mut self, at: End) -> Option<Item> {
        self.inbox[at.index()].pop_front()
    }

    /// What a look without taking shows: the peer is gone and nothing of it is left to read.
    pub(crate) fn shows_end(&self, at: End) -> bool {
        self.inbox[at.index()].front() == Some(&Item::Closed)
    }
}
