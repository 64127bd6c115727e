//! How much of what the core notes is logged.

use std::time::Duration;

use tokio::time::Instant;

/// The core's notes that are logged in a second.
const NOTES_PER_SECOND: u32 = 50;

/// So many lines in a second.
pub(super) struct Allowance {
    since: Instant,
    used: u32,
    missed: u32,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            used: 0,
            missed: 0,
        }
    }

    /// Whether one more is allowed, and how many were not since the last one.
    pub(super) fn allow(&mut self) -> Option<u32> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.used = 0;
        }
        if self.used >= NOTES_PER_SECOND {
            self.missed = self.missed.saturating_add(1);
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.missed))
    }
}
