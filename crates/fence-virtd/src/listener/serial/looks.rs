//! Looking at files on threads, where a file system that does not answer holds up nobody else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The looks at one domain's sockets: one at a time, so that a domain costs one thread at most, however often it is
/// started anew and however many sockets it has.
#[derive(Debug, Clone)]
pub(super) struct Looks(Arc<Semaphore>);

impl Default for Looks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Looks {
    /// What `look` returns; `None` if it, or one before it, takes longer than `patience`. Cancel-safe, but a look that has
    /// begun goes on.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        patience: Duration,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.0);
        let looking = async move {
            let turn = turn.acquire_owned().await.ok()?;
            let looked = spawn_blocking(move || {
                let result = look();
                drop(turn);
                result
            });
            looked.await.ok()
        };
        timeout(patience, looking).await.ok().flatten()
    }

    /// Whether nobody else has them, nor a look is going on.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn look_that_hangs_costs_one_thread_and_holds_up_its_own_domain_only() {
        let (looks, others) = (Looks::default(), Looks::default());
        let patience = Duration::from_millis(50);
        let (release, held) = channel::<()>();
        assert_eq!(
            looks.take(patience, move || held.recv().is_ok()).await,
            None
        );
        // It is not tried on another thread.
        let (began, begun) = channel();
        for _ in 0..3 {
            let began = began.clone();
            assert_eq!(looks.take(patience, move || began.send(())).await, None);
        }
        assert!(begun.try_recv().is_err() && !looks.is_alone());
        let long = Duration::from_secs(60);
        assert_eq!(others.take(long, || 7).await, Some(7));
        assert!(others.is_alone());
        release.send(()).unwrap();
        assert_eq!(looks.take(long, || 8).await, Some(8));
        assert!(looks.is_alone());
    }
}
