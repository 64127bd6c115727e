//! Strangers: whoever is on the network without the key.

use std::net::SocketAddr;
use std::time::Duration;

use crate::link::{End, Item, Node};
use crate::world::{Happening, World};

/// What a stranger does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Connects first and says nothing.
    Stalls,
    /// Sends rubbish, more than anybody asked for.
    Babbles,
    /// Closes at once.
    HangsUp,
    /// Sends everything back.
    Echoes,
    /// Hands the challenge of its first connection to all its other ones, and an answer back.
    Relays,
}

impl Manner {
    pub(crate) const ALL: [Self; 5] = [
        Self::Stalls,
        Self::Babbles,
        Self::HangsUp,
        Self::Echoes,
        Self::Relays,
    ];
}

/// A stranger.
#[derive(Debug)]
pub(crate) struct Stranger {
    pub(crate) manner: Manner,
    /// How often it connects to each agent whose request it hears.
    pub(crate) visits: u32,
    /// Where it waits for call-backs, if it does.
    pub(crate) listens_at: Option<SocketAddr>,
    open: Vec<(usize, End)>,
}

impl Stranger {
    /// One that connects to agents.
    pub(crate) const fn visiting(manner: Manner, visits: u32) -> Self {
        Self {
            manner,
            visits,
            listens_at: None,
            open: Vec::new(),
        }
    }

    /// One that waits for hosts that call back.
    pub(crate) const fn listening(manner: Manner, address: SocketAddr) -> Self {
        Self {
            manner,
            visits: 0,
            listens_at: Some(address),
            open: Vec::new(),
        }
    }
}

impl World {
    /// A request went by: visit who sent it, before any host can.
    pub(crate) fn stranger_hears(&mut self, index: usize, callback: SocketAddr) {
        for visit in 0..self.strangers[index].visits {
            let when = self.now + Duration::from_millis(u64::from(visit));
            self.schedule(
                when,
                Happening::Visit {
                    stranger: index,
                    callback,
                },
            );
        }
    }

    pub(crate) fn visit(&mut self, index: usize, callback: SocketAddr) {
        let connection = self.open_connection(Node::Stranger(index));
        self.send_to_address(connection, callback);
    }

    pub(crate) fn stranger_connected(&mut self, index: usize, connection: usize, end: End) {
        self.strangers[index].open.push((connection, end));
        match self.strangers[index].manner {
            Manner::Relays if end == End::Acceptor && self.strangers[index].open.len() == 1 => {
                let challenge = self.rng.bytes::<64>().to_vec();
                // The others must have called back, too, before anything can be handed on.
                self.schedule(
                    self.now + Duration::from_millis(5),
                    Happening::Say {
                        connection,
                        end,
                        bytes: challenge,
                    },
                );
            }
            Manner::Stalls | Manner::Echoes | Manner::Relays => {}
            Manner::HangsUp => self.close(connection, end),
            Manner::Babbles => {
                let rubbish = self.rng.bytes::<129>().to_vec();
                let len = usize::try_from(self.rng.below(130)).unwrap();
                self.send(connection, end, rubbish[..len].to_vec());
            }
        }
    }

    pub(crate) fn stranger_receives(&mut self, index: usize, connection: usize, item: Item) {
        let Item::Bytes(bytes) = item else {
            return;
        };
        let open = self.strangers[index].open.clone();
        let first = open.first().copied();
        match self.strangers[index].manner {
            Manner::Stalls | Manner::HangsUp | Manner::Babbles => {}
            Manner::Echoes => {
                for (other, end) in open {
                    self.send(other, end, bytes.clone());
                }
            }
            // What ends the first connection's bytes is its challenge: all others are asked for
            // the answer, and what they say first is handed back as that answer.
            Manner::Relays if first.is_some_and(|(it, _)| it == connection) => {
                let challenge = bytes.rchunks(64).next().unwrap_or_default();
                for (other, end) in open.into_iter().skip(1) {
                    self.send(other, end, challenge.to_vec());
                }
            }
            Manner::Relays => {
                if let (Some((first, end)), Some(answer)) = (first, bytes.chunks(64).next()) {
                    self.send(first, end, answer.to_vec());
                }
            }
        }
    }
}
