//! Looking whether this host has the domain before it calls back, where `answer_unknown` is off.

use std::sync::Arc;
use std::time::Duration;

use fence_proto::Reason;
use fence_proto::host::{CallBack, Presence, RequestKey, concerns_owner, may_answer};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::gate::Gate;

/// Requests that libvirt is asked about at a time. What is asked for orders must have room beside it.
const AT_ONCE: usize = 8;

/// From a request's arrival to the call-back; normally it takes milliseconds. A later one may meet
/// another agent: see [`fence_proto::host::Timing::connect`]. The agent asks again.
const WITHIN: Duration = Duration::from_millis(500);

/// Looks first.
#[derive(Debug, Clone)]
pub(super) struct Looker(Arc<Semaphore>);

impl Looker {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Whether to call back.
    pub(super) async fn judge(
        &self,
        gate: &Gate,
        call: &CallBack,
        key: &RequestKey,
    ) -> Result<(), Reason> {
        let frame = call.frame.frame();
        if !concerns_owner(frame.action) {
            return Ok(());
        }
        let hub = &gate.hub;
        let heard_for = gate.with_replay(|replay| replay.heard_for(call.arrived, key));
        let by = call.arrived + WITHIN;
        let look = async {
            // Closed only when the daemon ends.
            let _turn = self.0.acquire().await;
            hub.backend.presence(&frame.domain, by).await
        };
        let left = by.since(hub.clock.now());
        let presence = timeout(left, look).await.unwrap_or(Presence::Unclear);
        may_answer(presence, heard_for)
    }
}
