//! What was dropped and why: counted always, logged at a bounded rate.
//!
//! Whatever a stranger can trigger must not be able to fill a log. Each reason has its own allowance
//! per second; what exceeds it is counted, and the next line that is logged says how many were not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fence_proto::{Moment, Reason};

use crate::clock::Clock;
use crate::sync::lock;

/// Lines per reason and second.
const LINES_PER_SECOND: u32 = 20;

/// How many lines may be logged in which time. What exceeds it is counted.
#[derive(Debug)]
pub struct Allowance {
    lines: u32,
    per: Duration,
    started: Moment,
    logged: u32,
    suppressed: u64,
}

impl Allowance {
    /// So many lines, at least one, in each such time.
    #[must_use]
    pub fn new(lines: u32, per: Duration) -> Self {
        Self {
            lines: lines.max(1),
            per,
            started: Moment::default(),
            logged: 0,
            suppressed: 0,
        }
    }

    /// Whether a line may be logged, and how many were not since the last one.
    pub fn allow(&mut self, now: Moment) -> Option<u64> {
        if now.since(self.started) >= self.per {
            self.started = now;
            self.logged = 0;
        }
        if self.logged >= self.lines {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.logged = self.logged.saturating_add(1);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Counts of one reason.
#[derive(Debug)]
struct Tally {
    total: AtomicU64,
    allowance: Mutex<Allowance>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            total: AtomicU64::default(),
            allowance: Mutex::new(Allowance::new(LINES_PER_SECOND, Duration::from_secs(1))),
        }
    }
}

/// The counters of a daemon, one per [`Reason`].
#[derive(Debug)]
pub struct Counters {
    clock: Clock,
    tallies: Vec<Tally>,
}

impl Counters {
    /// All zero.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            tallies: Reason::ALL.iter().map(|_| Tally::default()).collect(),
        }
    }

    /// Counts a drop and logs it, unless its reason has been logged too often in this second.
    /// `what` names the peer and whatever else is known, `listener` where it came in.
    pub fn drop(&self, reason: Reason, listener: &str, what: &dyn std::fmt::Display) {
        let Some(tally) = self.tally(reason) else {
            return;
        };
        tally.total.fetch_add(1, Ordering::Relaxed);
        let Some(suppressed) = lock(&tally.allowance).allow(self.clock.now()) else {
            return;
        };
        if suppressed > 0 {
            tracing::debug!(%reason, suppressed, "drops of this reason were not logged");
        }
        if reason == Reason::ReflectedChallenge {
            tracing::warn!(%reason, listener, "refused an attack: {what} sent a host's own challenge back");
        } else if reason == Reason::SenderMismatch {
            tracing::warn!(%reason, listener, "not served: {what} sent a request that names another address; list the sender in the same groups");
        } else {
            tracing::debug!(%reason, listener, "dropped: {what}");
        }
    }

    /// How often something was dropped for this reason.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.tally(reason)
            .map_or(0, |tally| tally.total.load(Ordering::Relaxed))
    }

    /// Every reason that occurred, as `name=count`, for the log.
    #[must_use]
    pub fn summary(&self) -> String {
        let counted = Reason::ALL
            .iter()
            .map(|reason| (reason, self.count(*reason)));
        let lines: Vec<_> = counted
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{reason}={count}"))
            .collect();
        if lines.is_empty() {
            "none".to_owned()
        } else {
            lines.join(" ")
        }
    }

    fn tally(&self, reason: Reason) -> Option<&Tally> {
        let index = Reason::ALL.iter().position(|it| *it == reason)?;
        self.tallies.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_is_counted_and_few_are_logged() {
        let counters = Counters::new(Clock::start());
        for _ in 0..1000 {
            counters.drop(Reason::BadSignature, "multicast", &"test");
        }
        assert_eq!(counters.count(Reason::BadSignature), 1000);
        assert_eq!(counters.count(Reason::Stale), 0);
        assert_eq!(counters.summary(), "bad-signature=1000");
    }

    #[test]
    fn suppressed_lines_are_reported_with_the_next() {
        let mut tally = Allowance::new(LINES_PER_SECOND, Duration::from_secs(1));
        let at = |seconds| Moment::from_epoch(Duration::from_secs(seconds));
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(tally.allow(at(1)), Some(0));
        }
        assert_eq!(tally.allow(at(1)), None);
        assert_eq!(tally.allow(at(1)), None);
        assert_eq!(tally.allow(at(2)), Some(2));
        assert_eq!(tally.allow(at(2)), Some(0));
    }
}
