//! How the C library's allocator is set up, for it serves libvirt and us.

use nix::libc;

/// Allocations from here on are given back to the kernel when they are freed: long lists.
const MAPPED_FROM: libc::c_int = 128 * 1024;

/// Makes the allocator give memory back that a crowd of sessions or a long list needed for a
/// moment. To be called before the first thread is started.
///
/// By default glibc has a heap of its own for almost each thread, and each keeps what it once got;
/// what the threads of this daemon allocate is not worth that.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, MAPPED_FROM),
        (libc::M_TRIM_THRESHOLD, MAPPED_FROM),
    ] {
        // SAFETY: mallopt(3) takes two integers and has no preconditions; glibc locks its state.
        // A refusal changes nothing but the memory in use.
        let _accepted = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives back what is free inside the heap, where a few lasting allocations lie between what a
/// crowd of sessions used. Takes less than a millisecond.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim(3) has no preconditions and may be called from any thread.
        let _released = unsafe { libc::malloc_trim(0) };
    }
}
