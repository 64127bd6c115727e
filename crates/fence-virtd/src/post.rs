//! What keeps one listener serving: made again when it is lost, with pauses.

use std::time::Duration;

use fence_proto::fencing::Backoff;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::board::{Board, State};
use crate::config;
use crate::door::Door;
use crate::listener::{Listener, ListenerError};

/// Pauses between tries to make a listener that is missing or lost.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A listener that has served for so long is not one that fails again and again.
const STEADY: Duration = Duration::from_secs(10);

/// What keeps one listener serving.
pub(crate) struct Post {
    pub(crate) door: Door,
    pub(crate) settings: config::ListenerSettings,
    pub(crate) board: watch::Sender<Board>,
}

impl Post {
    /// Makes its sockets.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) async fn bind(&self) -> Result<Listener, ListenerError> {
        Listener::bind(&self.settings, self.door.clone()).await
    }

    /// Serves whenever it can, until its door is closed or the daemon drains.
    pub(crate) async fn keep(self, mut bound: Result<Listener, ListenerError>) {
        let closing = self.door.closing();
        tokio::pin!(closing);
        let mut pauses = Backoff::new(RETRY.0, RETRY.1);
        let mut said = String::new();
        loop {
            let error = match bound {
                Ok(listener) => {
                    let began = Instant::now();
                    let Err(error) = listener.serve().await else {
                        return;
                    };
                    if began.elapsed() >= STEADY {
                        pauses = Backoff::new(RETRY.0, RETRY.1);
                        said.clear();
                    }
                    error
                }
                Err(error) => error,
            };
            let text = error.to_string();
            if text != said {
                tracing::warn!(listener = self.door.name(), "waiting: {text}");
                said = text;
            }
            self.enter(&Err(error));
            tokio::select! {
                () = &mut closing => return,
                () = sleep(pauses.pause()) => {}
            }
            bound = tokio::select! {
                () = &mut closing => return,
                bound = Listener::bind_late(&self.settings, self.door.clone()) => bound,
            };
            self.enter(&bound);
        }
    }

    /// Puts down what it does.
    pub(crate) fn enter(&self, bound: &Result<Listener, ListenerError>) {
        let state = match bound {
            Ok(_) => State::Serving,
            Err(error) => State::Down(error.to_string()),
        };
        self.board.send_if_modified(|board| {
            let known = board.0.get(self.door.name());
            let changed = known != Some(&state);
            if changed {
                board.0.insert(self.door.name().to_owned(), state);
            }
            changed
        });
    }
}
