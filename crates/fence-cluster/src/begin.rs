//! Announcing what this member is about to do, and doing it once that has come back in time.

use core::time::Duration;

use fence_proto::{Action, Moment, Uuid};

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::jobs::Purpose;
use crate::reason::Reason;
use crate::seam::{Job, MemberId};
use crate::turns::{Part, Times, Turn, What};
use crate::wire::message::{Finding, Key, Limits, Message};
use crate::wire::record::Holding;

impl Cluster {
    pub(crate) fn start_delivered(
        &mut self,
        cx: &mut Cx<'_>,
        (key, round): (Key, u16),
        member: MemberId,
        limits: Limits,
    ) -> Result<(), Reason> {
        let me = self.config.me;
        let first = self.turns.is_first(key);
        let turn = self.turns.find_mut(key).ok_or(Reason::Over)?;
        if turn.round.round != round || turn.start.is_some() {
            return Err(Reason::Over);
        }
        let times = Times::new(cx.now, limits);
        turn.start = Some((member, round, times));
        if member != me {
            return Ok(());
        }
        let free = first && turn.part == Part::Answered;
        let uuid = turn.round.uuid;
        if free && self.may_start(key, uuid) {
            let version = self.newest(uuid).saturating_add(1);
            let name = self.name_of(uuid);
            self.starts(uuid, &name, version);
            self.announce_act(cx, key, (What::Start(round), Some(version)));
        } else {
            self.answer(cx, key, round, Finding::NotBegun);
        }
        Ok(())
    }

    /// Whether nothing that this member knows speaks against its starting the domain. What it
    /// remembers of departed hosts does not: the requester has had proof of them.
    fn may_start(&self, key: Key, uuid: Uuid) -> bool {
        let refused = self.turns.find(key).is_none_or(|turn| turn.no_start);
        let runs = self.local.holding(uuid) >= Holding::Incoming;
        self.quorum && self.connected && !refused && !runs && !self.other_member_has(uuid)
    }

    /// Says to everybody what is about to be done, which only is done if it comes back in time.
    pub(crate) fn announce_act(
        &mut self,
        cx: &mut Cx<'_>,
        key: Key,
        (what, version): (What, Option<u64>),
    ) {
        let Some(turn) = self.turns.find_mut(key) else {
            return;
        };
        turn.part = Part::Announced { what, at: cx.now };
        let begin = Message::Begin {
            key,
            round: what.round(),
            uuid: turn.round.uuid,
            version,
        };
        self.send(cx, &begin);
    }

    pub(crate) fn begin_delivered(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        (key, round): (Key, u16),
        version: Option<u64>,
    ) -> Result<(), Reason> {
        let turn = self.turns.find_mut(key).ok_or(Reason::Over)?;
        let uuid = turn.round.uuid;
        let told = turn
            .start
            .filter(|(member, of, _)| (*member, *of) == (from, round));
        let (what, times) = match version {
            None if turn.round.round == round => (What::Off(round), turn.times),
            Some(_) => (What::Start(round), told.ok_or(Reason::Over)?.2),
            None => return Err(Reason::Over),
        };
        if let Some(version) = version {
            let name = self.name_of(uuid);
            self.peer_starts(from, (uuid, &name, version));
        }
        self.has_begun(key, from, what);
        if from == self.config.me {
            return self.own_begin_delivered(cx, key, what, times);
        }
        Ok(())
    }

    fn own_begin_delivered(
        &mut self,
        cx: &mut Cx<'_>,
        key: Key,
        what: What,
        times: Times,
    ) -> Result<(), Reason> {
        let turn = self.turns.find_mut(key).ok_or(Reason::Over)?;
        let Part::Announced {
            what: announced,
            at,
        } = turn.part
        else {
            return Err(Reason::Over);
        };
        if announced != what {
            return Err(Reason::Over);
        }
        let by = at + times.grace;
        if cx.now > by || cx.now > times.begin_by + times.grace {
            self.not_begun(cx, key, what);
            return Err(Reason::TooLate);
        }
        turn.part = Part::Begun { what, by };
        Ok(())
    }

    /// What was announced is not done, and nobody has to wait for it.
    fn not_begun(&mut self, cx: &mut Cx<'_>, key: Key, what: What) {
        let Some(turn) = self.turns.find_mut(key) else {
            return;
        };
        let uuid = turn.round.uuid;
        turn.part = if turn.due_again {
            Part::Due
        } else {
            Part::Answered
        };
        turn.due_again = false;
        self.drop_announced(cx, key, uuid, what);
    }

    pub(crate) fn drop_announced(&mut self, cx: &mut Cx<'_>, key: Key, uuid: Uuid, what: What) {
        if matches!(what, What::Start(_)) {
            self.starts_not(cx, uuid);
        }
        self.send_result(cx, key, what.round(), Finding::NotBegun);
    }

    /// Whether something waits for the next tick.
    pub(crate) fn has_announced(&self) -> bool {
        let mut turns = self.turns.iter().map(|(_, turn)| turn);
        turns.any(|turn| {
            matches!(turn.part, Part::Begun { .. }) && !self.jobs.is_busy(turn.round.uuid)
        })
    }

    /// When what has come back, but waits for a look that is out, may no longer be begun.
    pub(crate) fn times_of_parts(&self, at: &mut impl FnMut(Moment)) {
        for (_, turn) in self.turns.iter() {
            if let Part::Begun { by, .. } = turn.part {
                at(by + Duration::from_millis(1));
            }
        }
    }

    /// Nothing else is waiting, so that nothing can have closed what was announced.
    pub(crate) fn begin_announced(&mut self, cx: &mut Cx<'_>) {
        for key in self.turns.keys() {
            let Some(turn) = self.turns.find(key) else {
                continue;
            };
            let Part::Begun { what, by } = turn.part else {
                continue;
            };
            let uuid = turn.round.uuid;
            let start = matches!(what, What::Start(_));
            if cx.now > by || (start && !self.may_begin_start(key, what, uuid)) {
                self.counters.count(Reason::TooLate);
                self.not_begun(cx, key, what);
                continue;
            }
            if self.jobs.is_busy(uuid) {
                // Given now it would wait there, and begin whatever is heard meanwhile.
                continue;
            }
            let job = job_of(turn, what, by);
            match self.jobs.submit(cx, job, Purpose::Act(key, what)) {
                Ok(job) => {
                    if let Some(turn) = self.turns.find_mut(key) {
                        turn.part = Part::Acting { what, job };
                    }
                }
                Err(_) => self.not_begun(cx, key, what),
            }
        }
    }

    /// As [`Self::may_start`], when the record here says already that it is being started.
    fn may_begin_start(&self, key: Key, what: What, uuid: Uuid) -> bool {
        let refused = self.turns.find(key).is_none_or(|turn| {
            let told = turn
                .start
                .is_some_and(|(_, round, _)| round == what.round());
            turn.no_start || !told
        });
        let runs = self
            .local
            .domains
            .get(&uuid)
            .is_some_and(|record| record.active);
        self.quorum && self.connected && !refused && !runs && !self.other_member_has(uuid)
    }
}

fn job_of(turn: &Turn, what: What, begin_by: Moment) -> Job {
    let domain = turn.round.uuid;
    match what {
        What::Off(_) => Job::Off {
            domain,
            keep_definition: turn.round.action == Action::Reboot,
            begin_by,
            end_by: turn.times.begin_by + turn.times.grace,
        },
        What::Start(_) => {
            let times = turn.start.map_or(turn.times, |(_, _, times)| times);
            Job::Start {
                domain,
                begin_by,
                end_by: times.begin_by + times.grace,
            }
        }
    }
}
