//! What the answers of a round mean, as a function: the table of docs/cluster.md.

use fence_proto::Action;

use crate::seam::NodeId;
use crate::wire::message::Finding;
use crate::wire::record::Holding;

/// How a host stands in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It answered.
    Answered(Finding),
    /// It is a member, and its answer is waited for.
    Waiting,
    /// It is a member and does not answer, or its libvirt does not.
    Silent,
    /// It is no member.
    Away {
        /// Everything that it had is known.
        whole: bool,
        /// It is proven that it was fenced since.
        fenced: bool,
    },
}

/// A host that may have the domain, in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostView {
    pub(crate) node: NodeId,
    pub(crate) standing: Standing,
    /// What it may have, by the records.
    pub(crate) holding: Holding,
    /// The last run of the domain was there.
    pub(crate) owner: bool,
}

/// What else is known in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Knowledge {
    /// A member destroyed an active copy that was not migrating, for this request.
    pub(crate) evidence: bool,
    /// The last run was migrated away, and nobody has reported to have it.
    pub(crate) drifted: bool,
    /// What became of copies while the round went on.
    pub(crate) changes: Changes,
}

/// What became of copies while a round went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Changes {
    /// None came or went.
    #[default]
    None,
    /// Some came or went.
    Some,
    /// The only one that there was, by every record and every answer, was destroyed, and was not migrating.
    OnlyRunEnded,
}

/// Why nothing can be said because of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Obstacle {
    /// A member that does not answer.
    Silent,
    /// A departed host that had a copy.
    HadCopy,
    /// A departed host that had the last run.
    LastOwner,
    /// A host of which not everything, or nothing, is known.
    Unknown,
    /// The domain was migrated away, perhaps to it.
    Drifted,
}

/// What a round means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Wait,
    /// Another round is needed.
    Again(Again),
    /// These hosts stand in the way.
    Blocked(Vec<(NodeId, Obstacle)>),
    /// A host could not do it, and why.
    Failed(NodeId, String),
    /// The groups must be asked about this name too.
    Renamed(String),
    /// It is active.
    On,
    /// It is off everywhere, and nobody can resume it.
    Off,
}

/// What kind of round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Something was active: whether it is gone now.
    Verify,
    /// Nothing is active any more, but incoming halves are.
    Halves,
    /// Somebody did not do what it should.
    Retry,
}

/// Judges a round of `action`.
pub(crate) fn judge(action: Action, hosts: &[HostView], known: Knowledge) -> Verdict {
    let found = |wanted: &Finding| {
        let wanted = Standing::Answered(wanted.clone());
        hosts.iter().any(|host| host.standing == wanted)
    };
    let destroys = matches!(action, Action::Off | Action::Reboot);
    if found(&Finding::Active) && !destroys {
        return Verdict::On;
    }
    for host in hosts {
        match &host.standing {
            Standing::Answered(Finding::Failed { why }) => {
                return Verdict::Failed(host.node, why.clone());
            }
            Standing::Answered(Finding::Renamed { name }) => return Verdict::Renamed(name.clone()),
            _ => {}
        }
    }
    if hosts.iter().any(|host| host.standing == Standing::Waiting) {
        return Verdict::Wait;
    }
    if known.changes == Changes::OnlyRunEnded && action == Action::Off {
        // Nothing else can be found. A reboot's next round also says who would start it.
        return Verdict::Off;
    }
    let calm = known.changes == Changes::None;
    if !calm || found(&Finding::Active) || hosts.iter().any(was_destroyed) {
        return Verdict::Again(Again::Verify);
    }
    if found(&Finding::NotBegun) {
        return Verdict::Again(Again::Retry);
    }
    if found(&Finding::Incoming) {
        return Verdict::Again(Again::Halves);
    }
    let obstacles = hosts.iter().filter_map(|host| obstacle(host, known));
    let obstacles: Vec<_> = obstacles.collect();
    if obstacles.is_empty() {
        Verdict::Off
    } else {
        Verdict::Blocked(obstacles)
    }
}

const fn was_destroyed(host: &HostView) -> bool {
    matches!(
        host.standing,
        Standing::Answered(Finding::Destroyed { .. } | Finding::Started)
    )
}

/// Whether a host stands in the way of saying that the domain is off.
fn obstacle(host: &HostView, known: Knowledge) -> Option<(NodeId, Obstacle)> {
    let has_copy = host.holding >= Holding::Incoming;
    let obstacle = match host.standing {
        Standing::Answered(Finding::Silent) | Standing::Silent if has_copy || !known.evidence => {
            Obstacle::Silent
        }
        Standing::Away { fenced: false, .. } if has_copy => Obstacle::HadCopy,
        Standing::Away { fenced: false, .. } if host.owner && !known.evidence => {
            Obstacle::LastOwner
        }
        Standing::Away {
            fenced: false,
            whole: false,
        } if !known.evidence => Obstacle::Unknown,
        Standing::Away { fenced: false, .. } if known.drifted && !known.evidence => {
            Obstacle::Drifted
        }
        _ => return None,
    };
    Some((host.node, obstacle))
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
