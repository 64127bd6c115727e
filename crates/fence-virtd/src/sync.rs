//! Locks that cannot fail.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. A panic ends this program at once, so a poisoned lock is never seen.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
