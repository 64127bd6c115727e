//! One host: power, libvirt, and a daemon that is the real core in a made-up shell.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fence_cluster::Cluster;
use fence_cluster::seam::{
    Config, Job, JobId, MemberId, NameMode, NodeId, Now, Outcome, UnknownDomain,
};
use fence_proto::host::Answer;
use fence_proto::{Moment, Uuid};

use super::bus::Handed;
use super::libvirt::Libvirt;
use super::original::COriginal;

/// What a call to libvirt takes.
pub(crate) const LOOK: Duration = Duration::from_millis(1);
pub(crate) const DESTROY: Duration = Duration::from_millis(220);
pub(crate) const START: Duration = Duration::from_millis(300);

/// After so long the shell says that libvirt does not answer.
pub(crate) const SILENT: Duration = Duration::from_secs(3);

/// Something for the daemon.
#[derive(Debug, Clone)]
pub(crate) enum Inbox {
    Handed(Handed),
    Disconnected,
    Changed(Uuid),
    Inventory,
    InventoryLost,
    Proof(NodeId, fence_cluster::seam::WallTime),
}

/// A job that the shell is doing.
#[derive(Debug, Clone)]
pub(crate) struct Doing {
    pub(crate) id: JobId,
    pub(crate) job: Job,
    /// When libvirt has done it.
    pub(crate) due: Moment,
    /// When the shell gives up.
    pub(crate) silent: Moment,
    /// What came of it, once it has happened.
    pub(crate) outcome: Option<Outcome>,
}

/// What an agent was told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) at: Moment,
    pub(crate) answer: Answer,
    pub(crate) why: Option<String>,
}

/// A daemon.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) core: Cluster,
    pub(crate) me: MemberId,
    pub(crate) inbox: VecDeque<(Moment, Inbox)>,
    pub(crate) doing: Vec<Doing>,
    /// By a signal.
    pub(crate) stopped: bool,
    pub(crate) told: BTreeMap<u64, Told>,
    pub(crate) notes: Vec<String>,
    /// It speaks to libvirt.
    pub(crate) has_inventory: bool,
}

/// A host.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) node: u32,
    pub(crate) power: bool,
    pub(crate) libvirt: Libvirt,
    pub(crate) daemon: Option<Daemon>,
    /// It runs the original instead.
    pub(crate) original: Option<COriginal>,
    /// Calls of daemons that were given up or died, which libvirt may still execute.
    pub(crate) orphans: Vec<Doing>,
}

/// How the daemons of a test are configured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) proofs: bool,
    pub(crate) unknown: UnknownDomain,
    pub(crate) timeout: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            proofs: true,
            unknown: UnknownDomain::Failure,
            timeout: Duration::from_secs(20),
        }
    }
}

impl Daemon {
    pub(crate) fn new(me: MemberId, setup: Setup, now: Now) -> Self {
        let config = Config {
            me,
            request_timeout: setup.timeout,
            unknown: setup.unknown,
            name_mode: NameMode::Name,
            proofs: setup.proofs,
        };
        Self {
            core: Cluster::new(config, now),
            me,
            inbox: VecDeque::new(),
            doing: Vec::new(),
            stopped: false,
            told: BTreeMap::new(),
            notes: Vec::new(),
            has_inventory: false,
        }
    }

    /// When something is due here, not counting what comes from elsewhere.
    pub(crate) fn due(&self) -> Option<Moment> {
        if self.stopped {
            return None;
        }
        let inbox = self.inbox.front().map(|(due, _)| *due);
        let tick = self.core.deadline();
        inbox.into_iter().chain(tick).min()
    }
}
