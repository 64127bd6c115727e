//! Things that happen to hosts and domains: what they are called.

use std::fmt;

use fence_cluster::seam::LeaveReason;

use crate::plan::Kind;
use crate::world::node;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Happening {
    Start {
        domain: usize,
        host: usize,
    },
    /// The guest shuts itself down.
    Stop {
        domain: usize,
    },
    Migrate {
        domain: usize,
        to: usize,
    },
    /// The migration's destination resumes.
    Switch {
        domain: usize,
    },
    Abort {
        domain: usize,
    },
    /// What a migration left behind goes.
    Remnant {
        domain: usize,
    },
    /// With a word (`Left`) or without.
    DaemonEnd(usize, LeaveReason),
    DaemonStart(usize),
    Hang(usize),
    Resume(usize),
    LibvirtHang {
        host: usize,
        silent: bool,
    },
    LibvirtBack(usize),
    /// Power is lost, and with it perhaps what the host sent last.
    Crash {
        host: usize,
        lose: bool,
    },
    Fence(usize),
    Boot(usize),
    /// The hosts with a bit in `apart` are cut off from the rest. Messages that neither of them has taken up yet
    /// may have been lost to the other side.
    Cut {
        apart: u8,
        lose: bool,
    },
    Heal,
    CorosyncKill(usize),
    CorosyncBack(usize),
    Abandon(usize),
    /// A call that nobody waits for any more is carried out after all, or is not.
    LateCall {
        host: usize,
        done: bool,
    },
}

impl Happening {
    /// What it counts as; nothing for what follows from something else.
    pub(crate) const fn kind(self) -> Option<Kind> {
        Some(match self {
            Self::Start { .. } => Kind::Start,
            Self::Stop { .. } => Kind::Stop,
            Self::Migrate { .. } => Kind::Migrate,
            Self::DaemonEnd(_, LeaveReason::Left) => Kind::DaemonStop,
            Self::DaemonEnd(..) => Kind::DaemonKill,
            Self::DaemonStart(_) => Kind::DaemonStart,
            Self::Hang(_) => Kind::Hang,
            Self::Resume(_) => Kind::Resume,
            Self::LibvirtHang { silent: true, .. } => Kind::LibvirtHang,
            Self::LibvirtHang { silent: false, .. } => Kind::LibvirtMute,
            Self::LibvirtBack(_) => Kind::LibvirtBack,
            Self::Crash { .. } => Kind::Crash,
            Self::Fence(_) => Kind::Fence,
            Self::Boot(_) => Kind::Boot,
            Self::Cut { .. } => Kind::Cut,
            Self::Heal => Kind::Heal,
            Self::CorosyncKill(_) => Kind::CorosyncKill,
            Self::CorosyncBack(_) => Kind::CorosyncBack,
            Self::Abandon(_) => Kind::Abandon,
            Self::Switch { .. }
            | Self::Abort { .. }
            | Self::Remnant { .. }
            | Self::LateCall { .. } => return None,
        })
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("*** ")?;
        match *self {
            Self::Start { domain, host } => {
                write!(f, "somebody starts vm{domain} on {}", node(host))
            }
            Self::Stop { domain } => write!(f, "vm{domain} shuts itself down"),
            Self::Migrate { domain, to } => {
                write!(f, "vm{domain} begins to migrate to {}", node(to))
            }
            Self::Switch { domain } => write!(f, "vm{domain} resumes at its destination"),
            Self::Abort { domain } => write!(f, "vm{domain}'s migration fails"),
            Self::Remnant { domain } => write!(f, "what vm{domain}'s migration left behind goes"),
            Self::DaemonEnd(host, reason) => write!(f, "{}'s daemon ends: {reason:?}", node(host)),
            Self::DaemonStart(host) => write!(f, "{}'s daemon starts", node(host)),
            Self::Hang(host) => write!(f, "{}'s daemon is stopped by a signal", node(host)),
            Self::Resume(host) => write!(f, "{}'s daemon goes on", node(host)),
            Self::LibvirtHang { host, silent } => {
                let calls = if silent { "time out" } else { "never end" };
                write!(f, "{}'s libvirt hangs, calls {calls}", node(host))
            }
            Self::LibvirtBack(host) => write!(f, "{}'s libvirt answers again", node(host)),
            Self::Crash { host, lose } => write!(f, "{} loses power{}", node(host), lost(lose)),
            Self::Fence(host) => write!(f, "{} is fenced", node(host)),
            Self::Boot(host) => write!(f, "{} comes up", node(host)),
            Self::Cut { apart, lose } => {
                write!(
                    f,
                    "the network is cut, hosts {apart:#b} apart{}",
                    lost(lose)
                )
            }
            Self::Heal => f.write_str("the network is whole again"),
            Self::CorosyncKill(host) => write!(f, "{}'s corosync dies", node(host)),
            Self::CorosyncBack(host) => write!(f, "{}'s corosync is back", node(host)),
            Self::Abandon(index) => write!(f, "the agent of request {index} goes away"),
            Self::LateCall { host, done } => {
                let done = if done { "carries out" } else { "forgets" };
                write!(f, "{}'s libvirt {done} an old call", node(host))
            }
        }
    }
}

const fn lost(lose: bool) -> &'static str {
    if lose {
        ", with what was under way"
    } else {
        ""
    }
}
