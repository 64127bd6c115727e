//! Doing what may hang: on a thread of its own, for so long.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Work under way.
#[derive(Debug)]
pub struct Pending<T> {
    receiver: mpsc::Receiver<T>,
    patience: Duration,
    until: Instant,
}

/// Begins `work` on another thread. One that does not return in time is left behind; it ends with the process.
pub fn begin<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Pending<T> {
    let (sender, receiver) = mpsc::channel();
    // If there is no thread for it, the sender is dropped and nobody waits.
    let _ = thread::Builder::new()
        // What is called may want much of it.
        .stack_size(8 << 20)
        .spawn(move || {
            // Nobody waits any more if this fails.
            let _ = sender.send(work());
        });
    Pending {
        receiver,
        patience,
        until: Instant::now() + patience,
    }
}

impl<T> Pending<T> {
    /// Waits for what came of it, for what is left of its time.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn result(self) -> Result<T, String> {
        let left = self.until.saturating_duration_since(Instant::now());
        self.receiver
            .recv_timeout(left)
            .map_err(|error| match error {
                mpsc::RecvTimeoutError::Timeout => {
                    format!("no answer in {} s", self.patience.as_secs_f32())
                }
                mpsc::RecvTimeoutError::Disconnected => "it could not be tried".to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_given_up() {
        assert_eq!(begin(Duration::from_secs(30), || 7).result(), Ok(7));
        let hangs = begin(Duration::from_millis(20), || {
            thread::sleep(Duration::from_secs(3));
        });
        assert_eq!(hangs.result(), Err("no answer in 0.02 s".to_owned()));
    }
}
