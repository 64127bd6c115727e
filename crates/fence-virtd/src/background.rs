//! Going into the background and back, so to speak: the parent waits for the child's word.
//!
//! The original forks and its parent exits before it is known whether anything works. Here the
//! parent exits with 0 when the daemon serves (or, with `-w`, waits), and with the daemon's own exit
//! code when it fails to start; error messages still reach the terminal until then.

use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::libc;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// The child's end: says once that the start has succeeded.
#[derive(Debug)]
pub struct Readiness(Option<PipeWriter>);

impl Readiness {
    /// For the foreground: nobody waits.
    #[must_use]
    pub const fn foreground() -> Self {
        Self(None)
    }

    /// The daemon serves: lets the parent go and gives up the terminal. Does nothing the second
    /// time.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn announce(&mut self) -> io::Result<()> {
        let Some(mut parent) = self.0.take() else {
            return Ok(());
        };
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        dup2_stdin(null.as_fd())?;
        dup2_stdout(null.as_fd())?;
        dup2_stderr(null.as_fd())?;
        parent.write_all(&[0])
    }
}

/// What became of the process.
pub enum Detached {
    /// This is the daemon.
    Child(Readiness),
    /// This is the parent: exit with this code.
    Parent(u8),
}

/// Forks. Must be called while the process has one thread.
///
/// # Errors
/// The kernel's word if it cannot be done.
pub fn detach() -> io::Result<Detached> {
    let (reader, writer) = io::pipe()?;
    // SAFETY: no thread was started yet (main calls this before the runtime and libvirt exist), so
    // the child may go on as if nothing had happened.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(writer);
            Ok(Detached::Parent(wait_for(reader, child)?))
        }
        ForkResult::Child => {
            drop(reader);
            setsid()?;
            chdir(Path::new("/"))?;
            umask(Mode::from_bits_truncate(0o022));
            Ok(Detached::Child(Readiness(Some(writer))))
        }
    }
}

/// 0 once the child is ready, else its exit code.
fn wait_for(mut reader: PipeReader, child: nix::unistd::Pid) -> io::Result<u8> {
    use nix::sys::wait::{WaitStatus, waitpid};

    let mut word = [0];
    if reader.read(&mut word)? == 1 {
        return Ok(0);
    }
    Ok(match waitpid(child, None)? {
        WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(1),
        _ => 1,
    })
}

/// Lets the process hold as many files as its hard limit allows, up to `wanted`; the number that it
/// may hold now.
#[must_use]
pub fn raise_file_limit(wanted: u64) -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    if soft >= wanted || soft == libc::RLIM_INFINITY {
        return soft;
    }
    let target = wanted.min(hard);
    match setrlimit(Resource::RLIMIT_NOFILE, target, hard) {
        Ok(()) => target,
        Err(_) => soft,
    }
}

/// Has the process leave no core file, since its memory holds keys. Programs that it runs inherit that.
///
/// # Errors
/// The system's.
pub fn leave_no_core() -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};

    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}
