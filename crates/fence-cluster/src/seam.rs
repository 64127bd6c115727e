//! What goes into the core and what comes out of it.

use core::fmt;
use core::time::Duration;

use fence_proto::host::Answer;
use fence_proto::{Action, DomainIdentity, DomainRef, Moment, Requester, Uuid};

/// Two clocks at one moment: one that never goes back, for waiting, and the wall's, for comparing a
/// departure with a proof of fencing and for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never goes back, goes on while the process is stopped by a signal.
    pub moment: Moment,
    /// Since the Unix epoch.
    pub wall: WallTime,
}

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub u64);

/// A host, by corosync's node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// One run of a daemon that is a member of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// Its host.
    pub node: NodeId,
    /// Its process, as corosync says.
    pub pid: u32,
}

/// What a member of the group runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// It has not said anything yet.
    Unheard,
    /// This program.
    Ours,
    /// The original.
    Original,
}

/// Why a member is no longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// It left the group by itself.
    Left,
    /// Its host's corosync is gone, or cannot be reached.
    NodeDown,
    /// Its process ended without leaving.
    ProcessDown,
}

/// What the migration of a copy means for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Migration {
    /// None.
    None,
    /// It is the half that a migration comes from.
    Outgoing,
    /// It is the half that a migration goes to: it may resume at any moment.
    Incoming,
}

/// A domain as one host's libvirt has it.
///
/// Not active and [`Migration::Outgoing`] together say that its last run here was migrated away
/// (libvirt's shut-off reason or stop detail "migrated"), so that it runs elsewhere. A transient one
/// that left like this is reported so once, by [`Event::Changed`], before [`Event::Gone`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalDomain {
    /// Who it is.
    pub identity: DomainIdentity,
    /// Whether there is a run of it: any state but shut off.
    pub active: bool,
    /// libvirt's virDomainState.
    pub state: u8,
    /// Whether a migration is under way.
    pub migration: Migration,
}

/// Names one job that the core has the shell do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Names one request of an agent at this host, chosen by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What an agent asks, once it has proved itself.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to do.
    pub action: Action,
    /// To which domain, as the agent called it.
    pub domain: DomainRef,
    /// Who asks, with the groups of the listener that it came in by.
    pub requester: Requester,
    /// After this moment nothing of it may be begun.
    pub start_by: Moment,
    /// By this moment it must be answered.
    pub answer_by: Moment,
}

/// What happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// The group has these members now, this one among them. Comes in agreed order with messages.
    Membership {
        /// All of them.
        members: Vec<MemberId>,
        /// Who has gone since the last time.
        left: Vec<(MemberId, LeaveReason)>,
    },
    /// The connection to corosync is lost. A [`Event::Membership`] follows when it is back.
    Disconnected,
    /// The daemon is about to leave the group because its whole host is shutting down, so that nothing
    /// is started here any more. It has a moment to send what comes out. Without it a daemon that
    /// leaves is one whose host goes on.
    ShuttingDown,
    /// A message of the group, in agreed order; one's own messages come too.
    Delivered {
        /// Who sent it.
        from: MemberId,
        /// Its bytes, of any length and content.
        bytes: &'a [u8],
    },
    /// Whether corosync says that this partition has quorum.
    Quorum(bool),
    /// The configured hosts, with their names: all that may run domains. Never empty: while they
    /// cannot be read this event does not come, and nothing is claimed.
    Hosts(Vec<(NodeId, String)>),
    /// The hosts that corosync has in this partition now, whether or not their daemons are members
    /// of the group. Comes with every change of corosync's ring, also if they are the same ones:
    /// one may have been away. Without it no departed host is believed to be idle.
    Nodes(Vec<NodeId>),
    /// Everything that this host's libvirt has: at the start, after every reconnect, at intervals.
    Inventory(Vec<LocalDomain>),
    /// This is what the domain is now.
    Changed(LocalDomain),
    /// This host has the domain no longer, neither active nor defined.
    Gone(Uuid),
    /// This host's libvirt does not answer. An [`Event::Inventory`] follows when it does.
    InventoryLost,
    /// What came of [`Output::AskProof`].
    Proof {
        /// Of which host.
        node: NodeId,
        /// The `since` that was asked for.
        since: WallTime,
        /// The answer.
        proof: Proof,
    },
    /// An agent's request arrived at this host.
    Request(Ticket, Request),
    /// Nobody waits for it any more. What has begun goes on.
    Abandoned(Ticket),
    /// What came of [`Output::Do`]: exactly once for each, whatever happens. The number may be
    /// used again afterwards.
    Done(JobId, Outcome),
    /// Time has passed: due at [`crate::Cluster::deadline`], and given only when no message,
    /// membership change or loss of the connection that has already arrived is waiting: so that a
    /// daemon that stood still hears what happened before it acts.
    Tick,
}

/// What is known of a host's being fenced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Proof {
    /// It was fenced, and that ended at this time.
    Fenced {
        /// When.
        at: WallTime,
        /// Who says so, for the log.
        by: String,
    },
    /// It was not.
    NotFenced,
    /// Nobody knows, and why.
    Unknown(String),
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to the group, in order. One that cannot be sent at all means [`Event::Disconnected`].
    Send(Vec<u8>),
    /// Do this here, and say [`Event::Done`] when it is over. Jobs for one domain are never given
    /// two at a time.
    Do(JobId, Job),
    /// Find out whether the host was fenced at `since` or later.
    AskProof {
        /// Which host.
        node: NodeId,
        /// Its name in corosync, if there is one.
        name: Option<String>,
        /// When it was last heard of.
        since: WallTime,
    },
    /// The answer to a request, and why, where that is worth a line. Exactly one for each.
    Reply(Ticket, Answer, Option<String>),
    /// Worth a line in the log.
    Note(Level, String),
}

/// How loud a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something is wrong and should be mended.
    Warn,
    /// What an operator wants to find later.
    Info,
    /// Detail.
    Debug,
}

/// Something to do on this host's hypervisors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Job {
    /// Ask anew what the domain is here.
    Look(Uuid),
    /// The same, by whatever name or UUID text; may find several.
    Find(DomainRef),
    /// Make sure that it is off here and say how that is known. Must not be begun after `begin_by`.
    Off {
        /// Which domain.
        domain: Uuid,
        /// Keep what a transient domain needs to be started again by [`Job::Start`].
        keep_definition: bool,
        /// Not to be begun later.
        begin_by: Moment,
        /// To be over by then.
        end_by: Moment,
    },
    /// Start it here: from its definition, or from what an `Off` of the same daemon kept.
    Start {
        /// Which domain.
        domain: Uuid,
        /// Not to be begun later.
        begin_by: Moment,
        /// To be over by then.
        end_by: Moment,
    },
    /// Forget what an `Off` kept.
    Forget(Uuid),
    /// Ask libvirt whether it answers at all (for `monitor`).
    Ping,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `Look`, `Find`: what there is. Empty: neither active nor defined here.
    Found(Vec<LocalDomain>),
    /// `Off`: it was active, and is proven off now.
    Off {
        /// A migration of this copy was under way or may have been, from here or to here: other
        /// hosts may have it running.
        migrating: bool,
        /// It went by itself, or was gone when it was to be destroyed: not our doing.
        vanished: bool,
    },
    /// `Off`: it was not active.
    WasOff,
    /// `Off`: it is not here at all.
    WasAbsent,
    /// `Start`: it runs.
    Started,
    /// `Ping`: it answers.
    Alive,
    /// The hypervisor did not answer (in time); nothing is known. A destroy or start that ended so
    /// may still be executed when the hypervisor goes on: until that call has returned, or its
    /// connection is closed and it is sure that nothing is executed for it any more, every later
    /// `Look`, `Off` and `Start` of that domain ends so too.
    Silent,
    /// It was not begun: too late, or the daemon is ending.
    NotBegun,
    /// It failed, and why.
    Failed(String),
}

/// What is configured for the cluster.
#[derive(Debug, Clone)]
pub struct Config {
    /// This daemon's member id.
    pub me: MemberId,
    /// A request is decided so long after it arrived (and by its `answer_by`).
    pub request_timeout: Duration,
    /// What is said of a domain that nobody has ever heard of.
    pub unknown: UnknownDomain,
    /// What the original's messages call a domain.
    pub name_mode: NameMode,
    /// Whether a host's fencing can be proven at all; if not, nothing waits for it.
    pub proofs: bool,
}

/// What is said of a domain that nobody has ever heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownDomain {
    /// Failure, whatever is asked.
    Failure,
    /// As the original: it counts as off.
    Off,
}

/// What the original's messages call a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameMode {
    /// By its name.
    Name,
    /// By its UUID.
    Uuid,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.pid)
    }
}
