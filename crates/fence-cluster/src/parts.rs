//! This member's part in the requests of all members: looking, announcing, acting, answering.

use fence_proto::{Action, DomainRef, Uuid};

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::jobs::Purpose;
use crate::reason::Reason;
use crate::seam::{Job, LocalDomain, MemberId, Migration, Outcome};
use crate::turns::{Part, Times, Turn, What};
use crate::wire::message::{Finding, Key, Limits, Message, Round};
use crate::wire::record::{Holding, Record};

impl Cluster {
    /// A message that belongs to a request.
    pub(crate) fn delivered_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        message: Message,
    ) -> Result<(), Reason> {
        let own = |number| Key {
            requester: from,
            number,
        };
        match message {
            Message::Round { round } => self.round_delivered(cx, own(round.number), round),
            Message::Result {
                key,
                round,
                finding,
            } => self.result_delivered(cx, from, (key, round), finding),
            Message::Begin {
                key,
                round,
                version,
                ..
            } => self.begin_delivered(cx, from, (key, round), version),
            Message::Closed { key } => self.closed_delivered(cx, from, key),
            Message::Start {
                number,
                round,
                member,
                limits,
            } => self.start_delivered(cx, (own(number), round), member, limits),
            Message::Find { number, text } => self.find_delivered(cx, own(number), &text),
            Message::Found { key, found } => self.found_delivered(from, key, found),
            Message::Ping { number } => {
                let pong = Message::Pong {
                    key: own(number),
                    stand: self.local.stand,
                    current: self.local.current,
                };
                self.send(cx, &pong);
                Ok(())
            }
            Message::Pong {
                key,
                stand,
                current,
            } => self.pong_delivered(from, key, (stand, current)),
            _ => Err(Reason::UnknownType),
        }
    }

    fn round_delivered(&mut self, cx: &mut Cx<'_>, key: Key, round: Round) -> Result<(), Reason> {
        if !round.action.changes_state() {
            let purpose = Purpose::Question(key, round.round, round.names);
            if self
                .jobs
                .submit(cx, Job::Look(round.uuid), purpose)
                .is_err()
            {
                self.answer(cx, key, round.round, Finding::Silent);
            }
            return Ok(());
        }
        self.overtakes(key, round.uuid);
        let uuid = round.uuid;
        let number = round.round;
        let times = Times::new(cx.now, round.limits);
        match self.turns.round(key, round, times) {
            Ok(None | Some(What::Off(_))) => Ok(()),
            Ok(Some(What::Start(_))) => {
                self.starts_not(cx, uuid);
                Ok(())
            }
            Err(Reason::Full) => {
                let why = "too many requests are under way".to_owned();
                self.answer(cx, key, number, Finding::Failed { why });
                Err(Reason::Full)
            }
            Err(reason) => Err(reason),
        }
    }

    fn start_delivered(
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
    fn announce_act(&mut self, cx: &mut Cx<'_>, key: Key, (what, version): (What, Option<u64>)) {
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

    fn begin_delivered(
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

    fn drop_announced(&mut self, cx: &mut Cx<'_>, key: Key, uuid: Uuid, what: What) {
        if matches!(what, What::Start(_)) {
            self.starts_not(cx, uuid);
        }
        self.send_result(cx, key, what.round(), Finding::NotBegun);
    }

    /// Whether something waits for the next tick.
    pub(crate) fn has_announced(&self) -> bool {
        let parts = self.turns.iter().map(|(_, turn)| &turn.part);
        parts
            .into_iter()
            .any(|part| matches!(part, Part::Begun { .. }))
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

    /// Takes up the rounds of the requests whose turn it is.
    pub(crate) fn advance_parts(&mut self, cx: &mut Cx<'_>) {
        for key in self.turns.keys() {
            let due = self
                .turns
                .find(key)
                .is_some_and(|turn| turn.part == Part::Due);
            if due && self.turns.is_first(key) {
                self.take_up(cx, key);
            }
        }
    }

    fn take_up(&mut self, cx: &mut Cx<'_>, key: Key) {
        let Some(turn) = self.turns.find(key) else {
            return;
        };
        let uuid = turn.round.uuid;
        let round = turn.round.round;
        if self.jobs.is_acting(uuid) {
            // What was begun for another request is waited for.
            return;
        }
        let record = self.local.domains.get(&uuid);
        let runs = record.is_some_and(|record| {
            record.holding() == Holding::Copy && !record.starting && names_admit(turn, &record.name)
        });
        if runs && destroys(turn.round.action) {
            return self.announce_act(cx, key, (What::Off(round), None));
        }
        let looking = self
            .jobs
            .submit(cx, Job::Look(uuid), Purpose::Round(key, round));
        if looking.is_err() {
            return self.answer(cx, key, round, Finding::Silent);
        }
        if let Some(turn) = self.turns.find_mut(key) {
            turn.part = Part::Looking;
        }
    }

    /// libvirt has said what the domain is here.
    pub(crate) fn looked(&mut self, cx: &mut Cx<'_>, (key, round): (Key, u16), outcome: &Outcome) {
        let Some(turn) = self.turns.find(key) else {
            return;
        };
        if turn.part != Part::Looking || turn.round.round != round {
            return;
        }
        let finding = finding_of(outcome, turn.round.uuid, &turn.round.names);
        let acts = destroys(turn.round.action)
            && match finding {
                Finding::Active => true,
                Finding::Incoming => turn.round.incoming,
                _ => false,
            };
        if acts {
            self.announce_act(cx, key, (What::Off(round), None));
        } else {
            self.answer(cx, key, round, finding);
        }
    }

    fn answer(&mut self, cx: &mut Cx<'_>, key: Key, round: u16, finding: Finding) {
        if let Some(turn) = self.turns.find_mut(key) {
            turn.part = Part::Answered;
        }
        self.send_result(cx, key, round, finding);
    }

    pub(crate) fn send_result(&self, cx: &mut Cx<'_>, key: Key, round: u16, finding: Finding) {
        let result = Message::Result {
            key,
            round,
            finding,
        };
        self.send(cx, &result);
    }

    /// What was begun is over.
    pub(crate) fn acted(&mut self, cx: &mut Cx<'_>, (key, what): (Key, What), outcome: &Outcome) {
        if let Some(turn) = self.turns.find_mut(key)
            && matches!(turn.part, Part::Acting { what: of, .. } if of == what)
        {
            turn.part = if turn.due_again {
                Part::Due
            } else {
                Part::Answered
            };
            turn.due_again = false;
        }
        self.send_result(cx, key, what.round(), finding_of_act(outcome));
    }

    fn closed_delivered(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        key: Key,
    ) -> Result<(), Reason> {
        if from != key.requester && !self.waits_behind(from, key) {
            return Err(Reason::NotItsRequest);
        }
        self.end_turn(cx, key);
        self.case_was_closed(cx, key, from);
        Ok(())
    }

    fn waits_behind(&self, member: MemberId, key: Key) -> bool {
        let uuid = self.turns.find(key).map(|turn| turn.round.uuid);
        let queue = uuid.map_or(&[][..], |uuid| self.turns.queue(uuid));
        queue.iter().any(|other| other.requester == member)
    }

    fn end_turn(&mut self, cx: &mut Cx<'_>, key: Key) {
        if let Some(turn) = self.turns.remove(key) {
            self.leave_part(cx, key, &turn);
        }
        self.forget_kept(cx, key);
    }

    /// What this member had announced for a request that is over or begins anew.
    fn leave_part(&mut self, cx: &mut Cx<'_>, key: Key, turn: &Turn) {
        match turn.part {
            Part::Announced { what, .. } | Part::Begun { what, .. } => {
                self.drop_announced(cx, key, turn.round.uuid, what);
            }
            _ => {}
        }
    }

    /// A requester has departed: its requests end here in the agreed order.
    pub(crate) fn close_requests_of(&mut self, cx: &mut Cx<'_>, member: MemberId) {
        let turns = self.turns.keys();
        let kept = self.kept.values().map(|(key, _)| *key);
        let keys: std::collections::BTreeSet<_> = turns.into_iter().chain(kept).collect();
        for key in keys.into_iter().filter(|key| key.requester == member) {
            self.end_turn(cx, key);
        }
    }

    /// Ends turns whose requesters never did: nothing of them can be begun any more.
    pub(crate) fn end_old_turns(&mut self, cx: &mut Cx<'_>) {
        let old = self.turns.iter().filter(|(_, turn)| cx.now >= turn.ends());
        let old: Vec<_> = old.map(|(key, _)| key).collect();
        for key in old {
            self.end_turn(cx, key);
            self.attention.all = true;
        }
    }

    /// Somebody has joined, who knows no turns: everybody forgets them, and learns them anew in the
    /// order in which the requesters' next rounds are delivered. What runs goes on.
    pub(crate) fn begin_turns_anew(&mut self, cx: &mut Cx<'_>) {
        for key in self.turns.keys() {
            if let Some(turn) = self.turns.remove(key) {
                self.leave_part(cx, key, &turn);
            }
        }
    }

    fn find_delivered(&mut self, cx: &mut Cx<'_>, key: Key, text: &str) -> Result<(), Reason> {
        let mut field = [0; fence_proto::domain::DOMAIN_FIELD];
        let room = field.get_mut(..text.len()).ok_or(Reason::BadText)?;
        room.copy_from_slice(text.as_bytes());
        let domain = DomainRef::from_field(&field).map_err(|_| Reason::BadText)?;
        if self
            .jobs
            .submit(cx, Job::Find(domain), Purpose::Find(key))
            .is_err()
        {
            self.send(cx, &Message::Found { key, found: None });
        }
        Ok(())
    }

    /// libvirt has said what is called so.
    pub(crate) fn searched(&mut self, cx: &mut Cx<'_>, key: Key, outcome: &Outcome) {
        let found = match outcome {
            Outcome::Found(domains) => {
                for domain in domains {
                    self.observe(cx, domain, false);
                }
                let records = domains.iter().map(|domain| {
                    let version = self.newest(domain.identity.uuid);
                    (domain.identity.uuid, Record::of(domain, version))
                });
                Some(records.collect())
            }
            _ => None,
        };
        self.send(cx, &Message::Found { key, found });
    }

    /// This member destroys the domain without asking the others: what they think of it is outdated.
    pub(crate) fn acts_alone(&mut self, uuid: Uuid) {
        for (_, turn) in self.turns.iter_mut() {
            if turn.round.uuid == uuid {
                turn.no_start = true;
            }
        }
    }
}

pub(crate) const fn destroys(action: Action) -> bool {
    matches!(action, Action::Off | Action::Reboot)
}

fn names_admit(turn: &Turn, name: &str) -> bool {
    admit(&turn.round.names, name)
}

fn admit(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|other| other == name)
}

fn job_of(turn: &Turn, what: What, begin_by: fence_proto::Moment) -> Job {
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

/// The copy that counts, where several hypervisors of a host have one.
pub(crate) fn foremost(found: &[LocalDomain], uuid: Uuid) -> Option<&LocalDomain> {
    let copies = found.iter().filter(|domain| domain.identity.uuid == uuid);
    copies.max_by_key(|domain| {
        let incoming = domain.migration == Migration::Incoming;
        (domain.active, domain.active && !incoming)
    })
}

/// What a look found.
pub(crate) fn finding_of(outcome: &Outcome, uuid: Uuid, names: &[String]) -> Finding {
    let Outcome::Found(found) = outcome else {
        return Finding::Silent;
    };
    match foremost(found, uuid) {
        None => Finding::Absent,
        Some(domain) if !admit(names, &domain.identity.name) => Finding::Renamed {
            name: domain.identity.name.clone(),
        },
        Some(domain) if !domain.active => Finding::Defined,
        Some(domain) if domain.migration == Migration::Incoming => Finding::Incoming,
        Some(_) => Finding::Active,
    }
}

fn finding_of_act(outcome: &Outcome) -> Finding {
    match outcome {
        Outcome::Off {
            migrating,
            vanished,
        } => Finding::Destroyed {
            migrating: *migrating,
            vanished: *vanished,
        },
        Outcome::WasOff => Finding::Defined,
        Outcome::WasAbsent => Finding::Absent,
        Outcome::Started => Finding::Started,
        Outcome::NotBegun => Finding::NotBegun,
        Outcome::Failed(why) => Finding::Failed { why: why.clone() },
        Outcome::Silent | Outcome::Found(_) | Outcome::Alive => Finding::Silent,
    }
}
