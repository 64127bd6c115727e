//! How turns end: by their requester, in its name, with it, or by time.

use fence_proto::Uuid;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::reason::Reason;
use crate::seam::MemberId;
use crate::turns::{Part, Turn};
use crate::wire::message::Key;

impl Cluster {
    pub(crate) fn closed_delivered(
        &mut self,
        cx: &mut Cx<'_>,
        from: MemberId,
        key: Key,
    ) -> Result<(), Reason> {
        if from != key.requester && !self.waits_behind(from, key) {
            return Err(Reason::NotItsRequest);
        }
        self.end_turn(cx, key);
        if from != key.requester {
            self.turns.end_for_good(key);
        }
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
        self.turns.forget_ended(member);
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

    /// This member destroys the domain without asking the others: what they think of it is outdated.
    pub(crate) fn acts_alone(&mut self, uuid: Uuid) {
        for (_, turn) in self.turns.iter_mut() {
            if turn.round.uuid == uuid {
                turn.no_start = true;
            }
        }
    }
}
