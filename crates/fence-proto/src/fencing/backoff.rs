//! Pauses that grow.

use core::time::Duration;

/// A pause that doubles from a first to a longest length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, never exceeds `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The pause to make now; the next one is twice as long.
    pub fn pause(&mut self) -> Duration {
        let now = self.next.min(self.longest);
        self.next = now.saturating_mul(2).min(self.longest);
        now
    }

    /// Whether the longest pause is reached.
    #[must_use]
    pub fn is_longest(&self) -> bool {
        self.next >= self.longest
    }

    /// Back to the first length.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_millis(1500));
        let pauses: Vec<_> = (0..4).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 1500, 1500]);
        assert!(backoff.is_longest());
        backoff.reset();
        assert_eq!(backoff.pause().as_millis(), 500);
    }
}
