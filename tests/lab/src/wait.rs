//! Waiting for a condition, never for a length of time.

use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How long anything may take that normally takes milliseconds: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_millis(10);

/// Waits until `condition` is true.
///
/// # Errors
/// The time is over; the failure names `what` was waited for.
pub fn until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<(), Failure> {
    value(what, limit, || condition().then_some(()))
}

/// Waits until `probe` has a value.
///
/// # Errors
/// The time is over; the failure names `what` was waited for.
pub fn value<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if start.elapsed() > limit {
            return Err(Failure::new(format!(
                "waited {:.1} s in vain for {what}",
                limit.as_secs_f32()
            )));
        }
        thread::sleep(STEP);
    }
}
