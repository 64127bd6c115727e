//! A number for a state, for those who explore states: the same for two that behave alike.

use core::hash::{Hash, Hasher};
use core::time::Duration;
use std::hash::DefaultHasher;

use fence_proto::Moment;

use crate::cases::{Case, Stage};
use crate::cluster::Cluster;
use crate::peers::Kind;
use crate::seam::{Job, Now};
use crate::turns::{Part, Turn};

/// Where "now" is put.
const NOW: Moment = Moment::from_epoch(Duration::from_secs(1_000));

/// What is longer ago makes no difference: no pause is longer than this.
const LONG_AGO: Moment = Moment::from_epoch(Duration::from_secs(900));

/// Moves moments so that one is [`NOW`].
#[derive(Debug, Clone, Copy)]
struct Shift(Moment);

impl Shift {
    fn one(self, moment: &mut Moment) {
        let ahead = moment.since(self.0);
        let behind = self.0.since(*moment);
        *moment = (NOW + ahead).ago(behind).max(LONG_AGO);
    }

    fn some(self, moment: &mut Option<Moment>) {
        if let Some(moment) = moment {
            self.one(moment);
        }
    }
}

impl Cluster {
    /// A number that is the same for two states that behave alike from now on: moments count by
    /// their distance from `now`, and what is only counted or logged does not count. Wall times
    /// count as they are.
    #[must_use]
    pub fn fingerprint(&self, now: Now) -> u64 {
        let mut state = self.clone();
        state.shift(Shift(now.moment));
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    }

    fn shift(&mut self, to: Shift) {
        to.one(&mut self.last);
        to.one(&mut self.digest_due);
        to.one(&mut self.echoed);
        to.some(&mut self.alone);
        to.some(&mut self.serves);
        to.some(&mut self.local.sent);
        for peer in self.peers.values_mut() {
            to.one(&mut peer.joined);
            to.one(&mut peer.heard);
            to.one(&mut peer.steady);
            to.some(&mut peer.asked);
            if let Kind::Original(original) = &mut peer.kind {
                original.moments(|moment| to.one(moment));
            }
        }
        for fetch in self.fetches.values_mut() {
            to.some(&mut fetch.asked);
        }
        for memory in self.memories.values_mut() {
            memory.starting.moments(|moment| to.one(moment));
        }
        for inquiry in self.inquiries.values_mut() {
            if let Some((asked, _)) = &mut inquiry.asked {
                to.one(asked);
            }
        }
        for (_, turn) in self.turns.iter_mut() {
            shift_turn(to, turn);
        }
        for job in self.jobs.iter_mut() {
            if let Job::Off {
                begin_by, end_by, ..
            }
            | Job::Start {
                begin_by, end_by, ..
            } = job
            {
                to.one(begin_by);
                to.one(end_by);
            }
        }
        for (_, until) in self.kept.values_mut() {
            to.one(until);
        }
        for case in self.cases.values_mut() {
            shift_case(to, case);
        }
    }
}

fn shift_turn(to: Shift, turn: &mut Turn) {
    to.one(&mut turn.times.begin_by);
    if let Some((_, _, times)) = &mut turn.start {
        to.one(&mut times.begin_by);
    }
    match &mut turn.part {
        Part::Announced { at: moment, .. } | Part::Begun { by: moment, .. } => to.one(moment),
        Part::Answered | Part::Due | Part::Looking | Part::Acting { .. } => {}
    }
}

fn shift_case(to: Shift, case: &mut Case) {
    for moment in [
        &mut case.arrived,
        &mut case.close_at,
        &mut case.decide_by,
        &mut case.request.start_by,
        &mut case.request.answer_by,
        &mut case.pursuit.sent,
    ] {
        to.one(moment);
    }
    to.some(&mut case.pursuit.pause);
    to.some(&mut case.pursuit.closes);
    match &mut case.stage {
        Stage::Finding { since, .. }
        | Stage::Starting { since, .. }
        | Stage::Pinging { since, .. } => to.one(since),
        _ => {}
    }
}

impl Hash for Cluster {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.config.me.hash(state);
        (&self.hosts, &self.nodes, self.quorum).hash(state);
        (self.connected, self.joined, self.sighted).hash(state);
        (&self.appeared, &self.attention.claims).hash(state);
        (&self.local, &self.peers, &self.memories, &self.fetches).hash(state);
        (&self.inquiries, &self.gone, &self.turns).hash(state);
        (&self.jobs, &self.kept, &self.cases).hash(state);
        (self.next_number, self.digest_due, self.last).hash(state);
        (self.alone, self.echoed, self.serves, &self.held).hash(state);
        self.departures.hash(state);
        (self.original_seqno, self.original_requests).hash(state);
    }
}

impl Hash for Case {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let request = &self.request;
        (&self.origin, request.action, &request.domain).hash(state);
        request.requester.source().hash(state);
        (request.start_by, request.answer_by).hash(state);
        (self.arrived, self.close_at, self.decide_by).hash(state);
        (&self.stage, &self.target, &self.pursuit, &self.outcome).hash(state);
        (self.job_out, self.looked, self.abandoned).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::{Config, Event, MemberId, NameMode, NodeId, UnknownDomain, WallTime};

    fn now(seconds: u64) -> Now {
        Now {
            moment: Moment::from_epoch(Duration::from_secs(seconds)),
            wall: WallTime(5),
        }
    }

    fn joined(seconds: u64) -> Cluster {
        let me = MemberId {
            node: NodeId(1),
            pid: 1,
        };
        let config = Config {
            me,
            request_timeout: Duration::from_secs(20),
            unknown: UnknownDomain::Failure,
            name_mode: NameMode::Name,
            proofs: true,
        };
        let mut cluster = Cluster::new(config, now(seconds));
        let event = Event::Membership {
            members: vec![me],
            left: vec![],
        };
        cluster.handle(now(seconds), event, &mut Vec::new());
        cluster
    }

    #[test]
    fn same_state_at_another_time_has_the_same_number() {
        let (early, late) = (joined(10), joined(500));
        assert_eq!(early.fingerprint(now(10)), late.fingerprint(now(500)));
        assert_eq!(early.fingerprint(now(11)), late.fingerprint(now(501)));
        assert_ne!(early.fingerprint(now(10)), late.fingerprint(now(501)));
    }

    #[test]
    fn another_state_has_another_number() {
        let mut cluster = joined(10);
        let before = cluster.fingerprint(now(10));
        cluster.handle(now(10), Event::Quorum(true), &mut Vec::new());
        assert_ne!(cluster.fingerprint(now(10)), before);
    }

    #[test]
    fn what_is_counted_makes_no_difference() {
        let mut cluster = joined(10);
        let before = cluster.fingerprint(now(10));
        let from = MemberId {
            node: NodeId(9),
            pid: 9,
        };
        let event = Event::Delivered {
            from,
            bytes: &[255; 20],
        };
        cluster.handle(now(10), event, &mut Vec::new());
        assert_eq!(cluster.summary(), "unknown-type=1");
        assert_eq!(cluster.fingerprint(now(10)), before);
    }
}
