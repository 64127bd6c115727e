//! Asking a domain for its half of a migration, in a time that can be waited.
//!
//! The question waits for whatever else is done to the domain: half a minute if its hypervisor process
//! hangs, which is when it is to be fenced. So a helper thread asks, and who does not get an answer in time
//! goes on without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing::debug;

use super::connection::Found;
use super::host::Common;
use super::pool::STACK;
use super::watch::Migration;
use super::watch::migration::by_job;

/// How long the answer is waited for. Healthy ones take a millisecond.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Helpers at once: with so many stuck nobody is asked any more.
const MAX_HELPERS: usize = 32;

/// What the copy that was found is now; `None` if that can't be found out in time.
pub(super) fn ask(common: &Arc<Common>, found: &Found) -> Option<Migration> {
    let helpers = Helper::take(&common.helpers)?;
    let (domain, connection) = (found.handle().clone(), Arc::clone(&found.connection));
    let (sender, receiver) = mpsc::sync_channel(1);
    let helper = thread::Builder::new()
        .name("virt-role".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let role = by_job(&domain).map_err(|error| connection.fault(&error));
            drop(domain);
            drop(connection);
            drop(helpers);
            // Nobody may be waiting any more.
            let _ = sender.send(role);
        });
    if let Err(error) = helper {
        debug!("no thread to ask for a migration: {error}");
        return None;
    }
    let domain = &found.copy.identity.name;
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(role)) => Some(role.unwrap_or(Migration::None)),
        Ok(Err(fault)) => {
            debug!(domain, "whether it migrates can't be asked: {fault}");
            None
        }
        Err(_) => {
            debug!(domain, "whether it migrates is not answered in time");
            None
        }
    }
}

/// A helper's place.
struct Helper(Arc<AtomicUsize>);

impl Helper {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(count));
        let before = count.fetch_add(1, Ordering::AcqRel);
        // If there was none it is given back on the way out.
        (before < MAX_HELPERS).then_some(place)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
