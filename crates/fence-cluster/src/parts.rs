//! This member's part in the requests of all members: looking, announcing, acting, answering.

use fence_proto::{Action, DomainRef, Uuid};

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::jobs::Purpose;
use crate::reason::Reason;
use crate::seam::{Job, LocalDomain, MemberId, Migration, Outcome};
use crate::turns::{Part, Times, Turn, What};
use crate::wire::message::{Finding, Key, Message, Round};
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
        let taken = self.turns.round(key, round, times);
        if let Some(turn) = self.turns.find_mut(key).filter(|_| taken.is_ok()) {
            turn.departures = self.departures;
        }
        match taken {
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

    pub(crate) fn answer(&mut self, cx: &mut Cx<'_>, key: Key, round: u16, finding: Finding) {
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
