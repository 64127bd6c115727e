//! The cluster's core under one id of this host.

use fence_cluster::Cluster;
use fence_cluster::seam::{Config, MemberId, NodeId, Now};

use crate::config::CpgSettings;

/// What is no host's id in corosync.
const NOBODY: NodeId = NodeId(0);

/// The core.
pub(super) struct Core {
    /// This host's id in corosync; none before the group was joined for the first time. A core without sends nothing,
    /// and does what can be done alone.
    pub(super) node: Option<NodeId>,
    pub(super) cluster: Cluster,
    /// Jobs that it has given and that are not done.
    pub(super) jobs: usize,
}

impl Core {
    /// A core that starts now. `proofs`: whether a host's fencing can be proven.
    pub(super) fn new(
        (settings, proofs): (&CpgSettings, bool),
        node: Option<NodeId>,
        now: Now,
    ) -> Self {
        let config = Config {
            me: MemberId {
                node: node.unwrap_or(NOBODY),
                pid: std::process::id(),
            },
            request_timeout: settings.request_timeout,
            unknown: settings.unknown_domain,
            name_mode: settings.name_mode,
            proofs,
        };
        Self {
            node,
            cluster: Cluster::new(config, now),
            jobs: 0,
        }
    }

    /// Whether something that it has begun is open, or something that it knows is to be told.
    pub(super) fn is_busy(&self, now: Now) -> bool {
        let due = self.cluster.deadline();
        self.jobs > 0 || due.is_some_and(|due| due <= now.moment)
    }
}
