//! A look at corosync and the daemons' group without joining it: what `--check` reads. All of it blocks while
//! corosync does not answer.

use fence_cluster::seam::{MemberId, NodeId};
use rust_corosync::{cpg, quorum};

use super::cmap::Cmap;
use super::{callbacks, nodelist};

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// This host.
    pub node: u32,
    /// Who is in the group.
    pub members: Vec<MemberId>,
    /// Who is in the group of the original up to its version 1.0.
    pub older_group: Vec<MemberId>,
    /// Whether there is a quorum provider.
    pub provider: bool,
    /// Whether this partition has quorum.
    pub quorate: bool,
    /// The configured hosts, or why they cannot be told.
    pub hosts: Result<Vec<(NodeId, String)>, String>,
}

/// The group of the original up to its version 1.0.
pub const OLDER_GROUP: &str = "fence-virt";

/// Looks.
///
/// # Errors
/// The call that failed, and how.
pub fn look(group: &str) -> Result<Look, String> {
    let failed =
        |call: &'static str| move |error: rust_corosync::CsError| format!("{call}: {error}");
    let cpg = cpg::initialize(&callbacks::CPG, 0).map_err(failed("cpg_initialize"))?;
    let node = cpg::local_get(&cpg).map_err(failed("cpg_local_get"))?;
    let members = |group: &str| -> Result<Vec<MemberId>, String> {
        let members = cpg::membership_get(&cpg, group).map_err(failed("cpg_membership_get"))?;
        let members = members.into_iter().map(|member| MemberId {
            node: NodeId(member.nodeid.into()),
            pid: member.pid,
        });
        Ok(members.collect())
    };
    let (quorum, kind) =
        quorum::initialize(&callbacks::QUORUM, 0).map_err(failed("quorum_initialize"))?;
    let cmap = Cmap::open().map_err(|trouble| trouble.0)?;
    let keys = cmap.below(c"nodelist.node.").map_err(|trouble| trouble.0);
    Ok(Look {
        node: node.into(),
        members: members(group)?,
        older_group: if group == OLDER_GROUP {
            Vec::new()
        } else {
            members(OLDER_GROUP)?
        },
        provider: matches!(kind, quorum::QuorumType::Set),
        quorate: quorum::getquorate(&quorum).map_err(failed("quorum_getquorate"))?,
        hosts: keys.and_then(nodelist::hosts),
    })
}
