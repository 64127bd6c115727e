//! Keeps the listeners serving, each for itself: one that is missing or lost takes no other down.
//!
//! At the start all must come up, unless the daemon may wait; then what is missing is tried again
//! while the others serve. A listener that is lost later is made again, with pauses. Only when none
//! has served for [`GIVE_UP`] is the daemon of no use: it ends with a failure, so that the service
//! manager starts it anew. One that may wait does not give up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fence_proto::HashAlgorithm;
use fence_proto::fencing::Backoff;
use fence_proto::host::{MissingKey, Policy, Timing};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::config;
use crate::gate::Gate;
use crate::hub::{Hub, Phase};
use crate::listener::{Listener, ListenerError};

/// Pauses between tries to make a listener that is missing or lost.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A listener that has served for so long is not one that fails again and again.
const STEADY: Duration = Duration::from_secs(10);

/// How long the daemon goes on without any listener, if it does not wait for them.
pub const GIVE_UP: Duration = Duration::from_secs(10);

/// Why the listeners cannot be started or go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A listener's configuration lets no policy be made.
    #[error("the listener {name} has no key: {error}")]
    Key {
        /// Which listener.
        name: String,
        /// What is missing.
        error: MissingKey,
    },
    /// A listener did not come up.
    #[error("listener {name}: {error}")]
    Listener {
        /// Which.
        name: String,
        /// Why.
        error: ListenerError,
    },
    /// None is left.
    #[error("no listener serves: {0}")]
    AllLost(String),
}

/// What a listener does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Serving,
    /// It is missing, for this reason.
    Down(String),
}

/// What all listeners do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board(BTreeMap<String, State>);

impl Board {
    /// Whether every listener serves.
    #[must_use]
    pub fn all_serve(&self) -> bool {
        self.0.values().all(|state| *state == State::Serving)
    }

    /// Whether at least one does.
    #[must_use]
    pub fn any_serves(&self) -> bool {
        self.0.values().any(|state| *state == State::Serving)
    }
}

/// In one line, for people: who serves, who does not and why.
impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serving = self.0.iter().filter(|(_, state)| **state == State::Serving);
        let serving: Vec<_> = serving.map(|(name, _)| name.as_str()).collect();
        let down = self.0.iter().filter_map(|(name, state)| match state {
            State::Serving => None,
            State::Down(why) => Some(format!("waiting for {name}: {why}")),
        });
        let mut parts: Vec<_> = down.collect();
        if !serving.is_empty() {
            parts.insert(0, format!("serving {}", serving.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The listeners of a running daemon.
#[derive(Debug)]
pub struct Supervisor {
    hub: Arc<Hub>,
    /// Wait for what is missing.
    wait: bool,
    give_up: Duration,
    board: watch::Sender<Board>,
    tasks: BTreeMap<String, JoinHandle<()>>,
}

impl Supervisor {
    /// No listeners yet. One that may `wait` takes listeners that are missing for a while.
    #[must_use]
    pub fn new(hub: &Arc<Hub>, wait: bool) -> Self {
        Self {
            hub: Arc::clone(hub),
            wait,
            give_up: GIVE_UP,
            board: watch::Sender::new(Board::default()),
            tasks: BTreeMap::new(),
        }
    }

    /// Starts listeners, all at a time. Where they are waited for, each serves as soon as it can;
    /// else none does before all can. Those whose names are known already are left as they are.
    ///
    /// # Errors
    /// [`SupervisorError`] for the first that cannot be had and may not be waited for.
    pub async fn start(&mut self, listeners: &[config::Listener]) -> Result<(), SupervisorError> {
        let mut binding = JoinSet::new();
        for listener in listeners {
            if self.tasks.contains_key(&listener.name) {
                continue;
            }
            let post = Post {
                gate: self.gate(listener)?,
                settings: listener.settings.clone(),
                board: self.board.clone(),
            };
            binding.spawn(async move {
                let bound = post.bind().await;
                (post, bound)
            });
        }
        let mut ready = Vec::new();
        // None of these tasks is aborted or panics while they are awaited.
        while let Some(Ok((post, bound))) = binding.join_next().await {
            match bound {
                Err(error) if !(self.wait && error.may_pass()) => {
                    let name = post.gate.name().to_owned();
                    return Err(SupervisorError::Listener { name, error });
                }
                bound if self.wait => self.keep(post, bound),
                bound => ready.push((post, bound)),
            }
        }
        for (post, bound) in ready {
            self.keep(post, bound);
        }
        Ok(())
    }

    fn keep(&mut self, post: Post, bound: Result<Listener, ListenerError>) {
        let name = post.gate.name().to_owned();
        post.enter(&bound);
        self.tasks.insert(name, tokio::spawn(post.keep(bound)));
    }

    /// Ends a listener and gives its sockets back. Its sessions go on.
    pub async fn stop(&mut self, name: &str) {
        if let Some(task) = self.tasks.remove(name) {
            task.abort();
            // An error says that it was aborted.
            let _ = task.await;
        }
        self.board.send_modify(|board| {
            board.0.remove(name);
        });
    }

    /// Follows what the listeners do.
    #[must_use]
    pub fn board(&self) -> watch::Receiver<Board> {
        self.board.subscribe()
    }

    /// Resolves when no listener has served for [`GIVE_UP`]; never where they are waited for.
    pub async fn all_lost(&self) -> SupervisorError {
        let mut board = self.board();
        loop {
            // The sender is in `self`.
            let _ = board.wait_for(|board| !board.any_serves()).await;
            let again = timeout(self.give_up, board.wait_for(Board::any_serves)).await;
            if again.is_err() && !self.wait {
                return SupervisorError::AllLost(self.board.borrow().to_string());
            }
        }
    }

    fn gate(&self, listener: &config::Listener) -> Result<Arc<Gate>, SupervisorError> {
        let none = HashAlgorithm::None;
        let (key, hashes) = match listener.settings.authentication() {
            Some(own) => (own.key.clone(), (own.hash, own.auth)),
            // The line that a request comes on is what tells who asks.
            None => (None, (none, none)),
        };
        let access = Arc::new(listener.access.clone());
        let policy = Policy::new(key, hashes, access, Timing::default());
        let policy = policy.map_err(|error| SupervisorError::Key {
            name: listener.name.clone(),
            error,
        })?;
        Ok(Gate::new(&self.hub, &listener.name, Arc::new(policy)))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

/// What keeps one listener serving.
struct Post {
    gate: Arc<Gate>,
    settings: config::ListenerSettings,
    board: watch::Sender<Board>,
}

impl Post {
    async fn bind(&self) -> Result<Listener, ListenerError> {
        Listener::bind(&self.settings, Arc::clone(&self.gate)).await
    }

    /// Serves whenever it can, until the daemon drains.
    async fn keep(self, mut bound: Result<Listener, ListenerError>) {
        let mut phase = self.gate.hub.phase();
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
                tracing::warn!(listener = self.gate.name(), "waiting: {text}");
                said = text;
            }
            self.enter(&Err(error));
            tokio::select! {
                _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
                () = sleep(pauses.pause()) => {}
            }
            bound = Listener::bind_late(&self.settings, Arc::clone(&self.gate)).await;
            self.enter(&bound);
        }
    }

    fn enter(&self, bound: &Result<Listener, ListenerError>) {
        let state = match bound {
            Ok(_) => State::Serving,
            Err(error) => State::Down(error.to_string()),
        };
        self.board.send_if_modified(|board| {
            let known = board.0.get(self.gate.name());
            let changed = known != Some(&state);
            if changed {
                board.0.insert(self.gate.name().to_owned(), state);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use fence_proto::Access;
    use fence_proto::host::Limits;

    use super::*;
    use crate::backend;
    use crate::clock::Clock;
    use crate::config::{
        Authentication, BackendSettings, LibvirtSettings, ListenerSettings, TcpSettings,
    };

    fn hub() -> Arc<Hub> {
        let clock = Clock::start();
        let uris = vec!["test:///default".to_owned()];
        let settings = BackendSettings::Libvirt(LibvirtSettings { uris });
        let backend = backend::open(&settings, clock).unwrap();
        Hub::new(clock, backend, Limits::default())
    }

    fn tcp(name: &str, address: SocketAddr) -> config::Listener {
        let none = HashAlgorithm::None;
        config::Listener {
            name: name.to_owned(),
            settings: ListenerSettings::Tcp(TcpSettings {
                authentication: Authentication {
                    key: None,
                    hash: none,
                    auth: none,
                },
                address,
            }),
            access: Access::unrestricted(),
        }
    }

    fn free_address() -> SocketAddr {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    }

    /// A supervisor with a listener whose socket is lost at once.
    async fn with_lost(name: &str, address: SocketAddr) -> Supervisor {
        let mut supervisor = Supervisor::new(&hub(), false);
        let settings = tcp(name, address);
        let post = Post {
            gate: supervisor.gate(&settings).unwrap(),
            settings: settings.settings,
            board: supervisor.board.clone(),
        };
        let bound = post.bind().await;
        let Ok(Listener::Tcp(tcp)) = &bound else {
            panic!("{bound:?}");
        };
        tcp.lose();
        post.enter(&bound);
        let task = tokio::spawn(post.keep(bound));
        supervisor.tasks.insert(name.to_owned(), task);
        supervisor
    }

    #[tokio::test]
    async fn listener_that_is_lost_is_made_again_and_the_others_never_stopped() {
        let (lost, other) = (free_address(), free_address());
        let mut supervisor = with_lost("lost", lost).await;
        supervisor.start(&[tcp("other", other)]).await.unwrap();
        let mut board = supervisor.board();
        let down = board.wait_for(|board| !board.all_serve()).await.unwrap();
        let text = down.to_string();
        drop(down);
        assert!(
            text.starts_with("serving other; waiting for lost: the TCP"),
            "{text}"
        );
        TcpStream::connect(other).unwrap();
        board.wait_for(Board::all_serve).await.unwrap();
        TcpStream::connect(lost).unwrap();
    }

    #[tokio::test]
    async fn daemon_gives_up_only_when_no_listener_is_left() {
        let (lost, other) = (free_address(), free_address());
        let mut supervisor = with_lost("lost", lost).await;
        supervisor.give_up = Duration::from_millis(300);
        supervisor.start(&[tcp("other", other)]).await.unwrap();
        let mut board = supervisor.board();
        let _ = board.wait_for(|board| !board.all_serve()).await.unwrap();
        // Somebody else has the port now.
        let taken = TcpListener::bind(lost);
        let patience = Duration::from_secs(1);
        assert!(timeout(patience, supervisor.all_lost()).await.is_err());
        supervisor.stop("other").await;
        if taken.is_ok() {
            let error = supervisor.all_lost().await.to_string();
            assert!(
                error.starts_with("no listener serves: waiting for lost"),
                "{error}"
            );
        }
    }
}
