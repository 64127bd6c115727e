//! One order at a time for one domain; orders for different domains do not meet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use fence_proto::Uuid;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::error;

use crate::sync::lock;

/// Orders that may wait for one domain.
const MAX_WAITING: usize = 32;

/// Orders that may wait altogether: more than there are places for sessions, so that the shares of the listeners in
/// those ([`fence_proto::host::Admission`]) hold here as well.
const MAX_WAITING_TOTAL: usize = 2_048;

#[derive(Default)]
struct Lane {
    turn: Arc<AsyncMutex<()>>,
    /// Holders and waiters.
    users: usize,
    /// A start of the domain is under way: a call that may yet be executed.
    starting: bool,
    /// Places whose turn was given up although a call of theirs may yet be executed.
    stuck: usize,
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
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    guard: Option<OwnedMutexGuard<()>>,
    /// What gives it up when its time is over.
    timer: Option<AbortHandle>,
    /// It was given up before its end.
    given_up: bool,
}

/// A start that may be executed at any moment until this is dropped.
pub(super) struct UnderWay(Arc<Place>);

impl Lanes {
    /// Waits for the domain's turn, first come first served. Dropping the future leaves the queue.
    pub(super) async fn enter(&self, uuid: Uuid) -> Result<Place, Crowded> {
        let turn = self.join(uuid)?;
        let place = Place {
            lanes: self.clone(),
            uuid,
            turn: Mutex::default(),
        };
        let guard = turn.lock_owned().await;
        place.turn().guard = Some(guard);
        Ok(place)
    }

    /// Waits, until `limit` at most, for the orders that have or await the domain now. True if there
    /// was one.
    pub(super) async fn settled(&self, uuid: Uuid, limit: Instant) -> bool {
        let turn = self
            .table()
            .lanes
            .get(&uuid)
            .map(|lane| Arc::clone(&lane.turn));
        match turn {
            Some(turn) => {
                drop(timeout_at(limit, turn.lock()).await);
                true
            }
            None => false,
        }
    }

    /// Whether a start of the domain was begun and may still be executed.
    pub(super) fn is_starting(&self, uuid: Uuid) -> bool {
        let table = self.table();
        table.lanes.get(&uuid).is_some_and(|lane| lane.starting)
    }

    /// Whether a call that changes the domain was begun, was given up, and has not returned: it may still be
    /// executed.
    pub(super) fn is_stuck(&self, uuid: Uuid) -> bool {
        let table = self.table();
        table.lanes.get(&uuid).is_some_and(|lane| lane.stuck > 0)
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
        lock(&self.0)
    }
}

impl Place {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        lock(&self.turn)
    }

    /// The turn is given up at `until` even if a call that does not return keeps this place: an
    /// order that comes later may do what this one could not. Replaces an earlier limit.
    pub(super) fn keep_until(self: &Arc<Self>, until: Instant) {
        let place = Arc::downgrade(self);
        let timer = tokio::spawn(async move {
            sleep_until(until).await;
            if let Some(place) = place.upgrade() {
                place.give_up();
            }
        });
        let before = self.turn().timer.replace(timer.abort_handle());
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Lets the next order in. From here on nothing may be started from this place.
    pub(super) fn give_up(&self) {
        let mut turn = self.turn();
        if turn.guard.take().is_some() {
            turn.given_up = true;
            if let Some(lane) = self.lanes.table().lanes.get_mut(&self.uuid) {
                lane.stuck = lane.stuck.saturating_add(1);
            }
            error!(uuid = %self.uuid, "a call to libvirt for this domain does not return; other orders for the domain are let in");
        }
    }

    /// Whether the domain is this place's.
    pub(super) fn has_turn(&self) -> bool {
        self.turn().guard.is_some()
    }

    /// To be held while the domain is being started. `None` if the turn was given up, or if an
    /// earlier start is under way still.
    pub(super) fn begin_start(self: &Arc<Self>) -> Option<UnderWay> {
        let turn = self.turn();
        turn.guard.as_ref()?;
        let mut table = self.lanes.table();
        let lane = table.lanes.get_mut(&self.uuid)?;
        if std::mem::replace(&mut lane.starting, true) {
            return None;
        }
        Some(UnderWay(Arc::clone(self)))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut table = self.0.lanes.table();
        if let Some(lane) = table.lanes.get_mut(&self.0.uuid) {
            lane.starting = false;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.lanes.table();
        let turn = std::mem::take(&mut *self.turn());
        if let Some(timer) = turn.timer {
            timer.abort();
        }
        drop(turn.guard);
        table.users = table.users.saturating_sub(1);
        if let Some(lane) = table.lanes.get_mut(&self.uuid) {
            lane.users = lane.users.saturating_sub(1);
            if turn.given_up {
                lane.stuck = lane.stuck.saturating_sub(1);
            }
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
    use std::time::Duration;

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
    fn turn_that_is_given_up_goes_to_the_next_although_its_place_is_kept() {
        let lanes = Lanes::default();
        let stuck = now(lanes.enter(A)).unwrap().unwrap();
        assert!(now(lanes.enter(A)).is_none());
        stuck.give_up();
        let next = now(lanes.enter(A));
        assert!(next.is_some() && !stuck.has_turn());
        assert!(now(lanes.enter(A)).is_none());
        assert!(lanes.is_stuck(A) && !lanes.is_stuck(B));
        drop(stuck);
        assert!(!lanes.is_stuck(A));
        assert!(now(lanes.enter(A)).is_none());
    }

    #[test]
    fn start_is_under_way_until_it_ends_and_none_begins_without_the_turn_or_beside_it() {
        let lanes = Lanes::default();
        let first = Arc::new(now(lanes.enter(A)).unwrap().unwrap());
        let start = first.begin_start();
        assert!(start.is_some() && lanes.is_starting(A) && !lanes.is_starting(B));
        first.give_up();
        let second = Arc::new(now(lanes.enter(A)).unwrap().unwrap());
        assert!(second.begin_start().is_none());
        drop(start);
        assert!(!lanes.is_starting(A));
        assert!(first.begin_start().is_none());
        assert!(second.begin_start().is_some());
    }

    #[tokio::test]
    async fn turn_is_given_up_when_its_time_is_over() {
        let lanes = Lanes::default();
        let stuck = Arc::new(lanes.enter(A).await.unwrap());
        let began = Instant::now();
        stuck.keep_until(began + Duration::from_millis(20));
        stuck.keep_until(began + Duration::from_millis(100));
        assert!(lanes.enter(A).await.is_ok());
        assert!(began.elapsed() >= Duration::from_millis(100));
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
