//! Where log lines go: standard error in the foreground, syslog in the background.

use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

/// The local log daemon's socket.
const SYSLOG_SOCKET: &str = "/dev/log";

/// The facility `daemon` of syslog(3).
const FACILITY_DAEMON: u8 = 3 << 3;

/// Set once lines go to syslog.
static SYSLOG: AtomicBool = AtomicBool::new(false);

/// Whether log lines go to syslog.
#[must_use]
pub fn is_syslog() -> bool {
    SYSLOG.load(Ordering::Relaxed)
}

/// The level that a debug level of the original stands for.
#[must_use]
pub fn level(debug: u8) -> LevelFilter {
    match debug {
        0 => LevelFilter::INFO,
        1..=9 => LevelFilter::DEBUG,
        10.. => LevelFilter::TRACE,
    }
}

/// Logs to standard error.
pub fn to_stderr(debug: u8) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level(debug))
        .with_ansi(io::stderr().is_terminal())
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_writer(io::stderr)
        .finish();
    // Fails only if a subscriber is set already, and then that one does.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Logs to syslog.
///
/// # Errors
/// There is no log daemon at `/dev/log`.
pub fn to_syslog(debug: u8) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG_SOCKET)?;
    socket.set_nonblocking(true)?;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level(debug))
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .without_time()
        .with_writer(Syslog { socket })
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    SYSLOG.store(true, Ordering::Relaxed);
    Ok(())
}

/// Makes a writer for each line.
struct Syslog {
    socket: UnixDatagram,
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = SyslogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        SyslogLine::new(&self.socket, Level::INFO)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        SyslogLine::new(&self.socket, *meta.level())
    }
}

/// One line; sent when it is dropped.
struct SyslogLine<'a> {
    socket: &'a UnixDatagram,
    line: Vec<u8>,
}

impl<'a> SyslogLine<'a> {
    fn new(socket: &'a UnixDatagram, level: Level) -> Self {
        let line = format!("<{}>fence_virtd[{}]: ", priority(level), std::process::id());
        Self {
            socket,
            line: line.into_bytes(),
        }
    }
}

/// Facility and severity of a line: err, warning, info, debug.
fn priority(level: Level) -> u8 {
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    FACILITY_DAEMON | severity
}

impl Write for SyslogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SyslogLine<'_> {
    fn drop(&mut self) {
        // A log daemon that is gone or slow must not hold up a fence.
        let _ = self.socket.send(self.line.trim_ascii_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_levels_map_to_filters() {
        assert_eq!(level(0), LevelFilter::INFO);
        assert_eq!(level(5), LevelFilter::DEBUG);
        assert_eq!(level(99), LevelFilter::TRACE);
    }

    #[test]
    fn line_carries_priority_and_name_without_newline() {
        let (here, there) = UnixDatagram::pair().unwrap();
        let mut line = SyslogLine::new(&here, Level::ERROR);
        line.write_all(b"boom\n").unwrap();
        drop(line);
        let mut buffer = [0; 100];
        let len = there.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..len]).unwrap();
        assert_eq!(
            text,
            format!("<27>fence_virtd[{}]: boom", std::process::id())
        );
    }
}
