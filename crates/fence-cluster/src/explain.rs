//! What is missing, in words: the host, what stands in the way, and the cure.

use fence_proto::{Moment, Uuid};

use crate::cases::Case;
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::knowledge::Meaning;
use crate::membership::why_left;
use crate::seam::NodeId;
use crate::verdict::{HostView, Obstacle, Standing};

impl Cluster {
    /// What people call a host.
    pub(crate) fn host_name(&self, node: NodeId) -> String {
        let name = self.hosts.as_ref().and_then(|hosts| hosts.get(&node));
        match name {
            Some(name) if !name.is_empty() => format!("host {name} ({node})"),
            _ => format!("host {node}"),
        }
    }

    pub(crate) fn host_names(&self, nodes: &[NodeId]) -> String {
        let names: Vec<_> = nodes.iter().map(|node| self.host_name(*node)).collect();
        names.join(", ")
    }

    /// Why nothing is claimed yet.
    pub(crate) fn why_not_ready(&self, now: Moment) -> String {
        if self.hosts.is_none() {
            return "the configured hosts are not known yet: corosync's cmap does not answer"
                .to_owned();
        }
        let missing = self.peers.iter().find(|(_, peer)| {
            let introduced = peer.has_introduced_itself();
            !introduced && now < peer.mute_at()
        });
        if let Some((member, _)) = missing {
            let host = self.host_name(member.node);
            return format!("{host} has not said yet what it has");
        }
        let fetches: Vec<_> = self.fetches.keys().copied().collect();
        format!(
            "what the others remember of {} is not here yet",
            self.host_names(&fetches)
        )
    }

    /// Why nothing is claimed about other hosts' domains.
    pub(crate) fn why_alone(&self, now: Moment, case: &Case) -> String {
        if !self.connected {
            return "nothing is claimed about other hosts: there is no connection to corosync"
                .to_owned();
        }
        if !self.quorum {
            return "nothing is claimed about other hosts: this partition has no quorum".to_owned();
        }
        if !self.is_ready(now) {
            let why = self.why_not_ready(now);
            return format!("nothing is claimed about other hosts: {why}");
        }
        match self.meaning(&case.request.domain) {
            Meaning::Ambiguous(_) => "several domains have that name; use a UUID".to_owned(),
            _ => "the others could not be asked in time".to_owned(),
        }
    }

    /// Whose answer a round waits for.
    pub(crate) fn why_waiting(&self, views: &[HostView]) -> String {
        let waiting = views
            .iter()
            .filter(|view| view.standing == Standing::Waiting);
        let waiting: Vec<_> = waiting.map(|view| view.node).collect();
        format!(
            "no answer from {}; check fence_virtd and libvirt there",
            self.host_names(&waiting)
        )
    }

    /// Which hosts stand in the way, and what would help.
    pub(crate) fn why_blocked(
        &self,
        cx: &Cx<'_>,
        uuid: Uuid,
        obstacles: &[(NodeId, Obstacle)],
    ) -> String {
        let each = obstacles.iter();
        let each: Vec<_> = each
            .map(|(node, obstacle)| self.why_in_the_way(cx, *node, *obstacle))
            .collect();
        format!("the domain {uuid} may be on: {}", each.join("; "))
    }

    fn why_in_the_way(&self, cx: &Cx<'_>, node: NodeId, obstacle: Obstacle) -> String {
        let host = self.host_name(node);
        let what = match obstacle {
            Obstacle::Silent => {
                return format!("{host} does not answer; check fence_virtd and libvirt there");
            }
            Obstacle::HadCopy => "had it running",
            Obstacle::LastOwner => "ran it last",
            Obstacle::Unknown => "may have anything",
            Obstacle::Drifted => "may be where it was migrated to",
        };
        let gone = match self.memories.get(&node) {
            Some(memory) => {
                let ago = cx.wall.0.saturating_sub(memory.heard.0) / 1000;
                format!(
                    "{} and was last heard of {ago} s ago",
                    why_left(memory.reason)
                )
            }
            None => "it was never seen in the group".to_owned(),
        };
        let refusal = self.inquiries.get(&node);
        let refusal = refusal.and_then(|inquiry| inquiry.refusal.clone());
        let proof = if !self.config.proofs {
            "that it was fenced cannot be proven here (fence_proof is none): bring it back, or set fence_proof"
                .to_owned()
        } else if let Some(refusal) = refusal {
            format!("no proof that it was fenced since ({refusal}): fence it, or bring it back")
        } else {
            "no proof yet that it was fenced since".to_owned()
        };
        format!("{host} {what} ({gone}), and {proof}")
    }
}
