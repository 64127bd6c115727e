//! One order at a time for one domain; orders for different domains do not meet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fence_proto::Uuid;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Orders that may wait for one domain.
const MAX_WAITING: usize = 32;

/// Orders that may wait altogether.
const MAX_WAITING_TOTAL: usize = 1_024;

#[derive(Default)]
struct Lane {
    turn: Arc<AsyncMutex<()>>,
    /// Holders and waiters.
    users: usize,
}

#[derive(Default)]
struct Table {
    lanes: HashMap<Uuid, Lane>,
    users: usize,
}

/// The domains that orders are working on.
#[derive(Clone, Default)]
pub(super) struct Lanes(Arc<Mutex<Table>>);

/// Too many orders wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many orders are waiting")]
pub(super) struct Crowded;

/// A place in a domain's queue, and the domain itself once its turn has come. Dropping it lets the
/// next one in.
pub(super) struct Place {
    lanes: Lanes,
    uuid: Uuid,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Lanes {
    /// Waits for the domain's turn, first come first served. Dropping the future leaves the queue.
    pub(super) async fn enter(&self, uuid: Uuid) -> Result<Place, Crowded> {
        let turn = self.join(uuid)?;
        let mut place = Place {
            lanes: self.clone(),
            uuid,
            turn: None,
        };
        place.turn = Some(turn.lock_owned().await);
        Ok(place)
    }

    fn join(&self, uuid: Uuid) -> Result<Arc<AsyncMutex<()>>, Crowded> {
        let mut table = self.table();
        // The one that holds it does not wait.
        let here = table.lanes.get(&uuid).map_or(0, |lane| lane.users);
        if here > MAX_WAITING || table.users >= MAX_WAITING_TOTAL {
            return Err(Crowded);
        }
        table.users += 1;
        let lane = table.lanes.entry(uuid).or_default();
        lane.users += 1;
        Ok(Arc::clone(&lane.turn))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.lanes.table();
        self.turn = None;
        table.users = table.users.saturating_sub(1);
        if let Some(lane) = table.lanes.get_mut(&self.uuid) {
            lane.users = lane.users.saturating_sub(1);
            if lane.users == 0 {
                table.lanes.remove(&self.uuid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const A: Uuid = Uuid([1; 16]);
    const B: Uuid = Uuid([2; 16]);

    fn now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_domain_is_entered_once_at_a_time_and_others_at_once() {
        let lanes = Lanes::default();
        let first = now(lanes.enter(A)).unwrap().ok();
        assert!(now(lanes.enter(A)).is_none());
        assert!(now(lanes.enter(B)).is_some());
        drop(first);
        assert!(now(lanes.enter(A)).is_some());
    }

    #[test]
    fn nothing_remains_of_orders_that_are_done_or_left() {
        let lanes = Lanes::default();
        let first = now(lanes.enter(A));
        assert!(now(lanes.enter(A)).is_none());
        drop(first);
        assert!(lanes.table().lanes.is_empty());
        assert_eq!(lanes.table().users, 0);
    }

    #[test]
    fn queue_of_one_domain_is_bounded_and_no_other_is_harmed() {
        let lanes = Lanes::default();
        let _holder = now(lanes.enter(A));
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING {
            let mut future = Box::pin(lanes.enter(A));
            let poll = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(poll.is_pending());
            waiting.push(future);
        }
        assert_eq!(now(lanes.enter(A)).unwrap().err(), Some(Crowded));
        assert!(now(lanes.enter(B)).unwrap().is_ok());
        waiting.pop();
        assert!(now(lanes.enter(A)).is_none());
    }
}
