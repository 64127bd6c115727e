//! What one exploration is about: how it starts, what is asked, and how much may go wrong.

use fence_proto::Action;

/// One exploration.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent, and named where set"
)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) hosts: usize,
    pub(crate) domains: Vec<Place>,
    /// In this order, each at any time before `ask_by`.
    pub(crate) asks: Vec<Ask>,
    /// How often each thing may happen.
    pub(crate) menu: Vec<(Kind, u8)>,
    /// How many faults and doings of others in all; what follows from one (a host boots again) is not counted.
    pub(crate) faults: u8,
    /// How many lanes may be held up, each for as long as one likes.
    pub(crate) stalls: u8,
    /// Every order of everything, instead of the usual one with `stalls` exceptions.
    pub(crate) free: bool,
    /// Whether fencing can be proven.
    pub(crate) proofs: bool,
    /// Whether the members know each other when it begins, or have just been started.
    pub(crate) warm: bool,
    /// Whether domains are also started on hosts whose daemon is not in the group.
    pub(crate) starts_anywhere: bool,
    /// How long the last request may be in coming, in milliseconds.
    pub(crate) ask_by: u64,
    /// How long it goes on after the last answer, in milliseconds.
    pub(crate) tail: u64,
}

/// Where a domain is at the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) runs: Option<usize>,
    pub(crate) defined: Vec<usize>,
}

/// A request of an agent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) host: usize,
    pub(crate) action: Action,
    pub(crate) domain: usize,
}

/// Kinds of things that happen to the hosts and their domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Somebody starts a domain where a cluster manager would.
    Start,
    /// A guest shuts itself down.
    Stop,
    /// A live migration begins. It may switch over, end or fail at any time after.
    Migrate,
    /// A daemon ends, and says so.
    DaemonStop,
    /// A daemon is killed.
    DaemonKill,
    /// A daemon is started again.
    DaemonStart,
    /// A daemon is stopped by a signal.
    Hang,
    /// It goes on.
    Resume,
    /// libvirt stops answering; the daemon's calls time out.
    LibvirtHang,
    /// libvirt stops answering, and so do the daemon's threads.
    LibvirtMute,
    /// libvirt answers again, also what it was asked before.
    LibvirtBack,
    /// A host loses power.
    Crash,
    /// The cluster manager fences a host.
    Fence,
    /// A host comes up again.
    Boot,
    /// The network falls apart.
    Cut,
    /// It is whole again.
    Heal,
    /// A host's corosync dies.
    CorosyncKill,
    /// It is back.
    CorosyncBack,
    /// An agent goes away.
    Abandon,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 19] = [
        Self::Start,
        Self::Stop,
        Self::Migrate,
        Self::DaemonStop,
        Self::DaemonKill,
        Self::DaemonStart,
        Self::Hang,
        Self::Resume,
        Self::LibvirtHang,
        Self::LibvirtMute,
        Self::LibvirtBack,
        Self::Crash,
        Self::Fence,
        Self::Boot,
        Self::Cut,
        Self::Heal,
        Self::CorosyncKill,
        Self::CorosyncBack,
        Self::Abandon,
    ];

    /// What only puts an end to something that was counted before.
    pub(crate) const fn is_recovery(self) -> bool {
        matches!(
            self,
            Self::DaemonStart
                | Self::Resume
                | Self::LibvirtBack
                | Self::Boot
                | Self::Heal
                | Self::CorosyncBack
        )
    }
}

impl Plan {
    /// Three hosts, one domain that runs on the second (and is defined there), one request to the first, nothing else.
    pub(crate) fn new(name: impl Into<String>, action: Action) -> Self {
        Self {
            name: name.into(),
            hosts: 3,
            domains: vec![Place {
                runs: Some(1),
                defined: vec![1],
            }],
            asks: vec![Ask {
                host: 0,
                action,
                domain: 0,
            }],
            menu: Vec::new(),
            faults: 1,
            stalls: 0,
            free: false,
            proofs: true,
            warm: true,
            starts_anywhere: false,
            ask_by: 0,
            tail: 0,
        }
    }

    pub(crate) fn with(mut self, menu: &[(Kind, u8)]) -> Self {
        self.menu.extend_from_slice(menu);
        self
    }
}
