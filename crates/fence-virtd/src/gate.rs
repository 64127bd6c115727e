//! What the sessions of one listener go by: its name in the log, its rules, and the memory of the
//! requests that were signed with its key.

use std::fmt;
use std::sync::{Arc, Mutex};

use fence_proto::Reason;
use fence_proto::host::{Policy, Replay};

use crate::hub::Hub;
use crate::sync::lock;

/// The gate that a listener's peers have to pass. Shared by all its sessions.
#[derive(Debug)]
pub struct Gate {
    /// What all listeners share.
    pub hub: Arc<Hub>,
    name: String,
    policy: Arc<Policy>,
    memory: Arc<Mutex<Replay>>,
}

impl Gate {
    /// The gate of the listener that is called `name`.
    #[must_use]
    pub fn new(hub: &Arc<Hub>, name: &str, policy: Arc<Policy>) -> Arc<Self> {
        Arc::new(Self {
            hub: Arc::clone(hub),
            name: name.to_owned(),
            memory: hub.memory_of(policy.key()),
            policy,
        })
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The listener's rules.
    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Runs `f` on the memory of requests.
    pub fn with_replay<T>(&self, f: impl FnOnce(&mut Replay) -> T) -> T {
        f(&mut lock(&self.memory))
    }

    /// Counts and logs a drop. `what` names the peer and whatever else is known.
    pub fn turn_away(&self, reason: Reason, what: &dyn fmt::Display) {
        self.hub.counters.drop(reason, &self.name, what);
    }
}
