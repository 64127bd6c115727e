//! Doing what may hang: on a thread of its own, for so long.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAnswer(pub String);

/// Does `work` on another thread. One that does not return in time is left behind; it ends with the process.
///
/// # Errors
/// [`NoAnswer`] if the time is over, or the thread cannot be started.
pub fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoAnswer> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        // What is called may want much of it.
        .stack_size(8 << 20)
        .spawn(move || {
            // Nobody waits any more if this fails.
            let _ = sender.send(work());
        })
        .map_err(|error| NoAnswer(format!("no thread: {error}")))?;
    receiver
        .recv_timeout(patience)
        .map_err(|_| NoAnswer(format!("no answer in {} s", patience.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_given_up() {
        assert_eq!(within(Duration::from_secs(30), || 7), Ok(7));
        let hangs = within(Duration::from_millis(20), || {
            thread::sleep(Duration::from_secs(3));
        });
        assert!(hangs.is_err());
    }
}
