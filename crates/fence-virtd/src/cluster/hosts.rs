//! Which of corosync's hosts may run domains.

use std::collections::BTreeSet;

use fence_cluster::seam::NodeId;
use tracing::warn;

use crate::config::CpgHost;

/// The hosts that the configuration names.
pub(super) struct Hosts {
    /// None: all.
    wanted: Vec<CpgHost>,
    /// Those that corosync does not know, as last said.
    unknown: BTreeSet<String>,
}

impl Hosts {
    pub(super) const fn new(wanted: Vec<CpgHost>) -> Self {
        Self {
            wanted,
            unknown: BTreeSet::new(),
        }
    }

    /// Those of corosync's hosts that may run domains; none if that can't be told: a name that corosync does
    /// not know may be a slip for one that it does.
    pub(super) fn of_interest(&mut self, hosts: Vec<(NodeId, String)>) -> Vec<(NodeId, String)> {
        let wanted = &self.wanted;
        if hosts.is_empty() {
            warn!(
                "corosync has no nodelist, so nobody knows which hosts there are, and nothing is claimed about their domains: add one to corosync.conf"
            );
        }
        let is = |host: &CpgHost, (id, name): &(NodeId, String)| match host {
            CpgHost::Id(wanted) => NodeId(*wanted) == *id,
            CpgHost::Name(wanted) => wanted.eq_ignore_ascii_case(name),
        };
        let unknown = wanted
            .iter()
            .filter(|host| !hosts.iter().any(|known| is(host, known)));
        let unknown: BTreeSet<_> = unknown.map(ToString::to_string).collect();
        for host in unknown.difference(&self.unknown) {
            warn!(
                host,
                "'hosts' names a host that is not in corosync's nodelist, and nothing is claimed about other hosts' domains: correct it in fence_virt.conf or add the node in corosync.conf"
            );
        }
        self.unknown = unknown;
        if !self.unknown.is_empty() {
            return Vec::new();
        }
        let counts =
            |known: &(NodeId, String)| wanted.is_empty() || wanted.iter().any(|it| is(it, known));
        hosts.into_iter().filter(counts).collect()
    }
}
