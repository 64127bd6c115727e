//! The rounds of a request: sending them, judging them, and what follows.

use fence_proto::{Action, Reply, Uuid};

use super::state::{Case, Ended, Held, Place as Queued, Scope, Stage};
use super::{Step, end, fail};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::limits::{
    ASK_AGAIN, CHANGE_WAIT, HOLDS_TURN, MAX_FRUITFUL, MAX_HALVES, ROUND_AGAIN, ROUND_FRESH,
};
use crate::parts::destroys;
use crate::seam::NodeId;
use crate::verdict::{Again, HostView, Obstacle, Verdict, judge};
use crate::wire::message::{Message, Round};

impl Cluster {
    pub(super) fn advance_rounds(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case) -> Step {
        let Some(uuid) = case.target.as_ref().map(|target| target.uuid) else {
            return Step::Wait;
        };
        if !self.connected || !self.quorum {
            return self.give_up_rounds(case);
        }
        if case.pursuit.ended == Ended::CutShort {
            return fail(
                "another host ended the request, because this one did not answer for long",
            );
        }
        if case.pursuit.round == 0 || case.pursuit.pause.is_some_and(|due| cx.now >= due) {
            self.send_round(cx, number, case);
            return Step::Wait;
        }
        if !self.is_ready(cx.now) {
            case.why = Some(self.why_not_ready(cx.now));
            return Step::Wait;
        }
        self.ask_originals(cx, number, case, uuid);
        let views = self.views(cx, case, uuid);
        let known = self.knowledge(cx, case, uuid, &views);
        match judge(case.action(), &views, known) {
            Verdict::Wait => {
                case.why = Some(self.why_waiting(&views));
                self.close_the_one_before(cx, number, case, uuid);
                Step::Wait
            }
            Verdict::Again(again) => self.another_round(cx, number, case, again),
            Verdict::Blocked(obstacles) => self.blocked(cx, case, uuid, &obstacles),
            Verdict::Failed(node, why) => fail(format!("{}: {why}", self.host_name(node))),
            Verdict::Renamed(name) => {
                if !self.renamed(cx, case, name) {
                    return end(Reply::PermissionDenied);
                }
                self.send_round(cx, number, case);
                Step::Wait
            }
            Verdict::On => end(Reply::Success),
            Verdict::Off
                if case.pursuit.held == Held::Blocked
                    && cx.is_past(case.pursuit.sent, ROUND_FRESH) =>
            {
                // The proof came long after the answers: they are asked for anew.
                self.send_round(cx, number, case);
                Step::Wait
            }
            Verdict::Off => self.is_off(cx, (number, uuid), case, &views),
        }
    }

    /// The others cannot be asked any more.
    fn give_up_rounds(&self, case: &mut Case) -> Step {
        case.outcome = None;
        case.stage = Stage::Alone;
        let _ = self;
        Step::Again
    }

    pub(super) fn send_round(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case) {
        let Some(target) = &case.target else {
            return;
        };
        let uuid = target.uuid;
        let pursuit = &mut case.pursuit;
        pursuit.round = pursuit.round.saturating_add(1);
        pursuit.sent = cx.now;
        pursuit.departures = self.departures;
        pursuit.answers.clear();
        pursuit.stirred.clear();
        pursuit.held = Held::No;
        pursuit.pause = None;
        pursuit.had = self.who_has(uuid);
        let may_start = case.request.action == Action::Reboot && case.pursuit.ran.is_some();
        if case.request.action == Action::On && case.pursuit.candidate.is_none() {
            case.pursuit.candidate = self.starter(uuid, |_| true);
        } else if may_start {
            case.pursuit.candidate = case.pursuit.ran.map(|(member, _)| member);
        }
        let restricted = case.request.requester.is_restricted();
        let names = case.target.as_ref().filter(|_| restricted);
        let round = Round {
            number,
            round: case.pursuit.round,
            action: case.action(),
            incoming: case.pursuit.scope == Scope::Halves,
            uuid,
            limits: case.limits(cx.now),
            candidate: case.pursuit.candidate,
            names: names.map_or_else(Vec::new, |target| target.names.clone()),
        };
        self.send(cx, &Message::Round { round });
    }

    /// Somebody has joined: requests that are in their rounds begin another one, which gives them
    /// their place in the new order.
    pub(crate) fn begin_rounds_anew(&mut self, cx: &mut Cx<'_>) {
        let numbers: Vec<_> = self.cases.keys().copied().collect();
        for number in numbers {
            let Some(mut case) = self.cases.remove(&number) else {
                continue;
            };
            if case.pursuit.place == Queued::Queued {
                case.pursuit.place = Queued::None;
            }
            let begin = match case.stage {
                Stage::Rounds => case.pursuit.round > 0,
                Stage::Starting { begun, .. } => !begun,
                _ => false,
            };
            if begin {
                case.stage = Stage::Rounds;
                self.send_round(cx, number, &mut case);
            }
            if matches!(case.stage, Stage::Finding { .. } | Stage::Pinging { .. }) {
                case.stage = Stage::Waiting;
            }
            self.cases.insert(number, case);
        }
    }

    fn another_round(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        case: &mut Case,
        again: Again,
    ) -> Step {
        let pursuit = &mut case.pursuit;
        match again {
            Again::Verify => {
                pursuit.fruitful = pursuit.fruitful.saturating_add(1);
                pursuit.scope = Scope::Copies;
                if pursuit.fruitful > MAX_FRUITFUL {
                    return fail("the domain comes back whenever it is gone: something starts it");
                }
                self.send_round(cx, number, case);
                return Step::Wait;
            }
            Again::Halves if destroys(case.request.action) => {
                pursuit.fruitful = pursuit.fruitful.saturating_add(1);
                pursuit.scope = Scope::Halves;
                if pursuit.fruitful > MAX_FRUITFUL {
                    return fail("the incoming half of a migration does not go away");
                }
                self.send_round(cx, number, case);
                return Step::Wait;
            }
            Again::Halves if pursuit.pause.is_none() => {
                pursuit.halves = pursuit.halves.saturating_add(1);
                if pursuit.halves > MAX_HALVES {
                    return fail(
                        "only the incoming half of a migration was found, which may resume at any moment; destroy it by off, or wait for the migration",
                    );
                }
            }
            Again::Halves | Again::Retry => {}
        }
        case.why = Some("a member did not begin what it was to do".to_owned());
        pursuit.pause.get_or_insert(cx.now + ROUND_AGAIN);
        Step::Wait
    }

    /// Hosts stand in the way: they are asked again, or proofs are.
    fn blocked(
        &mut self,
        cx: &mut Cx<'_>,
        case: &mut Case,
        uuid: Uuid,
        obstacles: &[(NodeId, Obstacle)],
    ) -> Step {
        let why = self.why_blocked(cx, uuid, obstacles);
        let silent = |(_, obstacle): &(NodeId, Obstacle)| *obstacle == Obstacle::Silent;
        case.pursuit.held = Held::Blocked;
        if obstacles.iter().any(silent) {
            case.pursuit.pause.get_or_insert(cx.now + ROUND_AGAIN);
        }
        let away = obstacles.iter().filter(|obstacle| !silent(obstacle));
        let away: Vec<_> = away.map(|(node, _)| *node).collect();
        if !away.is_empty() && !self.config.proofs {
            return fail(why);
        }
        for node in away {
            self.ask_proof(cx, node);
        }
        case.why = Some(why);
        Step::Wait
    }

    /// The request waits for its turn: the one whose turn it is may be of a host that is dead and
    /// that nobody has noticed.
    fn close_the_one_before(&mut self, cx: &mut Cx<'_>, number: u64, case: &mut Case, uuid: Uuid) {
        let key = self.key(number);
        let Some(first) = self.turns.queue(uuid).first().copied() else {
            return;
        };
        if first == key || first.requester == self.config.me || !self.attention.drained {
            return;
        }
        let silent = self
            .peers
            .get(&first.requester)
            .is_none_or(|peer| cx.is_past(peer.heard, HOLDS_TURN));
        let over = self
            .turns
            .find(first)
            .is_none_or(|turn| cx.now >= turn.ends());
        let lately = case.pursuit.closes;
        let lately = lately.is_some_and(|closed| !cx.is_past(closed, ASK_AGAIN));
        if (silent || over) && !lately && self.turns.find(key).is_some() {
            case.pursuit.closes = Some(cx.now);
            let host = self.host_name(first.requester.node);
            cx.warn(format!(
                "{host} does not go on with a request for the same domain: it is ended for it"
            ));
            self.send(cx, &Message::Closed { key: first });
        }
    }

    /// The domain is off everywhere.
    fn is_off(
        &mut self,
        cx: &mut Cx<'_>,
        (number, uuid): (u64, Uuid),
        case: &mut Case,
        views: &[HostView],
    ) -> Step {
        if !self.still_means(case, uuid) {
            return fail(format!(
                "several domains answer to \"{}\", as has turned out: use a UUID",
                case.request.domain
            ));
        }
        match case.action() {
            Action::Status => {
                let queue = self.turns.queue(uuid);
                if !queue.is_empty() && !cx.is_past(case.arrived, CHANGE_WAIT) {
                    // It may be the moment within a reboot.
                    case.pursuit.held = Held::Change;
                    return Step::Wait;
                }
                if case.pursuit.held == Held::Change {
                    self.send_round(cx, number, case);
                    return Step::Wait;
                }
                self.log_proofs(cx, uuid, views, case.pursuit.evidence);
                end(Reply::Off)
            }
            Action::On => {
                self.log_proofs(cx, uuid, views, false);
                self.start_somewhere(cx, number, case, uuid)
            }
            Action::Reboot if case.pursuit.ran.is_some() => {
                self.log_proofs(cx, uuid, views, case.pursuit.evidence);
                self.start_again(cx, number, case)
            }
            _ => {
                self.log_proofs(cx, uuid, views, case.pursuit.evidence);
                end(Reply::Success)
            }
        }
    }
}
