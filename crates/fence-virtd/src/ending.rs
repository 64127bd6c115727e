//! The daemon's end, within a second: orders under way finish, the cluster's group is left, who still waits
//! gets a failure.
//!
//! In that order. While this daemon is a member of the group the others do what its requests ask for, so that a
//! failure which was told before could be followed by the deed.

use std::time::Duration;

use tokio::time::timeout;

use crate::hub::{Hub, Phase};

/// How long orders under way may finish after SIGTERM.
const DRAIN: Duration = Duration::from_millis(600);

/// How long leaving the cluster may take: corosync may hang.
const LEAVE: Duration = Duration::from_millis(150);

/// How long the last failures may take to be sent after that.
const END: Duration = Duration::from_millis(200);

/// Lets orders under way finish, for a moment; then everybody who still waits gets a failure.
pub(crate) async fn end(hub: &Hub) {
    hub.advance(Phase::Draining);
    hub.backend.shut_down();
    if timeout(DRAIN, hub.idle()).await.is_err() {
        tracing::warn!("orders are still under way; their requesters get a failure");
    }
    if timeout(LEAVE, hub.backend.leave()).await.is_err() {
        tracing::warn!("the cluster's group could not be left in good order");
    }
    hub.advance(Phase::Ending);
    let _ = timeout(END, hub.idle()).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::{Arc, Mutex};

    use fence_proto::host::{Answer, Limits};
    use fence_proto::{Order, Reply, Source};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::backend::{Answering, Backend, CancelFlag, Identifying, Leaving, Starting};
    use crate::clock::Clock;
    use crate::hub::Place;
    use crate::sync::lock;

    /// A backend with a group that is left in so long, if ever.
    #[derive(Debug)]
    struct Member {
        leaves_in: Option<Duration>,
        left: Mutex<Option<Instant>>,
    }

    impl Backend for Member {
        fn ready(&self) -> Starting<'_> {
            Box::pin(async { Ok(()) })
        }

        fn execute(&self, _: Order, _: CancelFlag) -> Answering {
            Box::pin(async { Answer::Reply(Reply::Failure) })
        }

        fn expect_guests(&self) {}

        fn identify(&self, _: u32) -> Identifying {
            Box::pin(async { None })
        }

        fn summary(&self) -> String {
            String::new()
        }

        fn shut_down(&self) {}

        fn leave(&self) -> Leaving<'_> {
            Box::pin(async {
                match self.leaves_in {
                    Some(time) => sleep(time).await,
                    None => std::future::pending().await,
                }
                *lock(&self.left) = Some(Instant::now());
            })
        }
    }

    fn member(leaves_in: Option<Duration>) -> (Arc<Member>, Arc<Hub>, Place) {
        let left = Mutex::default();
        let backend = Arc::new(Member { leaves_in, left });
        let shared = Arc::clone(&backend) as Arc<dyn Backend>;
        let hub = Hub::new(Clock::start(), shared, Limits::default());
        let source = Source::Ip(Ipv4Addr::LOCALHOST.into());
        let place = hub.share().admit(source).unwrap();
        (backend, hub, place)
    }

    /// Ends the daemon with a session that gives up when it is told to. When that was, and when all was over.
    async fn end_with_a_session(hub: &Arc<Hub>, place: Place) -> (Instant, Instant) {
        let mut phase = hub.phase();
        let session = tokio::spawn(async move {
            phase.wait_for(|it| *it == Phase::Ending).await.unwrap();
            let told = Instant::now();
            drop(place);
            told
        });
        end(hub).await;
        let over = Instant::now();
        (session.await.unwrap(), over)
    }

    #[tokio::test]
    async fn nobody_is_told_a_failure_before_the_group_is_left() {
        let (backend, hub, place) = member(Some(Duration::from_millis(20)));
        let (told, _) = end_with_a_session(&hub, place).await;
        let left = lock(&backend.left).unwrap();
        assert!(left <= told, "{:?} too early", left - told);
    }

    #[tokio::test]
    async fn group_that_can_not_be_left_keeps_nobody_from_an_answer() {
        let (backend, hub, place) = member(None);
        let began = Instant::now();
        let (told, over) = end_with_a_session(&hub, place).await;
        assert!(lock(&backend.left).is_none());
        assert!(told >= began + DRAIN + LEAVE && told <= over);
    }

    #[test]
    fn the_end_takes_a_second_at_most() {
        assert!(DRAIN + LEAVE + END < Duration::from_secs(1));
    }
}
