//! Asking over a line: a serial device or a VM channel.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use fence_proto::agent::Verdict;
use fence_proto::agent::serial::{Event, Output, SerialConfig, SerialSession};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use socket2::Socket;

use super::clock::Clock;
use super::connect::{self, poll_timeout};
use super::tty::{DTR_DOWN, Tty};
use super::{Attempt, NetError, is_transient};
use crate::console::Console;
use crate::settings::Line;

/// Read at once; a long list takes several turns.
const CHUNK: usize = 16 * 1024;

/// What is thrown away at most before a request on a VM channel. There is no more in its buffers, and
/// who floods it shall not hold us up.
const DISCARD_MAX: usize = 1024 * 1024;

/// The time that the line needs between being opened and the request.
#[must_use]
pub const fn settle(line: &Line) -> Duration {
    match line {
        Line::Serial { .. } => DTR_DOWN,
        Line::Channel(_) => Duration::ZERO,
    }
}

/// Asks over the line and waits for the answer, for no longer than the configuration's time-out.
///
/// # Errors
/// [`NetError`] if the machine does not let us; what the host does is in the [`Attempt`].
pub fn ask_line(config: SerialConfig, line: &Line, console: Console) -> Result<Attempt, NetError> {
    let clock = Clock::start();
    let timeout = config.timeout;
    let session = SerialSession::new(config, clock.now());
    let wire = match line {
        Line::Serial { device, params } => {
            Wire::Serial(Tty::open(device, *params, (clock, timeout), console)?)
        }
        Line::Channel(address) => {
            let channel = connect::tcp(*address, clock, timeout);
            Wire::Channel(channel.map_err(|source| NetError::Channel {
                address: *address,
                source,
            })?)
        }
    };
    console.debug(1, format_args!("{line} is open"));
    let driver = Driver {
        session,
        wire,
        clock,
        console,
        unsent: Vec::new(),
    };
    driver.run()
}

/// The way to the host.
#[derive(Debug)]
enum Wire {
    Serial(Tty),
    Channel(Socket),
}

impl Wire {
    /// Makes it ready for a request: throws away what has come.
    fn begin(&mut self) -> io::Result<()> {
        match self {
            Self::Serial(tty) => tty.raise(),
            Self::Channel(socket) => {
                let mut chunk = [0; CHUNK];
                let mut left = DISCARD_MAX;
                // An end or an error is found again by the next read.
                while let Ok(1..) = socket.read(&mut chunk) {
                    left = left.saturating_sub(CHUNK);
                    if left == 0 {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                }
                Ok(())
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Serial(tty) => tty.read(buffer),
            Self::Channel(socket) => socket.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Serial(tty) => tty.write(bytes),
            Self::Channel(socket) => socket.write(bytes),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Serial(tty) => tty.as_fd(),
            Self::Channel(socket) => socket.as_fd(),
        }
    }
}

/// The session and its line.
struct Driver {
    session: SerialSession,
    wire: Wire,
    clock: Clock,
    console: Console,
    unsent: Vec<u8>,
}

impl Driver {
    fn run(mut self) -> Result<Attempt, NetError> {
        let mut verdict = self.report(Event::Opened)?;
        loop {
            if let Some(verdict) = verdict {
                return Ok(Attempt::of_line(verdict, self.session.tally()));
            }
            verdict = if !self.flush() {
                self.report(Event::Closed)?
            } else if self.wait()? {
                self.read()?
            } else {
                self.report(Event::Tick)?
            };
        }
    }

    /// Tells the session and does what it says; its verdict, if that was it.
    fn report(&mut self, event: Event<'_>) -> Result<Option<Verdict>, NetError> {
        match self.session.handle(self.clock.now(), event) {
            None => Ok(None),
            Some(Output::Finish(verdict)) => Ok(Some(verdict)),
            Some(Output::Ask(request)) => {
                self.wire.begin().map_err(NetError::Line)?;
                self.console.debug(1, format_args!("asking"));
                self.unsent = request;
                Ok(None)
            }
        }
    }

    /// Waits for the line or the session's deadline: whether there is something to read.
    fn wait(&self) -> Result<bool, NetError> {
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, !self.unsent.is_empty());
        let mut fds = [PollFd::new(self.wire.as_fd(), wanted)];
        let left = self.clock.now().until(self.session.deadline());
        match poll(&mut fds, poll_timeout(left)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let [fd] = &fds;
        // An end or an error is for the next read to find.
        let happened = fd.revents().unwrap_or(PollFlags::POLLIN);
        Ok(!(happened - PollFlags::POLLOUT).is_empty())
    }

    fn read(&mut self) -> Result<Option<Verdict>, NetError> {
        let mut chunk = [0; CHUNK];
        match self.wire.read(&mut chunk) {
            Ok(count) if count > 0 => {
                self.console.debug(2, format_args!("{count} bytes came"));
                self.report(Event::Bytes(chunk.get(..count).unwrap_or_default()))
            }
            Err(error) if is_transient(&error) => self.report(Event::Tick),
            ended => {
                match ended {
                    Err(error) => self.console.debug(1, format_args!("the line: {error}")),
                    Ok(_) => self.console.debug(1, format_args!("the line was closed")),
                }
                self.report(Event::Closed)
            }
        }
    }

    /// Sends what can be sent; false if the line is at its end.
    fn flush(&mut self) -> bool {
        super::flush(&mut self.unsent, |bytes| self.wire.write(bytes))
    }
}
