//! What a guest has not read yet of its answers.

use std::io;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::hub::Place;

/// How long a guest may take to read an answer, a long list included: agents wait no longer.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// The bytes. Bounded by what a line's orders can be answered, because nothing is read from a guest while there are any.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    due: Option<Instant>,
    places: Vec<Place>,
}

impl Outgoing {
    /// Whether everything was sent.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds something.
    pub(super) fn put(&mut self, bytes: Vec<u8>) {
        if self.bytes.is_empty() {
            self.bytes = bytes;
            self.due = Some(Instant::now() + WRITE_WAIT);
        } else {
            self.bytes.extend(bytes);
        }
    }

    /// Keeps a place until everything is sent.
    pub(super) fn keep(&mut self, place: Option<Place>) {
        if !self.is_empty() {
            self.places.extend(place);
        }
    }

    /// Sends what the kernel takes.
    pub(super) fn send(&mut self, stream: &UnixStream) -> io::Result<()> {
        while let Some(rest @ [_, ..]) = self.bytes.get(self.sent..) {
            match stream.try_write(rest) {
                Ok(count) => self.sent = self.sent.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        *self = Self::default();
        Ok(())
    }

    /// Waits until the kernel takes more, and sends it. An error if the guest takes too long. Cancel-safe.
    pub(super) async fn send_more(&mut self, stream: &UnixStream) -> io::Result<()> {
        let due = self.due.unwrap_or_else(Instant::now);
        timeout_at(due, stream.writable()).await??;
        self.send(stream)
    }
}
