//! The daemon's clock: the only place where the cores' moments meet the system's.

use std::time::Instant;

use fence_proto::Moment;

/// A monotonic clock whose epoch is its start. Copies of one clock agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::from_epoch(self.epoch.elapsed())
    }

    /// When `moment` is, for the system's timers. One beyond what the system can tell is a day
    /// from now.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.epoch
            .checked_add(moment.since_epoch())
            .unwrap_or_else(|| Instant::now() + std::time::Duration::from_secs(86_400))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_and_instants_agree() {
        let clock = Clock::start();
        let moment = clock.now() + Duration::from_secs(5);
        let ahead = clock.instant(moment) - Instant::now();
        assert!(ahead <= Duration::from_secs(5) && ahead > Duration::from_secs(4));
    }

    #[test]
    fn moment_at_the_end_of_time_is_far_ahead() {
        let clock = Clock::start();
        let end = Moment::from_epoch(Duration::MAX);
        assert!(clock.instant(end) > Instant::now() + Duration::from_secs(3600));
    }
}
