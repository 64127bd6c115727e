//! Asking members that run the original, as part of a request's rounds.
//!
//! One request goes to all of them, and each that has the domain acts on it, whatever its state:
//! so "off" is only sent while one of them has it running, "on" only if exactly one has it, and
//! "reboot" never. Only the reply of a member that had it running counts, and that it is off is
//! believed when that member's next list says so.

use std::collections::BTreeMap;

use fence_proto::{Action, Uuid};

use crate::cases::{Case, Stage};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::parts::destroys;
use crate::peers::Peer;
use crate::reason::Reason;
use crate::seam::{MemberId, NameMode, NodeId};
use crate::verdict::Standing;
use crate::wire::legacy::Legacy;
use crate::wire::message::Finding;
use crate::wire::record::Holding;

/// What the originals were asked in a round.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    round: u16,
    seqno: u32,
    action: Action,
    /// The request was delivered: how many there had been by then.
    delivered: Option<u64>,
    /// Who had the domain running, and what it replied.
    replies: BTreeMap<MemberId, Option<i32>>,
}

impl Cluster {
    /// Sends the round's request to the originals, if there are any and it has not been sent.
    pub(crate) fn ask_originals(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        case: &mut Case,
        uuid: Uuid,
    ) {
        let round = case.pursuit.round;
        let sent = case.pursuit.originals.as_ref();
        if !self.has_originals() || sent.is_some_and(|asked| asked.round == round) {
            return;
        }
        let running = self
            .originals()
            .filter(|(_, peer)| has(peer, uuid) == Holding::Copy);
        let running: BTreeMap<_, _> = running.map(|(member, _)| (member, None)).collect();
        let action = if destroys(case.action()) && !running.is_empty() {
            if !self.turns.is_first(self.key(number)) {
                return;
            }
            if !self.attention.drained {
                // An original cannot be called back: what is waiting may say that the turn is over.
                self.attention.claims.insert(number);
                return;
            }
            case.pursuit.has_begun = true;
            Action::Off
        } else {
            Action::Status
        };
        self.send_to_originals(cx, case, (uuid, action), running);
    }

    fn send_to_originals(
        &mut self,
        cx: &mut Cx<'_>,
        case: &mut Case,
        (uuid, action): (Uuid, Action),
        replies: BTreeMap<MemberId, Option<i32>>,
    ) {
        self.original_seqno = self.original_seqno.wrapping_add(1);
        case.pursuit.originals = Some(Asked {
            round: case.pursuit.round,
            seqno: self.original_seqno,
            action,
            delivered: None,
            replies,
        });
        let message = Legacy::Request {
            seqno: self.original_seqno,
            domain: self.originals_name(case, uuid),
            request: i32::from(action.to_wire()),
        };
        self.send_original(cx, &message);
    }

    /// What the originals call the domain.
    fn originals_name(&self, case: &Case, uuid: Uuid) -> String {
        if self.config.name_mode == NameMode::Uuid {
            return uuid.to_string();
        }
        let mut records = self
            .originals()
            .filter_map(|(_, peer)| peer.domains()?.get(&uuid));
        let name = records.next().map(|record| record.name.clone());
        let names = case.target.as_ref().and_then(|target| target.names.first());
        name.or_else(|| names.cloned()).unwrap_or_default()
    }

    /// This member's own request to the originals came back.
    pub(super) fn own_request_delivered(&mut self, seqno: u32, of: u64) {
        for (number, case) in &mut self.cases {
            let asked = case.pursuit.originals.as_mut();
            if let Some(asked) = asked.filter(|asked| asked.seqno == seqno) {
                asked.delivered = Some(of);
                self.attention.touched.insert(*number);
            }
        }
    }

    pub(super) fn original_replied(
        &mut self,
        from: MemberId,
        (target, seqno): (NodeId, u32),
        response: i32,
    ) -> Result<(), Reason> {
        if target != self.config.me.node {
            return Ok(());
        }
        for (number, case) in &mut self.cases {
            let asked = case.pursuit.originals.as_mut();
            let Some(asked) = asked.filter(|asked| asked.seqno == seqno) else {
                continue;
            };
            // Whoever has it shut off answers at once, and says nothing with that.
            let reply = asked.replies.get_mut(&from).ok_or(Reason::NotItsRequest)?;
            *reply = Some(response);
            self.attention.touched.insert(*number);
            let done = response == 0;
            match (&mut case.stage, asked.action) {
                (Stage::Starting { member, result, .. }, Action::On) if *member == from => {
                    *result = Some(if done {
                        Finding::Started
                    } else {
                        refused(response)
                    });
                }
                (_, Action::Off) if done => {
                    case.pursuit.ran.get_or_insert((from, true));
                }
                _ => {}
            }
            return Ok(());
        }
        Err(Reason::Over)
    }

    /// How a member that runs the original stands in a request's last round.
    pub(crate) fn original_standing(&self, case: &Case, member: MemberId, uuid: Uuid) -> Standing {
        let Some(peer) = self.peers.get(&member) else {
            return Standing::Waiting;
        };
        let asked = case.pursuit.originals.as_ref();
        let asked = asked.filter(|asked| asked.round == case.pursuit.round);
        let Some((asked, of)) = asked.and_then(|asked| Some((asked, asked.delivered?))) else {
            return Standing::Waiting;
        };
        if asked.action == Action::Off
            && let Some(reply) = asked.replies.get(&member)
        {
            return match reply {
                None => Standing::Waiting,
                // It may have been migrating: no evidence, and the next list has the proof.
                Some(0) => Standing::Answered(Finding::Destroyed {
                    migrating: true,
                    vanished: false,
                }),
                Some(response) => Standing::Answered(refused(*response)),
            };
        }
        let said = peer
            .original()
            .is_some_and(|original| original.has_said(uuid, of));
        if !said {
            return Standing::Waiting;
        }
        Standing::Answered(match has(peer, uuid) {
            // There may have been no room for it.
            Holding::Nothing if !peer.is_whole() => return Standing::Waiting,
            Holding::Nothing => Finding::Absent,
            Holding::Definition => Finding::Defined,
            Holding::Incoming | Holding::Copy => Finding::Active,
        })
    }

    /// Has the one original that has the domain start it; an error if several have, who would all.
    pub(crate) fn start_by_original(
        &mut self,
        cx: &mut Cx<'_>,
        case: &mut Case,
        (uuid, member): (Uuid, MemberId),
    ) -> Result<(), String> {
        let have = self
            .originals()
            .filter(|(_, peer)| has(peer, uuid) > Holding::Nothing);
        let have: Vec<_> = have.map(|(member, _)| member).collect();
        let host = self.host_name(member.node);
        if have.is_empty() {
            return Err(format!(
                "{host} runs the original fence_virtd and has it no longer defined"
            ));
        }
        if have != [member] {
            return Err(
                "several hosts that run the original fence_virtd have it, and all would start it"
                    .to_owned(),
            );
        }
        let replies = BTreeMap::from([(member, None)]);
        self.send_to_originals(cx, case, (uuid, Action::On), replies);
        Ok(())
    }

    /// The one original that has the domain defined.
    pub(crate) fn only_original_with(&self, uuid: Uuid) -> Option<MemberId> {
        let mut have = self
            .originals()
            .filter(|(_, peer)| has(peer, uuid) == Holding::Definition);
        let first = have.next().map(|(member, _)| member);
        first.filter(|_| have.next().is_none())
    }
}

fn has(peer: &Peer, uuid: Uuid) -> Holding {
    peer.domains().map_or(Holding::Nothing, |domains| {
        crate::inventory::holding(domains, uuid)
    })
}

fn refused(response: i32) -> Finding {
    Finding::Failed {
        why: format!("the original fence_virtd there answered {response}"),
    }
}
