//! The core as a member: what is explored is the crate that the daemon runs.

use std::time::Duration;

use fence_cluster::Cluster;
use fence_cluster::seam::{Config, Event, NameMode, Now, Output, UnknownDomain};
use fence_cluster::wire::message::Message;
use fence_proto::Moment;

use crate::claims::PATIENCE;
use crate::rules::{Rules, Setup, Word};

impl Rules for Cluster {
    const ANNOUNCES: bool = true;

    fn explain(bytes: &[u8]) -> String {
        Message::decode(bytes).map_or_else(|why| why.to_string(), |message| format!("{message:?}"))
    }

    fn word(bytes: &[u8]) -> Option<Word> {
        match Message::decode(bytes).ok()? {
            Message::Begin { key, uuid, .. } => Some(Word::Begin {
                request: (key.requester, key.number),
                domain: uuid,
            }),
            Message::Closed { key } => Some(Word::Closed {
                request: (key.requester, key.number),
            }),
            _ => None,
        }
    }

    fn start(setup: Setup, now: Now) -> Self {
        let config = Config {
            me: setup.me,
            request_timeout: Duration::from_millis(PATIENCE),
            unknown: UnknownDomain::Failure,
            name_mode: NameMode::Name,
            proofs: setup.proofs,
        };
        Self::new(config, now)
    }

    fn handle(&mut self, now: Now, event: Event<'_>, out: &mut Vec<Output>) {
        Self::handle(self, now, event, out);
    }

    fn deadline(&self) -> Option<Moment> {
        Self::deadline(self)
    }

    fn digest(&self, now: Now) -> u64 {
        self.fingerprint(now)
    }
}
