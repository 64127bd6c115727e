//! The real state of the domains, and what was done to them: the truth that verdicts are held to.

use std::collections::BTreeMap;
use std::time::Duration;

use fence_proto::{Action, Moment, Order, Reply};

/// A domain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Domain {
    pub(crate) on: bool,
    /// The only host that can act on it; `None`: any host can.
    pub(crate) owner: Option<usize>,
}

/// An order that a backend started.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) host: usize,
    pub(crate) action: Action,
    pub(crate) seqno: u32,
    pub(crate) domain: String,
    pub(crate) started: Moment,
    pub(crate) start_by: Moment,
    /// When its effect was there and what was answered.
    pub(crate) done: Option<(Moment, Reply)>,
    /// When the session ended, whatever the order did.
    pub(crate) session_over: Option<Moment>,
}

/// How a host's hypervisor behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Before an order is started (others for the same domain are under way).
    pub(crate) queue: (Duration, Duration),
    /// From its start to its effect.
    pub(crate) work: (Duration, Duration),
    /// Orders, in thousandths, that never end.
    pub(crate) hang: u64,
}

impl Pace {
    pub(crate) const QUICK: Self = Self {
        queue: (Duration::ZERO, Duration::ZERO),
        work: (Duration::from_millis(1), Duration::from_millis(5)),
        hang: 0,
    };
}

/// All domains.
#[derive(Debug, Default)]
pub(crate) struct Domains(BTreeMap<String, Domain>);

impl Domains {
    pub(crate) fn define(&mut self, name: &str, domain: Domain) {
        self.0.insert(name.to_owned(), domain);
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|domain| domain.on)
    }

    /// Does what is ordered, on this host.
    pub(crate) fn carry_out(&mut self, host: usize, order: &Order) -> Reply {
        if order.action() == Action::Monitor {
            return Reply::Success;
        }
        let here = |domain: &&mut Domain| domain.owner.is_none_or(|owner| owner == host);
        let Some(domain) = self.0.get_mut(order.domain().as_str()).filter(here) else {
            return Reply::Failure;
        };
        match order.action() {
            Action::Off => domain.on = false,
            Action::On | Action::Reboot => domain.on = true,
            Action::Status if !domain.on => return Reply::Off,
            _ => {}
        }
        Reply::Success
    }
}
