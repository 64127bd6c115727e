//! Everything that leaves the program as text: results on stdout, one line per fact on stderr
//! (row F20), the outcome in the system log as well. Messages may hold text from outside as it is:
//! what would make a second line or move the cursor ends here.

use core::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;

use crate::role::Role;
use crate::text;

/// How bad an outcome is, as syslog(3) counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It failed.
    Error,
    /// It worked.
    Notice,
}

/// syslog's facility "daemon", shifted into place.
const FACILITY_DAEMON: u8 = 3 << 3;

impl Severity {
    const fn priority(self) -> u8 {
        match self {
            Self::Error => FACILITY_DAEMON | 3,
            Self::Notice => FACILITY_DAEMON | 5,
        }
    }
}

/// The program's mouth.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    role: Role,
    debug: u8,
}

impl Console {
    /// A console that says nothing but errors and results, until [`Self::with_debug`].
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self { role, debug: 0 }
    }

    /// The same with a debug level.
    #[must_use]
    pub const fn with_debug(self, debug: u8) -> Self {
        Self { debug, ..self }
    }

    /// A result on stdout.
    ///
    /// # Errors
    /// What cannot be written was not reported; the caller must not call it a success.
    pub fn result(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// One line on stderr.
    pub fn complain(&self, message: impl fmt::Display) {
        let line = format!(
            "{}: {}\n",
            self.role.name(),
            text::shown(&message.to_string(), ' ')
        );
        // Nobody is left to tell if stderr is closed.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    /// One line on stderr, if the debug level is at least this.
    pub fn debug(&self, level: u8, message: fmt::Arguments<'_>) {
        if self.debug >= level {
            self.complain(format_args!("debug: {message}"));
        }
    }

    /// One line in the system log, if there is one.
    pub fn log(&self, severity: Severity, message: &str) {
        let Ok(socket) = UnixDatagram::unbound() else {
            return;
        };
        // A log that does not read must not hold up a fence.
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        let line = format!(
            "<{}>{}[{}]: {}",
            severity.priority(),
            self.role.name(),
            std::process::id(),
            text::shown(message, ' ')
        );
        let _ = socket.send_to(line.as_bytes(), "/dev/log");
    }
}
