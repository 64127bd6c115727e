//! The clock: in a cluster, whether a host was fenced is decided by when it was.

use fence_doctor::Finding;
use nix::libc;

const CHECK: &str = "clock";

/// What the kernel knows of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// Somebody keeps it in step with the world's.
    pub(super) synchronised: bool,
    /// How far off it may be, in microseconds, by the reckoning of whoever keeps it.
    pub(super) error: i64,
}

/// More than this is more than a host needs to boot.
const TOO_FAR: i64 = 5_000_000;

/// Asks the kernel, and changes nothing.
#[expect(unsafe_code, reason = "nix has no adjtimex")]
pub(super) fn read() -> Option<Clock> {
    // SAFETY: all zero is a valid timex, and asks for nothing to be changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes the struct during the call.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    (result >= 0).then(|| Clock {
        synchronised: state.status & libc::STA_UNSYNC == 0,
        #[expect(clippy::useless_conversion, reason = "a long is shorter elsewhere")]
        error: i64::from(state.maxerror),
    })
}

/// Judges; `cluster` if proofs of other hosts are judged by this clock.
pub(super) fn judge(clock: Option<Clock>, cluster: bool) -> Finding {
    const CURE: &str =
        "run an NTP client on all hosts (systemd-timesyncd, chrony); timedatectl shows the state";
    let Some(clock) = clock else {
        return Finding::skipped(CHECK, "the kernel does not tell how its clock is kept");
    };
    if !clock.synchronised {
        let found = "nobody keeps this host's clock in step";
        return if cluster {
            let found = format!("{found}: when a host was fenced is judged by the clocks of all");
            Finding::warning(CHECK, found, CURE)
        } else {
            Finding::ok(CHECK, format!("{found}; this backend does not need it"))
        };
    }
    // Microseconds are too much for people.
    let error = clock.error / 1000;
    if cluster && clock.error > TOO_FAR {
        return Finding::warning(
            CHECK,
            format!("this host's clock may be off by {error} ms"),
            CURE,
        );
    }
    Finding::ok(CHECK, format!("kept in step, off by {error} ms at most"))
}

#[cfg(test)]
mod tests {
    use fence_doctor::Verdict;

    use super::*;

    #[test]
    fn clock_matters_in_a_cluster() {
        let clock = |synchronised, error| {
            Some(Clock {
                synchronised,
                error,
            })
        };
        assert_eq!(judge(clock(true, 1000), true).verdict, Verdict::Ok);
        assert_eq!(judge(clock(false, 0), true).verdict, Verdict::Warning);
        assert_eq!(judge(clock(false, 0), false).verdict, Verdict::Ok);
        assert_eq!(
            judge(clock(true, 9_000_000), true).verdict,
            Verdict::Warning
        );
        assert_eq!(judge(None, true).verdict, Verdict::Skipped);
    }

    #[test]
    fn kernel_tells() {
        assert!(read().is_some());
    }
}
