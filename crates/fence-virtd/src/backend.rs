//! What executes orders.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fence_proto::host::{Answer, Presence};
use fence_proto::{DomainIdentity, DomainRef, Moment, Order};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::cluster::CpgBackend;
use crate::config::BackendSettings;
use crate::libvirt::LibvirtBackend;
use crate::sync::lock;

/// What requester and backend tell each other beside an order and its answer: that nobody waits for it any more; and
/// what the answer rests on.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<Cancel>);

#[derive(Debug, Default)]
struct Cancel {
    set: AtomicBool,
    wake: Notify,
    proof: Mutex<String>,
}

/// What an answer rests on is told in so many bytes.
const MAX_PROOF: usize = 512;

impl CancelFlag {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the order must not be started.
    pub fn cancel(&self) {
        self.0.set.store(true, Ordering::SeqCst);
        self.0.wake.notify_waiters();
    }

    /// Whether it must not be started.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// Says, for the log, what the answer rests on. What was said before stays.
    pub fn prove(&self, what: &str) {
        let mut proof = lock(&self.0.proof);
        if !proof.is_empty() {
            proof.push_str("; ");
        }
        proof.push_str(what);
        let end = proof.floor_char_boundary(MAX_PROOF);
        proof.truncate(end);
    }

    /// What was said of what the answer rests on.
    #[must_use]
    pub fn proof(&self) -> Option<String> {
        Some(lock(&self.0.proof).clone()).filter(|proof| !proof.is_empty())
    }

    /// Resolves when it is set. Cancel-safe.
    pub async fn cancelled(&self) {
        let mut wake = std::pin::pin!(self.0.wake.notified());
        // From here on no setting is missed.
        wake.as_mut().enable();
        if !self.is_cancelled() {
            wake.await;
        }
    }
}

/// A future that a backend returns.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A future that tells which domain has a vsock CID.
pub type Identifying = Pin<Box<dyn Future<Output = Option<DomainIdentity>> + Send>>;

/// A future that tells whether a domain is on this host.
pub type Looking = Pin<Box<dyn Future<Output = Presence> + Send>>;

/// A future that resolves when something is over.
pub type Leaving<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A future that tells what is wrong with a backend, if something is.
pub type Examining<'a> = Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>>;

/// A future that tells whether a backend can work, else why not.
pub type Starting<'a> = Pin<Box<dyn Future<Output = Result<(), BackendError>> + Send + 'a>>;

/// Why a backend cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// No hypervisor can be reached.
    #[error(
        "no hypervisor can be reached ({0}); is libvirtd running, and are the uri settings of the backend right?"
    )]
    NoHypervisor(String),
    /// The cluster's group can't be joined.
    #[error("the cluster can't be joined ({0})")]
    NoCluster(String),
    /// The system does not give what is needed.
    #[error("cannot set up the cluster backend: {0}")]
    System(String),
}

/// The backend that the configuration chooses. It begins to connect at once.
///
/// # Errors
/// [`BackendError::System`].
pub fn open(settings: &BackendSettings, clock: Clock) -> Result<Arc<dyn Backend>, BackendError> {
    match settings {
        BackendSettings::Libvirt(libvirt) => {
            Ok(Arc::new(LibvirtBackend::new(&libvirt.uris, clock)))
        }
        BackendSettings::Cpg(cpg) => {
            let libvirt = LibvirtBackend::new(&cpg.uris, clock);
            let backend = CpgBackend::start(cpg.clone(), libvirt, clock);
            let backend = backend.map_err(|error| BackendError::System(error.to_string()))?;
            Ok(Arc::new(backend))
        }
    }
}

/// Carries out orders and says truthfully what came of them.
pub trait Backend: std::fmt::Debug + Send + Sync {
    /// Waits, for some seconds at most, until it is known whether the backend can work. May be asked
    /// again after an error.
    fn ready(&self) -> Starting<'_>;

    /// Executes `order`, unless `cancelled` is set or its time is over before it was started. The
    /// future resolves by [`Order::answer_by`] and need not be polled for the order to go on.
    fn execute(&self, order: Order, cancelled: CancelFlag) -> Answering;

    /// Whether the domain is on this host, known by the moment given. It is asked before the peer has
    /// proved anything but its key, so it changes nothing. A backend that answers for the domains of
    /// all hosts is always the right one to ask.
    fn presence(&self, _domain: &DomainRef, _by: Moment) -> Looking {
        Box::pin(async { Presence::On })
    }

    /// Guests will ask over vsock: from now on the backend keeps track of which domain has which CID.
    fn expect_guests(&self);

    /// The domain of this host that has this vsock CID now. `None` within some seconds if there is
    /// none or nobody can tell: never another one.
    fn identify(&self, cid: u32) -> Identifying;

    /// What was counted since the start, as `name=count`, for the log.
    fn summary(&self) -> String;

    /// How the backend is, in a few words that change, if that is worth telling the service manager.
    fn condition(&self) -> Option<watch::Receiver<String>> {
        None
    }

    /// What hangs in it that will not go on by itself although everything outside does, so that only a new process
    /// cures it. That a hypervisor or the cluster can't be reached, or does not answer, is nothing of the kind.
    fn wedged(&self) -> Examining<'_> {
        Box::pin(std::future::ready(None))
    }

    /// The daemon is ending: nothing that is not started yet is started any more.
    fn shut_down(&self);

    /// The daemon has ended, as far as its peers are concerned: says good-bye to whoever the backend works with, so
    /// that nothing is begun any more for what was asked here. Who still waits for an answer need not get one. May
    /// never resolve.
    fn leave(&self) -> Leaving<'_> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn cancelling_wakes_who_waits_for_it_and_who_comes_later() {
        let flag = CancelFlag::new();
        let never = timeout(Duration::from_millis(20), flag.cancelled()).await;
        assert!(never.is_err() && !flag.is_cancelled());
        let waiting = tokio::spawn({
            let flag = flag.clone();
            async move { flag.cancelled().await }
        });
        tokio::task::yield_now().await;
        flag.cancel();
        timeout(Duration::from_secs(10), waiting)
            .await
            .unwrap()
            .unwrap();
        timeout(Duration::from_secs(10), flag.cancelled())
            .await
            .unwrap();
    }
}
