//! What the sessions of one listener go by: its name in the log, its rules, and the memory of the
//! requests that were signed with its key.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fence_proto::host::{Policy, Replay};
use fence_proto::{Reason, Source};

use crate::counters::Allowance;
use crate::hub::{Hub, Place, Share};
use crate::sync::lock;

/// Lines about requests that were refused, in a second: who has the key can ask as often as it likes.
const REFUSALS_PER_SECOND: u32 = 20;

/// The gate that a listener's peers have to pass. Shared by all its sessions.
#[derive(Debug)]
pub struct Gate {
    /// What all listeners share.
    pub hub: Arc<Hub>,
    name: String,
    policy: Arc<Policy>,
    memory: Arc<Mutex<Replay>>,
    share: Arc<Share>,
    refusals: Mutex<Allowance>,
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
            share: Arc::new(hub.share()),
            refusals: refusals(),
        })
    }

    /// The gate that takes this one's place, with other rules. What was heard under a key is remembered as long as
    /// that key is in use anywhere, and for long after: a request that was served before is not served again. Without
    /// a key the listener's own memory goes on.
    #[must_use]
    pub fn followed_by(&self, policy: Arc<Policy>) -> Arc<Self> {
        let memory = match (self.policy.key(), policy.key()) {
            (None, None) => Arc::clone(&self.memory),
            (_, key) => self.hub.memory_of(key),
        };
        Arc::new(Self {
            hub: Arc::clone(&self.hub),
            name: self.name.clone(),
            policy,
            memory,
            share: Arc::clone(&self.share),
            refusals: refusals(),
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

    /// Takes a place for a session of `source`, at the cost of an older unproven one if need be.
    ///
    /// # Errors
    /// The [`Reason`] if there is no place, also because the daemon is ending.
    pub fn admit(&self, source: Source) -> Result<Place, Reason> {
        self.share.admit(source)
    }

    /// Whether a line about a refused request may be logged now. What exceeds the allowance is counted.
    pub fn may_log_refusal(&self) -> bool {
        let allowed = lock(&self.refusals).allow(self.hub.clock.now());
        if let Some(suppressed @ 1..) = allowed {
            let listener = self.name();
            tracing::info!(listener, suppressed, "refusals were not logged");
        }
        allowed.is_some()
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

fn refusals() -> Mutex<Allowance> {
    Mutex::new(Allowance::new(REFUSALS_PER_SECOND, Duration::from_secs(1)))
}
