//! The thread that keeps a conversation with corosync going, and notices when it hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fence_proto::fencing::Backoff;
use tracing::{info, warn};

use super::{Happening, Shared, State, conversation};
use crate::sync::lock;
use crate::vitals::Beat;

/// Pauses between tries to join.
const REJOIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How often the conversation is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// In so many looks in a row at the same call corosync is taken for hung. Looks are counted rather than time:
/// a daemon that was stopped itself accuses nobody.
const PATIENCE: u32 = 12;

/// Conversations that may be stuck in calls that do not return. With so many it is waited for one to end.
const MAX_THREADS: usize = 2;

/// Which call a conversation makes: odd while it is in one.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    /// Makes a call that may block.
    pub(super) fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        self.0.fetch_add(1, Ordering::Relaxed);
        let result = call();
        self.0.fetch_add(1, Ordering::Relaxed);
        result
    }
}

/// Notices a call that does not return.
#[derive(Debug, Default)]
struct Watchdog {
    seen: u64,
    looks: u32,
}

impl Watchdog {
    /// True if it is time to give up on the call.
    fn look(&mut self, pulse: u64) -> bool {
        let same_call = pulse == self.seen && pulse % 2 == 1;
        self.looks = if same_call { self.looks + 1 } else { 0 };
        self.seen = pulse;
        self.looks >= PATIENCE
    }
}

pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("corosync-watch".to_owned())
        .spawn(move || keep(&shared))
        .map(drop)
}

fn keep(shared: &Arc<Shared>) {
    let beat = Beat::start("what watches corosync");
    let mut backoff = Backoff::new(REJOIN.0, REJOIN.1);
    let mut said = None;
    while let Some(generation) = shared.begin(&beat) {
        let pulse = Arc::new(Pulse::default());
        let reason = match conversation::start(shared, generation, &pulse) {
            Ok(()) => shared.until_over(generation, &pulse, &beat),
            Err(error) => Some(format!("no thread to talk to corosync: {error}")),
        };
        let Some(reason) = reason else { break };
        if shared.end(generation, &reason) {
            backoff.reset();
            said = None;
        }
        if said.as_ref() != Some(&reason) {
            warn!("the cluster can't be talked to: {reason}; retrying");
            said = Some(reason);
        }
        if !shared.pause(backoff.pause(), &beat) {
            break;
        }
    }
    shared.wait_for_the_end();
    shared.gone.send_replace(true);
}

impl Shared {
    fn wait<'s>(&'s self, state: MutexGuard<'s, State>, time: Duration) -> MutexGuard<'s, State> {
        let waited = self.wake.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Makes room for the next conversation; `None` if there is to be none.
    fn begin(&self, beat: &Beat) -> Option<u64> {
        let mut state = lock(&self.state);
        while state.threads >= MAX_THREADS && !state.leaving {
            beat.give();
            state.crowded = true;
            state = self.wait(state, LOOK);
        }
        state.crowded = false;
        if state.leaving {
            return None;
        }
        state.generation += 1;
        state.ended = None;
        state.threads += 1;
        Some(state.generation)
    }

    /// Waits until the conversation ends or hangs, and says why. `None` if the group is being left.
    fn until_over(&self, generation: u64, pulse: &Pulse, beat: &Beat) -> Option<String> {
        let mut watchdog = Watchdog::default();
        let mut state = lock(&self.state);
        let mut next_look = Instant::now() + LOOK;
        loop {
            beat.give();
            if state.leaving {
                return None;
            }
            if let Some(reason) = state.ended.take() {
                return Some(reason);
            }
            let now = Instant::now();
            if now >= next_look {
                next_look = now + LOOK;
                let hangs = watchdog.look(pulse.0.load(Ordering::Relaxed));
                if hangs && state.connected && state.generation == generation {
                    return Some("corosync does not answer".to_owned());
                }
                if hangs {
                    self.obstacle
                        .send_replace(Some("corosync does not answer".to_owned()));
                }
            }
            state = self.wait(state, next_look.saturating_duration_since(now));
        }
    }

    /// The conversation counts no more. True if it had got as far as joining the group.
    fn end(&self, generation: u64, reason: &str) -> bool {
        let mut state = lock(&self.state);
        let connected = std::mem::take(&mut state.connected);
        // So that what is sent or said in it from here on is dropped.
        state.generation += 1;
        state.outbox.clear();
        state.overflow = None;
        state.barriers.clear();
        drop(state);
        self.obstacle.send_replace(Some(reason.to_owned()));
        if connected {
            self.post_last(generation, Happening::Disconnected(reason.to_owned()));
        }
        connected
    }

    /// Posts the end of a conversation, which must not be missed.
    fn post_last(&self, generation: u64, happening: Happening) {
        let mut numbered = (generation, happening);
        while let Err(tokio::sync::mpsc::error::TrySendError::Full(back)) =
            self.happenings.try_send(numbered)
        {
            if lock(&self.state).leaving {
                return;
            }
            numbered = back;
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// False if there is to be no other conversation.
    fn pause(&self, pause: Duration, beat: &Beat) -> bool {
        beat.give();
        let until = Instant::now() + pause;
        let mut state = lock(&self.state);
        while !state.leaving {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.wait(state, left);
        }
        false
    }

    fn wait_for_the_end(&self) {
        let mut state = lock(&self.state);
        while state.threads > 0 {
            state = self.wait(state, LOOK);
        }
    }

    /// The conversation has joined the group. False if it does not count any more.
    pub(super) fn connected(&self, generation: u64) -> bool {
        let mut state = lock(&self.state);
        if state.generation != generation {
            return false;
        }
        state.connected = true;
        drop(state);
        info!(group = self.group, "joined the cluster's group");
        self.obstacle.send_replace(None);
        true
    }

    /// The conversation's thread ends, for this reason if it is not by order.
    pub(super) fn conversation_ended(&self, generation: u64, reason: Option<String>) {
        let mut state = lock(&self.state);
        state.threads -= 1;
        if state.generation == generation {
            state.ended = reason.or_else(|| Some("the conversation ended".to_owned()));
        }
        drop(state);
        self.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_lasts_is_a_hang() {
        let mut watchdog = Watchdog::default();
        let mut looks = |pulses: &[u64]| pulses.iter().any(|pulse| watchdog.look(*pulse));
        // Idle for ever, and busy for ever, in call after call.
        assert!(!looks(&[2; 100]));
        let busy: Vec<_> = (0..100).map(|number| 2 * number + 1).collect();
        assert!(!looks(&busy));
        assert!(!looks(&[1001; PATIENCE as usize]));
        assert!(looks(&[1001]));
    }
}
