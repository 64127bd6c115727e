//! What the `virt` crate does not wrap: libvirt's error callback and its event loop.

use std::ffi::{CStr, c_void};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use tracing::{debug, warn};

use crate::vitals::Beat;

/// How often libvirt's event loop gives a sign of life, in milliseconds.
const BEAT: i32 = 5000;

/// Sends what libvirt would print on stderr to our log. Each error also comes back from the call
/// that failed and is logged there with its circumstances; this is the detail beneath.
pub(super) fn route_errors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler is a plain function that lives as long as the process and ignores
        // its user data, so null is fine. libvirt copies both under no condition on the caller.
        unsafe { virt_sys::virSetErrorFunc(std::ptr::null_mut(), Some(on_error)) };
    });
}

/// Called by libvirt on whichever thread failed.
unsafe extern "C" fn on_error(_user: *mut c_void, error: virt_sys::virErrorPtr) {
    // SAFETY: libvirt passes its thread's own error, valid for the duration of this call, or null.
    let Some(error) = (unsafe { error.as_ref() }) else {
        return;
    };
    let message = if error.message.is_null() {
        "no message".into()
    } else {
        // SAFETY: not null; libvirt's messages are NUL-terminated and outlive this call.
        unsafe { CStr::from_ptr(error.message) }.to_string_lossy()
    };
    let message = message.trim_end();
    debug!(
        code = error.code,
        domain = error.domain,
        "libvirt: {message}"
    );
}

/// Starts libvirt's event loop on a thread of its own, once. It is what keep-alive of network
/// connections needs, and must come before the first connection. It costs a local call half as
/// much again, so it runs only where a network connection is configured.
pub(super) fn run_event_loop() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = virt::event::event_register_default_impl() {
            warn!("libvirt's event loop can't be set up, so a dead network peer is noticed late: {error}");
            return;
        }
        // Whether it turns is seen by a timer of its own.
        let beat = Beat::start("libvirt's events");
        let timer = virt::event::event_add_timeout(BEAT, move |_, _| beat.give(), std::ptr::null_mut());
        if let Err(error) = timer {
            debug!("libvirt's event loop has no timer: {error}");
        }
        let looping = thread::Builder::new()
            .name("virt-events".to_owned())
            .stack_size(super::pool::STACK)
            .spawn(|| {
                loop {
                    if virt::event::event_run_default_impl().is_err() {
                        thread::sleep(Duration::from_secs(1));
                    }
                }
            });
        if let Err(error) = looping {
            warn!("the thread of libvirt's event loop can't be started: {error}");
        }
    });
}
