//! What a line remembers of its deeds.

use std::collections::VecDeque;

use super::super::replay::{RequestKey, SERVED_MEMORY};
use crate::reply::Reply;
use crate::time::Moment;

/// Deeds that are remembered: more than one guest asks for in ten seconds.
const SERVED_MAX: usize = 16;

/// Deeds that were answered, and how; the oldest first.
#[derive(Debug, Default)]
pub(super) struct Served(VecDeque<(Moment, RequestKey, Reply)>);

impl Served {
    /// Remembers a deed for ten seconds, at the cost of the oldest one if need be.
    pub(super) fn remember(&mut self, now: Moment, key: RequestKey, reply: Reply) {
        if self.0.len() >= SERVED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, key, reply));
    }

    /// How a deed was answered.
    pub(super) fn reply(&self, key: &RequestKey) -> Option<Reply> {
        let found = self.0.iter().find(|(_, known, _)| known == key);
        found.map(|(_, _, reply)| *reply)
    }

    /// Forgets what is old.
    pub(super) fn expire(&mut self, now: Moment) {
        while let Some((at, ..)) = self.0.front() {
            if now.since(*at) < SERVED_MEMORY {
                break;
            }
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;
    use crate::domain::DomainRef;
    use core::time::Duration;

    #[test]
    fn deeds_are_forgotten_by_time_and_by_number() {
        let key = |seqno| RequestKey::new(Action::Off, seqno, &DomainRef::default());
        let at = |seconds| Moment::from_epoch(Duration::from_secs(seconds));
        let mut served = Served::default();
        for seqno in 0..40 {
            served.remember(at(0), key(seqno), Reply::Success);
        }
        assert_eq!(served.0.len(), SERVED_MAX);
        assert_eq!(served.reply(&key(39)), Some(Reply::Success));
        assert_eq!(served.reply(&key(0)), None);
        served.expire(at(9));
        assert_eq!(served.0.len(), SERVED_MAX);
        served.expire(at(10));
        assert_eq!(served.0.len(), 0);
    }
}
