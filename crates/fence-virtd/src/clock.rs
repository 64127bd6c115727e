//! The daemon's monotonic clock, as the cores want it.

use std::time::Instant;

use fence_proto::Moment;

/// A clock whose epoch is the daemon's start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::from_epoch(self.epoch.elapsed())
    }

    /// The moment as the standard library's instant, for timers.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.epoch
            .checked_add(moment.since_epoch())
            .unwrap_or(self.epoch)
    }
}
