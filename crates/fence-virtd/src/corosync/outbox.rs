//! Messages that wait to be sent: bounded, in order, each for one connection only.

use std::collections::VecDeque;

use fence_cluster::wire::message::MAX_MESSAGE;

/// Messages that may wait. Corosync refuses them for the time of a membership change, a second or two.
const MAX_WAITING: usize = 4096;

/// Their bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A message that cannot wait, so that what comes behind it must not be sent either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overflow {
    /// Too much waits already.
    #[error("corosync takes no messages: too many are waiting")]
    Full,
    /// Nobody would take it. (Corosync cuts what has more than 1,047,552 bytes, and waits while it does.)
    #[error("a message of {0} bytes is too long to be sent")]
    TooLong(usize),
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, message: Vec<u8>) -> Result<(), Overflow> {
        let length = message.len();
        if length > MAX_MESSAGE {
            return Err(Overflow::TooLong(length));
        }
        if self.waiting.len() >= MAX_WAITING || self.bytes.saturating_add(length) > MAX_BYTES {
            return Err(Overflow::Full);
        }
        self.bytes = self.bytes.saturating_add(length);
        self.waiting.push_back(message);
        Ok(())
    }

    /// The next one, which stays the next one when it is put back by [`Self::put_back`].
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(message.len());
        Some(message)
    }

    /// Corosync did not take it now.
    pub(super) fn put_back(&mut self, message: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(message.len());
        self.waiting.push_front(message);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_order_when_one_is_put_back() {
        let mut outbox = Outbox::default();
        for number in 0..3 {
            outbox.push(vec![number]).unwrap();
        }
        let first = outbox.pop().unwrap();
        outbox.put_back(first);
        let order: Vec<_> = std::iter::from_fn(|| outbox.pop()).flatten().collect();
        assert_eq!(order, [0, 1, 2]);
        assert!(outbox.waiting.is_empty() && outbox.bytes == 0);
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_by_bytes() {
        let mut outbox = Outbox::default();
        for _ in 0..MAX_WAITING {
            outbox.push(Vec::new()).unwrap();
        }
        assert_eq!(outbox.push(Vec::new()), Err(Overflow::Full));
        outbox.clear();
        let long = vec![0; MAX_MESSAGE];
        for _ in 0..MAX_BYTES / MAX_MESSAGE {
            outbox.push(long.clone()).unwrap();
        }
        assert_eq!(outbox.push(long), Err(Overflow::Full));
        let longer = vec![0; MAX_MESSAGE + 1];
        assert_eq!(outbox.push(longer), Err(Overflow::TooLong(MAX_MESSAGE + 1)));
    }
}
