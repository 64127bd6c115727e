//! libvirt's own word that something happened, which the `virt` crate does not wrap: the events of
//! domains, the end of a connection, and the job that a domain is in.
//!
//! The callbacks run on the thread of libvirt's event loop. They hand over the UUID, and what asking does not tell:
//! what the domain is now is asked by whoever is told.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use fence_proto::Uuid;
use virt::domain::Domain;
use virt::error::Error;
use virt_sys::{virConnectPtr, virDomainPtr, virTypedParameterPtr};

use super::connection::{Connection, Fault};

/// What happened to a domain, as far as asking for it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    /// Anything.
    Something,
    /// Its run here ended because a migration took it elsewhere.
    MigratedAway,
}

/// Who is told. Called on the event loop's thread: it must neither block nor call libvirt.
pub(super) trait Told: Send + Sync + 'static {
    /// Something happened to this domain.
    fn happened(&self, domain: Uuid, what: Happened);
    /// The connection has ended, for this reason.
    fn closed(&self, reason: &'static str);
}

/// What a callback gets as its pointer: a box of this.
type Opaque = Arc<dyn Told>;

type Callback = virt_sys::virConnectDomainEventGenericCallback;

/// Events are told as long as this lives. Dropping it may ask the other side: not for the event loop.
pub(super) struct Registration {
    connection: Arc<Connection>,
    events: Vec<c_int>,
    close: bool,
}

/// Whether somebody needs to know an event, or would merely like to: not every driver has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    May,
}

impl Registration {
    /// Has `told` informed of everything that happens to domains on this connection, which must have been
    /// opened after [`super::ffi::run_event_loop`].
    pub(super) fn new(connection: &Arc<Connection>, told: &Opaque) -> Result<Self, Fault> {
        let mut registration = Self {
            connection: Arc::clone(connection),
            events: Vec::new(),
            close: false,
        };
        registration.register(
            virt_sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            lifecycle(),
            (Need::Must, told),
        )?;
        for (event, callback) in [
            (
                virt_sys::VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION,
                migration_iteration(),
            ),
            (virt_sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, job_completed()),
            (virt_sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, device()),
            (virt_sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, device()),
        ] {
            registration.register(event, callback, (Need::May, told))?;
        }
        registration.watch_close(told);
        Ok(registration)
    }

    fn register(
        &mut self,
        event: virt_sys::virDomainEventID,
        callback: Callback,
        (need, told): (Need, &Opaque),
    ) -> Result<(), Fault> {
        let opaque = into_opaque(told);
        let event = c_int::try_from(event).unwrap_or(c_int::MAX);
        // SAFETY: the connection is open as long as `self.connection` lives. `callback` is one of the
        // functions below, whose parameters are those of this event, as libvirt demands; it is cast to
        // the generic form in the way that libvirt's own macro does it. `opaque` is a box that libvirt
        // owns from here on and gives to `free_opaque` when it no longer uses it.
        let id = unsafe {
            virt_sys::virConnectDomainEventRegisterAny(
                self.connection.raw().as_ptr(),
                ptr::null_mut(),
                event,
                callback,
                opaque,
                Some(free_opaque),
            )
        };
        if id >= 0 {
            self.events.push(id);
            return Ok(());
        }
        // SAFETY: libvirt did not take it, so it is still ours.
        unsafe { free_opaque(opaque) };
        let fault = self.connection.fault(&Error::last_error());
        if need == Need::Must || fault.is_lost() {
            return Err(fault);
        }
        Ok(())
    }

    /// Not every driver has it; without, the end of a connection is noticed by the next question.
    fn watch_close(&mut self, told: &Opaque) {
        let opaque = into_opaque(told);
        // SAFETY: as in `register`.
        let result = unsafe {
            virt_sys::virConnectRegisterCloseCallback(
                self.connection.raw().as_ptr(),
                Some(on_close),
                opaque,
                Some(free_opaque),
            )
        };
        self.close = result == 0;
        if !self.close {
            // SAFETY: libvirt did not take it, so it is still ours.
            unsafe { free_opaque(opaque) };
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let connection = self.connection.raw().as_ptr();
        for id in &self.events {
            // SAFETY: the connection is open and the number is one that it gave out. A callback that runs
            // at this moment keeps its box: libvirt frees it after that.
            unsafe { virt_sys::virConnectDomainEventDeregisterAny(connection, *id) };
        }
        if self.close {
            // SAFETY: the connection is open, and this is the callback that was registered.
            unsafe { virt_sys::virConnectUnregisterCloseCallback(connection, Some(on_close)) };
        }
    }
}

fn into_opaque(told: &Opaque) -> *mut c_void {
    Box::into_raw(Box::new(Arc::clone(told))).cast()
}

/// libvirt no longer uses a callback's box.
unsafe extern "C" fn free_opaque(opaque: *mut c_void) {
    // SAFETY: it is what `into_opaque` made, and libvirt frees each once.
    drop(unsafe { Box::from_raw(opaque.cast::<Opaque>()) });
}

/// Tells what happened. Both pointers are what libvirt gave to a callback.
unsafe fn tell(domain: virDomainPtr, what: Happened, opaque: *mut c_void) {
    let mut uuid = Uuid([0; 16]);
    // SAFETY: libvirt's domain is valid during the call, and a UUID has 16 bytes. It is read from the
    // handle: nothing is asked.
    if unsafe { virt_sys::virDomainGetUUID(domain, uuid.0.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: the box that was registered; libvirt frees it only when no callback runs.
    let told = unsafe { &*opaque.cast::<Opaque>() };
    told.happened(uuid, what);
}

unsafe extern "C" fn on_lifecycle(
    _: virConnectPtr,
    domain: virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let what = (u32::try_from(event), u32::try_from(detail));
    let migrated = (
        Ok(virt_sys::VIR_DOMAIN_EVENT_STOPPED),
        Ok(virt_sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED),
    );
    let what = if what == migrated {
        Happened::MigratedAway
    } else {
        Happened::Something
    };
    // SAFETY: both are as libvirt passed them.
    unsafe { tell(domain, what, opaque) };
    0
}

unsafe extern "C" fn on_migration_iteration(
    _: virConnectPtr,
    domain: virDomainPtr,
    _iteration: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: both are as libvirt passed them.
    unsafe { tell(domain, Happened::Something, opaque) };
}

unsafe extern "C" fn on_job_completed(
    _: virConnectPtr,
    domain: virDomainPtr,
    _params: virTypedParameterPtr,
    _count: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: both are as libvirt passed them.
    unsafe { tell(domain, Happened::Something, opaque) };
}

unsafe extern "C" fn on_device(
    _: virConnectPtr,
    domain: virDomainPtr,
    _alias: *const std::ffi::c_char,
    opaque: *mut c_void,
) {
    // SAFETY: both are as libvirt passed them.
    unsafe { tell(domain, Happened::Something, opaque) };
}

unsafe extern "C" fn on_close(_: virConnectPtr, reason: c_int, opaque: *mut c_void) {
    let reason = match virt_sys::virConnectCloseReason::try_from(reason) {
        Ok(virt_sys::VIR_CONNECT_CLOSE_REASON_EOF) => "libvirt closed the connection",
        Ok(virt_sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE) => "libvirt does not answer any more",
        _ => "the connection to libvirt broke",
    };
    // SAFETY: the box that was registered; libvirt frees it only when no callback runs.
    let told = unsafe { &*opaque.cast::<Opaque>() };
    told.closed(reason);
}

fn lifecycle() -> Callback {
    let callback: virt_sys::virConnectDomainEventCallback = Some(on_lifecycle);
    // SAFETY: both are pointers to functions; libvirt casts it back by the event before it calls it.
    unsafe { std::mem::transmute::<virt_sys::virConnectDomainEventCallback, Callback>(callback) }
}

fn migration_iteration() -> Callback {
    type Iteration = virt_sys::virConnectDomainEventMigrationIterationCallback;
    let callback: Iteration = Some(on_migration_iteration);
    // SAFETY: as in `lifecycle`.
    unsafe { std::mem::transmute::<Iteration, Callback>(callback) }
}

fn job_completed() -> Callback {
    type Completed = virt_sys::virConnectDomainEventJobCompletedCallback;
    let callback: Completed = Some(on_job_completed);
    // SAFETY: as in `lifecycle`.
    unsafe { std::mem::transmute::<Completed, Callback>(callback) }
}

fn device() -> Callback {
    // Device removed has the same form.
    type Added = virt_sys::virConnectDomainEventDeviceAddedCallback;
    let callback: Added = Some(on_device);
    // SAFETY: as in `lifecycle`.
    unsafe { std::mem::transmute::<Added, Callback>(callback) }
}

/// What the domain's job is, as virDomainJobOperation, "unknown" if libvirt does not say; `None` without a job. It waits
/// for whatever else is done to the domain, half a minute at worst. `virt`'s wrapper of this call is unsound without a job (it makes a `Vec` of a null
/// pointer) and frees what libvirt allocated by itself.
pub(super) fn job_operation(domain: &Domain) -> Result<Option<u32>, Error> {
    let (mut kind, mut count) = (0, 0);
    let mut params: virTypedParameterPtr = ptr::null_mut();
    // SAFETY: the domain is open; the three are written to during the call.
    let result = unsafe {
        virt_sys::virDomainGetJobStats(
            domain.as_ptr(),
            &raw mut kind,
            &raw mut params,
            &raw mut count,
            0,
        )
    };
    if result != 0 {
        return Err(Error::last_error());
    }
    let mut operation = 0;
    // SAFETY: libvirt filled `params` with `count` entries, or left it null with none.
    let found = unsafe {
        virt_sys::virTypedParamsGetInt(
            params,
            count,
            virt_sys::VIR_DOMAIN_JOB_OPERATION.as_ptr(),
            &raw mut operation,
        )
    };
    // SAFETY: libvirt allocated it for us (or it is null), and it is not used any more.
    unsafe { virt_sys::virTypedParamsFree(params, count) };
    let none = u32::try_from(kind) == Ok(virt_sys::VIR_DOMAIN_JOB_NONE);
    let said = u32::try_from(operation).ok().filter(|_| found == 1);
    Ok((!none).then(|| said.unwrap_or(virt_sys::VIR_DOMAIN_JOB_OPERATION_UNKNOWN)))
}
