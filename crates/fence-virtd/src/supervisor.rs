//! Keeps the listeners serving, each for itself: one that is missing or lost takes no other down.
//!
//! At the start all must come up, unless the daemon may wait; then what is missing is tried again
//! while the others serve. A listener that is lost later is made again, with pauses. Only when none
//! has served for [`GIVE_UP`] is the daemon of no use: it ends with a failure, so that the service
//! manager starts it anew. One that may wait does not give up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fence_proto::HashAlgorithm;
use fence_proto::host::{MissingKey, Policy, Timing};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::config;
use crate::door::Door;
use crate::gate::Gate;
use crate::hub::Hub;
use crate::listener::{Listener, ListenerError};
use crate::post::Post;

pub use crate::board::Board;

/// How long the daemon goes on without any listener, if it does not wait for them.
pub const GIVE_UP: Duration = Duration::from_secs(10);

/// How long a listener may take to give its sockets back.
const END: Duration = Duration::from_secs(1);

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
    #[error("listener {name}: {reason}")]
    Listener {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// None is left.
    #[error("no listener serves: {0}")]
    AllLost(String),
}

/// The listeners of a running daemon.
#[derive(Debug)]
pub struct Supervisor {
    hub: Arc<Hub>,
    /// Wait for what is missing.
    wait: bool,
    give_up: Duration,
    board: watch::Sender<Board>,
    kept: BTreeMap<String, Kept>,
}

/// A listener that is kept serving.
#[derive(Debug)]
struct Kept {
    settings: config::Listener,
    door: Door,
    task: JoinHandle<()>,
}

/// A listener that has come up, or not, and is not kept yet.
struct Candidate {
    settings: config::Listener,
    post: Post,
    bound: Result<Listener, ListenerError>,
}

/// What a new configuration has changed, for the log; empty if nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed(Vec<String>);

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("no listener changed"),
            changes => f.write_str(&changes.join(", ")),
        }
    }
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
            kept: BTreeMap::new(),
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
            if !self.kept.contains_key(&listener.name) {
                binding.spawn(bind(listener.clone(), self.post(listener, None)?));
            }
        }
        let mut ready = Vec::new();
        // None of these tasks is aborted or panics while they are awaited.
        while let Some(Ok(candidate)) = binding.join_next().await {
            match &candidate.bound {
                Err(error) if !(self.wait && error.may_pass()) => return Err(candidate.failure()),
                _ if self.wait => self.keep(candidate),
                _ => ready.push(candidate),
            }
        }
        for candidate in ready {
            self.keep(candidate);
        }
        Ok(())
    }

    /// Has these listeners, and only these, serve from now on. One that listens where it did before goes on without a
    /// gap, under its new rules for whoever comes from now on. What is new or listens elsewhere must come up, else
    /// everything stays as it was. One that is not wanted any more ends; its sessions go on.
    ///
    /// # Errors
    /// [`SupervisorError`] for the first that cannot be had.
    pub async fn change(
        &mut self,
        listeners: &[config::Listener],
    ) -> Result<Changed, SupervisorError> {
        let (mut rules, mut posts) = (Vec::new(), Vec::new());
        for listener in listeners {
            let known = self.kept.get(&listener.name);
            match known.filter(|kept| listens_there(&kept.settings, listener)) {
                Some(kept) if kept.settings.has_rules_of(listener) => {}
                Some(kept) => {
                    let gate = kept.door.gate().followed_by(policy(listener)?);
                    rules.push((listener.clone(), gate));
                }
                None => posts.push((listener.clone(), self.post(listener, known)?)),
            }
        }
        let stays = |kept: &Kept| listeners.iter().any(|it| listens_there(&kept.settings, it));
        let leaving = self.kept.values().filter(|kept| !stays(kept));
        let leaving: BTreeSet<_> = leaving.map(|kept| kept.settings.name.clone()).collect();
        let candidates = self.take_places(posts, &leaving).await?;
        let mut changed = Changed::default();
        for (listener, gate) in rules {
            changed.0.push(format!("{}: other rules", listener.name));
            self.rule(listener, gate);
        }
        for name in leaving {
            self.stop(&name).await;
            if !listeners.iter().any(|it| it.name == name) {
                changed.0.push(format!("{name}: ended"));
            }
        }
        for candidate in candidates {
            changed
                .0
                .push(format!("{}: listens anew", candidate.settings.name));
            self.keep(candidate);
        }
        Ok(changed)
    }

    /// Makes the sockets of all these listeners or, if one can't be had, none. Where one that is leaving has
    /// the place it gives way, and has it back if that was in vain.
    async fn take_places(
        &mut self,
        posts: Vec<(config::Listener, Post)>,
        leaving: &BTreeSet<String>,
    ) -> Result<Vec<Candidate>, SupervisorError> {
        let (mut ready, mut blocked) = (Vec::new(), Vec::new());
        for (settings, post) in posts {
            let in_the_way = self.in_the_way(&settings, leaving);
            if in_the_way.is_empty() {
                let candidate = bind(settings, post).await;
                if candidate.bound.is_err() {
                    return Err(candidate.failure());
                }
                ready.push(candidate);
            } else {
                blocked.push((settings, post, in_the_way));
            }
        }
        let mut gone = Vec::new();
        for (settings, post, in_the_way) in blocked {
            for name in in_the_way {
                gone.extend(self.stop(&name).await);
            }
            let candidate = bind(settings, post).await;
            if candidate.bound.is_err() {
                let failure = candidate.failure();
                drop((candidate, ready));
                self.restore(gone).await;
                return Err(failure);
            }
            ready.push(candidate);
        }
        Ok(ready)
    }

    /// Who of those that are leaving has the place of this listener.
    fn in_the_way(&self, settings: &config::Listener, leaving: &BTreeSet<String>) -> Vec<String> {
        let here = |name: &&String| {
            self.kept
                .get(*name)
                .is_some_and(|kept| kept.settings.settings.excludes(&settings.settings))
        };
        leaving.iter().filter(here).cloned().collect()
    }

    async fn restore(&mut self, gone: Vec<(config::Listener, Arc<Gate>)>) {
        for (settings, gate) in gone {
            let post = Post {
                door: Door::new(gate),
                settings: settings.settings.clone(),
                board: self.board.clone(),
            };
            // One that can't be had now is tried again and again.
            self.keep(bind(settings, post).await);
        }
    }

    /// Other rules for a listener that stays where it is.
    fn rule(&mut self, listener: config::Listener, gate: Arc<Gate>) {
        let vsock = matches!(listener.settings, config::ListenerSettings::Vsock(_));
        if vsock && listener.access.names_guests() {
            self.hub.backend.expect_guests();
        }
        if let Some(kept) = self.kept.get_mut(&listener.name) {
            kept.door.change(gate);
            kept.settings = listener;
        }
    }

    fn keep(&mut self, candidate: Candidate) {
        let Candidate {
            settings,
            post,
            bound,
        } = candidate;
        post.enter(&bound);
        let kept = Kept {
            door: post.door.clone(),
            task: tokio::spawn(post.keep(bound)),
            settings,
        };
        self.kept.insert(kept.settings.name.clone(), kept);
    }

    /// Ends a listener and gives its sockets back: what it was and the gate that it had, if it was there. Its
    /// sessions go on.
    pub async fn stop(&mut self, name: &str) -> Option<(config::Listener, Arc<Gate>)> {
        let kept = self.kept.remove(name);
        let stopped = match kept {
            Some(mut kept) => {
                kept.door.close();
                if timeout(END, &mut kept.task).await.is_err() {
                    kept.task.abort();
                    // An error says that it was aborted.
                    let _ = kept.task.await;
                }
                Some((kept.settings, kept.door.gate()))
            }
            None => None,
        };
        self.board.send_modify(|board| {
            board.0.remove(name);
        });
        stopped
    }

    /// From now on listeners that are missing or lost are waited for, or not.
    pub const fn may_wait(&mut self, wait: bool) {
        self.wait = wait;
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

    /// What is to keep a listener; the one of the same name that is there already leaves it its memory.
    fn post(
        &self,
        listener: &config::Listener,
        before: Option<&Kept>,
    ) -> Result<Post, SupervisorError> {
        let policy = policy(listener)?;
        let gate = match before {
            Some(kept) => kept.door.gate().followed_by(policy),
            None => Gate::new(&self.hub, &listener.name, policy),
        };
        Ok(Post {
            door: Door::new(gate),
            settings: listener.settings.clone(),
            board: self.board.clone(),
        })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for kept in self.kept.values() {
            kept.task.abort();
        }
    }
}

impl Candidate {
    /// Why it did not come up.
    fn failure(&self) -> SupervisorError {
        let name = self.settings.name.clone();
        let reason = self.bound.as_ref().err().map(ToString::to_string);
        SupervisorError::Listener {
            name,
            reason: reason.unwrap_or_default(),
        }
    }
}

async fn bind(settings: config::Listener, post: Post) -> Candidate {
    let bound = post.bind().await;
    Candidate {
        settings,
        post,
        bound,
    }
}

/// Whether it is the same listener in the same place.
fn listens_there(one: &config::Listener, other: &config::Listener) -> bool {
    one.name == other.name && one.settings.is_where(&other.settings)
}

fn policy(listener: &config::Listener) -> Result<Arc<Policy>, SupervisorError> {
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
    Ok(Arc::new(policy))
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
