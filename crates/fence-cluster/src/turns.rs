//! The requests that change domains, as every member keeps them: one at a time for each domain, in
//! the order in which their rounds were delivered.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use fence_proto::{Moment, Uuid};

use crate::limits::{GRACE, LONGEST_REQUEST, MAX_TURNS, MAX_TURNS_EACH, TURN_ENDS};
use crate::reason::Reason;
use crate::seam::{JobId, MemberId};
use crate::wire::message::{Key, Limits, Round};

/// How far this member is with its part in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// The last round is answered.
    Answered,
    /// The last round is to be answered when it is the request's turn.
    Due,
    /// libvirt is being asked.
    Looking,
    /// It was announced that something is begun; the announcement has not come back.
    Announced { what: What, at: Moment },
    /// The announcement came back in time: to be begun before `by` when nothing else is waiting.
    Begun { what: What, by: Moment },
    /// It is being done.
    Acting { what: What, job: JobId },
}

/// What a member does in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// Destroy it, in this round.
    Off(u16),
    /// Start it, in this round.
    Start(u16),
}

impl What {
    pub(crate) const fn round(self) -> u16 {
        match self {
            Self::Off(round) | Self::Start(round) => round,
        }
    }
}

/// How long something may take, by this member's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Times {
    /// Nothing is begun later.
    pub(crate) begin_by: Moment,
    /// From an announcement to its beginning.
    pub(crate) grace: Duration,
}

impl Times {
    pub(crate) fn new(now: Moment, limits: Limits) -> Self {
        let ms = |ms: u32| Duration::from_millis(u64::from(ms));
        Self {
            begin_by: now + ms(limits.remaining_ms).min(LONGEST_REQUEST),
            grace: ms(limits.grace_ms).min(GRACE),
        }
    }
}

/// A request in its domain's queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Turn {
    /// Its last round.
    pub(crate) round: Round,
    pub(crate) times: Times,
    /// Who was told to start the domain, after which round.
    pub(crate) start: Option<(MemberId, u16, Times)>,
    /// What this member does.
    pub(crate) part: Part,
    /// Another round came while this member was acting.
    pub(crate) due_again: bool,
    /// This member has destroyed the domain without asking anybody since: it does not start it.
    pub(crate) no_start: bool,
    /// How many departures there had been when the round was delivered.
    pub(crate) departures: u64,
}

impl Turn {
    /// After this moment it ends by itself.
    pub(crate) fn ends(&self) -> Moment {
        self.times.begin_by + TURN_ENDS
    }
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Turns {
    turns: BTreeMap<Key, Turn>,
    queues: BTreeMap<Uuid, Vec<Key>>,
    /// Requests that others ended. Their requesters may not have heard that yet, and go on.
    ended: VecDeque<Key>,
}

impl Turns {
    /// Somebody else has ended the request: no round of it is taken up any more.
    pub(crate) fn end_for_good(&mut self, key: Key) {
        if self.ended.len() >= MAX_TURNS_EACH {
            self.ended.pop_front();
        }
        self.ended.push_back(key);
    }

    /// The requester is gone, and can go on with nothing.
    pub(crate) fn forget_ended(&mut self, member: MemberId) {
        self.ended.retain(|key| key.requester != member);
    }

    pub(crate) fn find(&self, key: Key) -> Option<&Turn> {
        self.turns.get(&key)
    }

    pub(crate) fn find_mut(&mut self, key: Key) -> Option<&mut Turn> {
        self.turns.get_mut(&key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Turn)> {
        self.turns.iter().map(|(key, turn)| (*key, turn))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Turn)> {
        self.turns.iter_mut().map(|(key, turn)| (*key, turn))
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.turns.keys().copied().collect()
    }

    /// The requests for a domain, the one whose turn it is first.
    pub(crate) fn queue(&self, uuid: Uuid) -> &[Key] {
        self.queues.get(&uuid).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_first(&self, key: Key) -> bool {
        let uuid = self.turns.get(&key).map(|turn| turn.round.uuid);
        uuid.is_some_and(|uuid| self.queue(uuid).first() == Some(&key))
    }

    /// Whether this member has announced to start the domain and has not given the job yet.
    pub(crate) fn starts(&self, uuid: Uuid) -> bool {
        let parts = self.queue(uuid).iter().filter_map(|key| self.find(*key));
        let mut whats = parts.filter_map(|turn| match turn.part {
            Part::Announced { what, .. } | Part::Begun { what, .. } => Some(what),
            _ => None,
        });
        whats.any(|what| matches!(what, What::Start(_)))
    }

    /// A round was delivered: the request gets its place, or goes on. What this member had
    /// announced for an earlier round is void for everybody, and returned.
    pub(crate) fn round(
        &mut self,
        key: Key,
        round: Round,
        times: Times,
    ) -> Result<Option<What>, Reason> {
        if self.ended.contains(&key) {
            return Err(Reason::Over);
        }
        if let Some(turn) = self.turns.get_mut(&key) {
            if turn.round.uuid != round.uuid || turn.round.action != round.action {
                return Err(Reason::NotItsRequest);
            }
            if round.round <= turn.round.round {
                return Err(Reason::Over);
            }
            turn.round = round;
            turn.times = times;
            turn.start = None;
            let void = match turn.part {
                Part::Announced { what, .. } => Some(what),
                _ => None,
            };
            match turn.part {
                Part::Begun { .. } | Part::Acting { .. } => turn.due_again = true,
                _ => turn.part = Part::Due,
            }
            return Ok(void);
        }
        let of_it = |other: &&Key| other.requester == key.requester;
        if self.turns.len() >= MAX_TURNS
            || self.turns.keys().filter(of_it).count() >= MAX_TURNS_EACH
        {
            return Err(Reason::Full);
        }
        self.queues.entry(round.uuid).or_default().push(key);
        let turn = Turn {
            round,
            times,
            start: None,
            part: Part::Due,
            due_again: false,
            no_start: false,
            departures: 0,
        };
        self.turns.insert(key, turn);
        Ok(None)
    }

    /// The request is over.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Turn> {
        let turn = self.turns.remove(&key)?;
        if let Some(queue) = self.queues.get_mut(&turn.round.uuid) {
            queue.retain(|other| *other != key);
            if queue.is_empty() {
                self.queues.remove(&turn.round.uuid);
            }
        }
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use fence_proto::Action;

    use super::*;
    use crate::seam::NodeId;

    const UUID: Uuid = Uuid([1; 16]);

    fn key(node: u32, number: u64) -> Key {
        let requester = MemberId {
            node: NodeId(node),
            pid: 1,
        };
        Key { requester, number }
    }

    fn round(number: u16) -> Round {
        Round {
            number: 1,
            round: number,
            action: Action::Off,
            incoming: false,
            uuid: UUID,
            limits: Limits {
                remaining_ms: 1000,
                grace_ms: 100,
            },
            candidate: None,
            names: vec![],
        }
    }

    fn times() -> Times {
        Times::new(Moment::ZERO, round(1).limits)
    }

    #[test]
    fn requests_for_a_domain_keep_the_order_of_their_first_round() {
        let mut turns = Turns::default();
        for key in [key(3, 1), key(1, 1), key(2, 1)] {
            assert_eq!(turns.round(key, round(1), times()), Ok(None));
        }
        assert_eq!(turns.round(key(1, 1), round(2), times()), Ok(None));
        assert_eq!(turns.queue(UUID), [key(3, 1), key(1, 1), key(2, 1)]);
        assert!(turns.is_first(key(3, 1)));
        turns.remove(key(3, 1));
        assert!(turns.is_first(key(1, 1)));
    }

    #[test]
    fn new_round_voids_what_was_announced_and_waits_for_what_has_begun() {
        let mut turns = Turns::default();
        let key = key(1, 1);
        let what = What::Off(1);
        turns.round(key, round(1), times()).unwrap();
        let at = Moment::ZERO;
        turns.find_mut(key).unwrap().part = Part::Announced { what, at };
        assert_eq!(turns.round(key, round(2), times()), Ok(Some(what)));
        assert_eq!(turns.find(key).unwrap().part, Part::Due);
        let begun = Part::Begun { what, by: at };
        turns.find_mut(key).unwrap().part = begun.clone();
        turns.round(key, round(3), times()).unwrap();
        assert_eq!(turns.find(key).unwrap().part, begun);
        assert!(turns.find(key).unwrap().due_again);
    }

    #[test]
    fn old_rounds_and_other_domains_are_refused() {
        let mut turns = Turns::default();
        let key = key(1, 1);
        turns.round(key, round(2), times()).unwrap();
        for old in [1, 2] {
            assert_eq!(turns.round(key, round(old), times()), Err(Reason::Over));
        }
        let other = Round {
            uuid: Uuid([2; 16]),
            ..round(3)
        };
        assert_eq!(turns.round(key, other, times()), Err(Reason::NotItsRequest));
    }

    #[test]
    fn request_that_others_have_ended_is_not_taken_up_again() {
        let mut turns = Turns::default();
        let key = key(1, 1);
        turns.round(key, round(1), times()).unwrap();
        turns.remove(key);
        turns.end_for_good(key);
        // Its requester stood still, and has not heard of it.
        assert_eq!(turns.round(key, round(2), times()), Err(Reason::Over));
        turns.forget_ended(key.requester);
        assert_eq!(turns.round(key, round(3), times()), Ok(None));
    }

    #[test]
    fn one_requester_cannot_take_all_places() {
        let mut turns = Turns::default();
        let limit = u64::try_from(MAX_TURNS_EACH).unwrap();
        for number in 0..limit {
            turns.round(key(1, number), round(1), times()).unwrap();
        }
        let full = turns.round(key(1, limit), round(1), times());
        assert_eq!(full, Err(Reason::Full));
        assert_eq!(turns.round(key(2, 0), round(1), times()), Ok(None));
    }
}
