//! What one listener demands of its peers.

use core::time::Duration;
use std::sync::Arc;

use crate::access::Access;
use crate::frame::Demand;
use crate::hash::HashAlgorithm;
use crate::key::Key;

/// A listener's rules. Shared by all its sessions.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The shared key; absent only if `hash` and `auth` are both none.
    key: Option<Key>,
    hash: HashAlgorithm,
    auth: HashAlgorithm,
    access: Arc<Access>,
    timing: Timing,
}

/// A key is missing where the configuration demands authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hash and auth other than none need a key")]
pub struct MissingKey;

impl Policy {
    /// Rules that demand at least `hash` of frames and exactly `auth` of the handshake.
    ///
    /// # Errors
    /// [`MissingKey`]: there is no falling back to less authentication than configured.
    pub fn new(
        key: Option<Key>,
        (hash, auth): (HashAlgorithm, HashAlgorithm),
        access: Arc<Access>,
        timing: Timing,
    ) -> Result<Self, MissingKey> {
        let keyless = hash == HashAlgorithm::None && auth == HashAlgorithm::None;
        if key.is_none() && !keyless {
            return Err(MissingKey);
        }
        Ok(Self {
            key,
            hash,
            auth,
            access,
            timing,
        })
    }

    /// What frames must meet.
    #[must_use]
    pub const fn demand(&self) -> Demand<'_> {
        Demand {
            key: self.key.as_ref(),
            weakest: self.hash,
        }
    }

    /// The key, if there is one.
    #[must_use]
    pub const fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// The hash of the handshake.
    #[must_use]
    pub const fn auth(&self) -> HashAlgorithm {
        self.auth
    }

    /// The groups.
    #[must_use]
    pub const fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// The bounds on waits.
    #[must_use]
    pub const fn timing(&self) -> &Timing {
        &self.timing
    }
}

/// Bounds on every wait of a session. The default fits the C agent's patience of 30 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For a call-back to be connected. Less than the second after which the kernel tries again: by
    /// then another agent may listen there and take the call-back for its own. Agents ask again.
    pub connect: Duration,
    /// From the connection to the end of the handshake, all reads together.
    pub handshake: Duration,
    /// From the request's arrival: an order that was not started by then is never started.
    pub start: Duration,
    /// From the request's arrival: the peer gets an answer by then.
    pub answer: Duration,
    /// A datagram that the kernel received longer ago is dropped. Agents send again every 2 s, so
    /// one that still waits is heard again.
    pub datagram_age: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(900),
            handshake: Duration::from_secs(10),
            start: Duration::from_secs(20),
            answer: Duration::from_secs(25),
            datagram_age: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(hash: HashAlgorithm, auth: HashAlgorithm) -> Result<Policy, MissingKey> {
        Policy::new(None, (hash, auth), Arc::default(), Timing::default())
    }

    #[test]
    fn only_none_and_none_can_do_without_a_key() {
        assert!(policy(HashAlgorithm::None, HashAlgorithm::None).is_ok());
        assert!(policy(HashAlgorithm::None, HashAlgorithm::Sha1).is_err());
        assert!(policy(HashAlgorithm::Sha256, HashAlgorithm::None).is_err());
    }

    #[test]
    fn waits_end_before_the_agents_patience_of_30_seconds() {
        let timing = Timing::default();
        assert!(timing.start < timing.answer);
        assert!(timing.answer < Duration::from_secs(30));
    }
}
