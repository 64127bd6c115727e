//! The monotonic clock, as moments since the request began.

use std::time::Instant;

use fence_proto::Moment;

/// Started once per request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    /// The request begins now.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub(super) fn now(self) -> Moment {
        Moment::from_epoch(self.0.elapsed())
    }
}
