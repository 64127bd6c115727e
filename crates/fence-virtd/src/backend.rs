//! What executes orders.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fence_proto::Order;
use fence_proto::host::Answer;

/// Tells a backend that nobody waits for an order any more.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the order must not be started.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it must not be started.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A future that a backend returns.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Carries out orders and says truthfully what came of them.
pub trait Backend: std::fmt::Debug + Send + Sync {
    /// Executes `order`, unless `cancelled` is set or its time is over before it was started. The
    /// future resolves by [`Order::answer_by`] and need not be polled for the order to go on.
    fn execute(&self, order: Order, cancelled: CancelFlag) -> Answering;

    /// What was counted since the start, as `name=count`, for the log.
    fn summary(&self) -> String;

    /// The daemon is ending: nothing that is not started yet is started any more.
    fn shut_down(&self);
}
