//! Proofs that a host was fenced: asking for them, and which of them count.

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::inventory::Fenced;
use crate::limits::{MAX_MEMORIES, PROOF_AGAIN};
use crate::seam::{NodeId, Output, Proof, WallTime};

/// The fencer's times are whole seconds, cut off. A host that was fenced is not heard of again
/// within the same second, so comparing seconds is safe.
const fn second(time: WallTime) -> u64 {
    time.0 / 1000
}

impl Cluster {
    /// When the host was last heard of; or since when it would have been, had it come back.
    pub(crate) fn last_heard(&self, node: NodeId) -> WallTime {
        match self.memories.get(&node) {
            Some(memory) => memory.heard.max(self.sighted),
            None => {
                let appeared = self.appeared.get(&node).copied();
                self.joined.max(appeared.unwrap_or_default())
            }
        }
    }

    /// The proof that the host was fenced since it was last heard of.
    pub(crate) fn proof_of(&self, node: NodeId) -> Option<&Fenced> {
        let fenced = self.inquiries.get(&node)?.fenced.as_ref()?;
        (second(fenced.at) >= second(self.last_heard(node))).then_some(fenced)
    }

    pub(crate) fn is_fenced(&self, node: NodeId) -> bool {
        self.proof_of(node).is_some()
    }

    /// Asks for the proof, if it can be had and it was not asked for a moment ago.
    pub(crate) fn ask_proof(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        if !self.config.proofs || self.is_fenced(node) {
            return;
        }
        let since = WallTime(second(self.last_heard(node)).saturating_mul(1000));
        if self.inquiries.len() >= MAX_MEMORIES && !self.inquiries.contains_key(&node) {
            self.inquiries.pop_first();
        }
        let inquiry = self.inquiries.entry(node).or_default();
        let recent = inquiry
            .asked
            .is_some_and(|(asked, of)| of == since && !cx.is_past(asked, PROOF_AGAIN));
        if recent {
            return;
        }
        inquiry.asked = Some((cx.now, since));
        let name = self.hosts.as_ref().and_then(|hosts| hosts.get(&node));
        let name = name.cloned();
        cx.out.push(Output::AskProof { node, name, since });
    }

    /// What came of it.
    pub(crate) fn proof_answered(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        since: WallTime,
        proof: Proof,
    ) {
        let host = self.host_name(node);
        let Some(inquiry) = self.inquiries.get_mut(&node) else {
            return;
        };
        match proof {
            Proof::Fenced { at, by } if second(at) >= second(since) => {
                let (at_s, since_s) = (second(at), second(since));
                cx.info(format!(
                    "{host} was fenced at {at_s} by {by}; it was last heard of at {since_s} (seconds since 1970)"
                ));
                inquiry.fenced = Some(Fenced { at, by });
                inquiry.refusal = None;
            }
            Proof::Fenced { .. } => {
                inquiry.refusal = Some("it was fenced before it was last heard of".to_owned());
            }
            Proof::NotFenced => inquiry.refusal = Some("it was not fenced since".to_owned()),
            Proof::Unknown(why) => inquiry.refusal = Some(why),
        }
    }
}
