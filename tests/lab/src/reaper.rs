//! Pid 1 of a host: collects the dead for ever. libvirt asks with a null signal whether a QEMU is still
//! there, and a process that nobody has collected answers.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::wait;

/// The copy of this program that hosts start: the one in the build directory may be built anew meanwhile.
pub const PROGRAM: &str = "reaper";

/// The argument that makes this program a pid 1.
pub const ARGUMENT: &str = "--reap";

/// Never returns.
pub fn run() -> ExitCode {
    loop {
        if wait() == Err(Errno::ECHILD) {
            // Until there is a child: children come by losing their parents, without a word.
            thread::sleep(Duration::from_millis(20));
        }
    }
}
