//! Feeding the service manager's watchdog, as long as the daemon is well.
//!
//! | what | is found by | and then |
//! |---|---|---|
//! | the event loop turns no more | this task, which is on it, does not run | the manager ends the daemon and starts it anew |
//! | something hangs that only a new process cures | [`Backend::wedged`], [`vitals`] | the same, when it has been so for [`PATIENCE`] looks in a row |
//! | a hypervisor or corosync is away or hangs | not at all | nothing: they come back, or a new process would not reach them either |
//!
//! Looks are counted rather than time, and a look that could not be made counts for nothing: a daemon that was stopped
//! itself, or a machine that has no time for it, accuses nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::backend::Backend;
use crate::manager::Manager;
use crate::vitals;

/// How often the daemon is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How long the backend may take to say how it is.
const EXAMINATION: Duration = Duration::from_secs(20);

/// In so many looks in a row the same must be found: a minute.
const PATIENCE: u32 = 12;

/// Feeds the watchdog, if there is one. Never ends.
pub async fn feed(backend: Arc<dyn Backend>, manager: Arc<Manager>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let (findings, finding) = watch::channel(None);
    // On a task of its own: what it waits for must not be taken for this one's silence.
    let looking = tokio::spawn(look(backend, findings));
    // Four times as often as needed.
    let mut times = interval((limit / 4).max(Duration::from_millis(1)));
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        if finding.borrow().is_none() && !looking.is_finished() {
            manager.well();
        }
    }
}

/// Looks at the daemon again and again; says what is wrong once it is beyond doubt.
async fn look(backend: Arc<dyn Backend>, findings: watch::Sender<Option<String>>) {
    let mut doubt = Doubt::default();
    loop {
        sleep(LOOK).await;
        let wedged = timeout(EXAMINATION, backend.wedged()).await;
        let wedged =
            wedged.unwrap_or_else(|_| Some("the backend does not say how it is".to_owned()));
        let Some(certain) = doubt.weigh(vitals::silent().or(wedged)) else {
            findings.send_replace(None);
            continue;
        };
        if findings.borrow().is_none() {
            tracing::error!("{certain}: the service manager is to start this daemon anew");
        }
        findings.send_replace(Some(certain));
    }
}

/// What was found in the last looks.
#[derive(Debug, Default)]
struct Doubt {
    looks: u32,
}

impl Doubt {
    /// What is beyond doubt.
    fn weigh(&mut self, found: Option<String>) -> Option<String> {
        self.looks = if found.is_some() {
            self.looks.saturating_add(1)
        } else {
            0
        };
        found.filter(|_| self.looks >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_beyond_doubt() {
        let mut doubt = Doubt::default();
        let found = || Some("it hangs".to_owned());
        for _ in 0..3 {
            for _ in 1..PATIENCE {
                assert_eq!(doubt.weigh(found()), None);
            }
            assert_eq!(doubt.weigh(None), None);
        }
        for _ in 1..PATIENCE {
            assert_eq!(doubt.weigh(found()), None);
        }
        assert_eq!(doubt.weigh(found()), found());
        assert_eq!(doubt.weigh(found()), found());
        assert_eq!(doubt.weigh(None), None);
    }
}
