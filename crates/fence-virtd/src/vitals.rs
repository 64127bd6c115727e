//! Signs of life of the threads that must never stand still: those that watch others, and libvirt's event loop.
//!
//! A thread that makes calls which may block has none: such a call returns when its other end is back.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// How long a thread may be silent. Each gives a sign every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// All that there are.
static BEATS: Mutex<Vec<Weak<Beat>>> = Mutex::new(Vec::new());

/// A thread's sign of life. The thread is forgotten with it.
#[derive(Debug)]
pub(crate) struct Beat {
    name: &'static str,
    last: Mutex<Instant>,
}

impl Beat {
    /// From now on this thread must give signs.
    pub(crate) fn start(name: &'static str) -> Arc<Self> {
        let beat = Arc::new(Self {
            name,
            last: Mutex::new(Instant::now()),
        });
        let mut beats = lock(&BEATS);
        beats.retain(|known| known.strong_count() > 0);
        beats.push(Arc::downgrade(&beat));
        beat
    }

    /// The thread is alive.
    pub(crate) fn give(&self) {
        *lock(&self.last) = Instant::now();
    }
}

/// A thread that has given no sign for a minute, if there is one.
pub(crate) fn silent() -> Option<String> {
    let beats = lock(&BEATS);
    let mut alive = beats.iter().filter_map(Weak::upgrade);
    let silent = alive.find(|beat| lock(&beat.last).elapsed() > SILENCE);
    silent.map(|beat| format!("the thread of {} stands still", beat.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_that_gives_no_sign_is_named_until_it_ends() {
        let is_named = || silent().is_some_and(|text| text.contains("a test that sleeps"));
        let beat = Beat::start("a test that sleeps");
        assert!(!is_named());
        let long_ago = Instant::now().checked_sub(SILENCE * 2);
        *lock(&beat.last) = long_ago.unwrap();
        assert!(is_named());
        beat.give();
        assert!(!is_named());
        *lock(&beat.last) = long_ago.unwrap();
        drop(beat);
        assert!(!is_named());
    }
}
