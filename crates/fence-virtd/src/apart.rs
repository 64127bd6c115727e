//! Reading that may hang, on a thread where it holds up nobody: one at a time, and one more at most after one that hangs.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotRead {
    /// It takes too long, and goes on.
    TooLong,
    /// One that took too long still goes on. When it is over, reading is due.
    UnderWay {
        /// Whether nobody else was told so since it began.
        first: bool,
    },
    /// It broke.
    Broken(String),
}

/// The readings of one thing.
#[derive(Debug)]
pub(crate) struct Apart<T> {
    /// The last one, unless it is known to be over.
    reading: Option<JoinHandle<T>>,
    /// Whether somebody wanted one meanwhile.
    wanted: bool,
}

impl<T> Default for Apart<T> {
    fn default() -> Self {
        Self {
            reading: None,
            wanted: false,
        }
    }
}

impl<T: Send + 'static> Apart<T> {
    /// What `read` returns, if it does so in time. Cancel-safe, but a reading that has begun goes on.
    ///
    /// # Errors
    /// [`NotRead`].
    pub(crate) async fn read(
        &mut self,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRead> {
        if self.is_under_way() {
            let first = !std::mem::replace(&mut self.wanted, true);
            return Err(NotRead::UnderWay { first });
        }
        self.wanted = false;
        let reading = self.reading.insert(spawn_blocking(read));
        let Ok(result) = timeout(patience, reading).await else {
            return Err(NotRead::TooLong);
        };
        self.reading = None;
        result.map_err(|error| NotRead::Broken(error.to_string()))
    }

    /// Resolves when the reading is over that somebody was told of, so that it is to be read once more. Cancel-safe.
    pub(crate) async fn due(&mut self) {
        match &mut self.reading {
            Some(reading) if self.wanted => {
                // Its result is older than what is wanted.
                let _ = reading.await;
                self.reading = None;
            }
            _ => std::future::pending().await,
        }
    }

    fn is_under_way(&self) -> bool {
        let reading = self.reading.as_ref();
        reading.is_some_and(|reading| !reading.is_finished())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    async fn is_due(files: &mut Apart<bool>) -> bool {
        timeout(SHORT, files.due()).await.is_ok()
    }

    #[tokio::test]
    async fn reading_that_hangs_costs_one_thread_and_one_more_reading_however_many_are_wanted() {
        let mut files = Apart::default();
        let (release, held) = channel::<()>();
        let read = files.read(SHORT, move || held.recv().is_ok()).await;
        assert_eq!(read, Err(NotRead::TooLong));
        assert!(!is_due(&mut files).await, "nobody wanted more");
        let (began, begun) = channel();
        for first in [true, false, false] {
            let began = began.clone();
            let read = files.read(LONG, move || began.send(()).is_ok()).await;
            assert_eq!(read, Err(NotRead::UnderWay { first }));
        }
        assert!(!is_due(&mut files).await, "it still hangs");
        assert!(begun.try_recv().is_err());
        release.send(()).unwrap();
        timeout(LONG, files.due()).await.unwrap();
        assert_eq!(files.read(LONG, || true).await, Ok(true));
        assert!(!is_due(&mut files).await, "it is done");
    }

    #[tokio::test]
    async fn reading_that_was_late_is_as_good_as_none() {
        let mut files = Apart::default();
        let (release, held) = channel::<()>();
        let read = files.read(SHORT, move || held.recv().is_ok()).await;
        assert_eq!(read, Err(NotRead::TooLong));
        release.send(()).unwrap();
        let over = async {
            while files.is_under_way() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, over).await.unwrap();
        assert!(!is_due(&mut files).await, "nobody wanted more");
        assert_eq!(files.read(LONG, || false).await, Ok(false));
    }
}
