//! The way into a listener: the gate that whoever comes now has to pass, and whether it is being closed.
//!
//! A session keeps the gate that it came through, so it ends under the rules with which it began, whatever the
//! configuration says meanwhile.

use std::sync::Arc;

use tokio::sync::watch;

use crate::gate::Gate;
use crate::hub::{Hub, Phase};

/// A listener's door. Clones are one door.
#[derive(Debug, Clone)]
pub struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hub: Arc<Hub>,
    name: String,
    gate: watch::Sender<Arc<Gate>>,
    open: watch::Sender<bool>,
}

impl Door {
    /// A door with this gate behind it.
    #[must_use]
    pub fn new(gate: Arc<Gate>) -> Self {
        Self(Arc::new(Inner {
            hub: Arc::clone(&gate.hub),
            name: gate.name().to_owned(),
            gate: watch::Sender::new(gate),
            open: watch::Sender::new(true),
        }))
    }

    /// What all listeners share.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The gate for whoever comes now.
    #[must_use]
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.0.gate.borrow())
    }

    /// Follows the gate.
    #[must_use]
    pub fn gates(&self) -> watch::Receiver<Arc<Gate>> {
        self.0.gate.subscribe()
    }

    /// From now on whoever comes has to pass this gate.
    pub fn change(&self, gate: Arc<Gate>) {
        self.0.gate.send_replace(gate);
    }

    /// Nobody comes in any more. Who is in stays.
    pub fn close(&self) {
        self.0.open.send_replace(false);
    }

    /// Whether the daemon goes on while this door is closed: then who has knocked already is let in.
    #[must_use]
    pub fn is_closed_alone(&self) -> bool {
        !*self.0.open.borrow() && *self.0.hub.phase().borrow() == Phase::Running
    }

    /// Resolves when this listener, or the whole daemon, takes nobody in any more. Cancel-safe.
    pub async fn closing(&self) {
        let (mut open, mut phase) = (self.0.open.subscribe(), self.0.hub.phase());
        // Both senders outlive this.
        tokio::select! {
            _ = open.wait_for(|open| !*open) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
        }
    }
}

impl From<Arc<Gate>> for Door {
    fn from(gate: Arc<Gate>) -> Self {
        Self::new(gate)
    }
}
