//! Calls to corosync: they may block, for ever when it is stopped by a signal, and corosync may not be able to do now what
//! is asked for.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rust_corosync::CsError;
use tokio::sync::mpsc::error::TrySendError;

use super::keeper::Pulse;
use super::{Happening, Shared, Trouble};

/// Pause before something is tried again that corosync can't do now.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(5);

/// Why a conversation ends.
pub(super) enum End {
    /// It does not count any more, or the group is being left.
    Over,
    /// It broke.
    Lost(String),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Lost(trouble.0)
    }
}

/// Makes calls that may block.
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
    pub(super) generation: u64,
    pub(super) pulse: Arc<Pulse>,
}

impl Caller {
    pub(super) fn still_counts(&self) -> Result<(), End> {
        if self.shared.counts(self.generation) {
            Ok(())
        } else {
            Err(End::Over)
        }
    }

    /// One call.
    pub(super) fn call<T>(
        &self,
        name: &str,
        call: impl FnOnce() -> rust_corosync::Result<T>,
    ) -> Result<T, End> {
        self.pulse.during(call).map_err(|error| lost(name, error))
    }

    /// One call, again as long as corosync can't do it now.
    pub(super) fn insist<T>(
        &self,
        name: &str,
        call: impl Fn() -> rust_corosync::Result<T>,
    ) -> Result<T, End> {
        loop {
            self.still_counts()?;
            match self.pulse.during(&call) {
                // It exists: an earlier conversation of ours has not left yet.
                Err(CsError::CsErrTryAgain | CsError::CsErrExist) => thread::sleep(TRY_AGAIN),
                Err(error) => return Err(lost(name, error)),
                Ok(value) => return Ok(value),
            }
        }
    }

    /// One call, again until then as long as corosync can't do it now.
    pub(super) fn patiently(
        &self,
        until: Instant,
        call: impl Fn() -> rust_corosync::Result<()>,
    ) -> rust_corosync::Result<()> {
        loop {
            match self.pulse.during(&call) {
                Err(CsError::CsErrTryAgain) if Instant::now() < until => thread::sleep(TRY_AGAIN),
                done => return done,
            }
        }
    }

    /// Hands something over. Waits while the user is busy.
    pub(super) fn post(&self, happening: Happening) -> Result<(), End> {
        let mut numbered = (self.generation, happening);
        loop {
            self.still_counts()?;
            match self.shared.happenings.try_send(numbered) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(End::Over),
                Err(TrySendError::Full(back)) => numbered = back,
            }
            thread::sleep(TRY_AGAIN);
        }
    }
}

pub(super) fn lost(call: &str, error: CsError) -> End {
    End::Lost(match error {
        CsError::CsErrLibrary | CsError::CsErrNotExist => {
            format!("{call}: {error}; is corosync running?")
        }
        CsError::CsErrAccess => format!("{call}: {error}; the daemon must run as root"),
        _ => format!("{call}: {error}"),
    })
}
