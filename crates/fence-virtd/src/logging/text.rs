//! Lines of text: on a stream, or for syslog.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::queue::{Queue, Sink};

/// The facility `daemon` of syslog(3).
const FACILITY_DAEMON: u8 = 3 << 3;

/// The severity of syslog(3), which the journal has too.
pub(super) const fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Makes a line for each event.
pub(super) struct Lines {
    pub(super) queue: Queue,
    pub(super) syslog: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            queue: &self.queue,
            bytes: Vec::new(),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        let bytes = if self.syslog {
            header(*meta.level()).into_bytes()
        } else {
            Vec::new()
        };
        Line {
            queue: &self.queue,
            bytes,
        }
    }
}

/// What stands before a line in syslog: priority, name and process.
fn header(level: Level) -> String {
    format!(
        "<{}>fence_virtd[{}]: ",
        FACILITY_DAEMON | severity(level),
        std::process::id()
    )
}

/// One line; queued when it is dropped.
pub(super) struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.queue.put(std::mem::take(&mut self.bytes));
    }
}

/// A stream, such as standard error.
pub(super) struct Stream<W>(pub(super) W);

impl<W: Write + Send> Sink for Stream<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line)
    }

    fn warn(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(format!("{text}\n").as_bytes())
    }
}

/// A log daemon's socket: one datagram a line, connected again when the daemon was restarted.
pub(super) struct Datagrams {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Datagrams {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            socket: connect(path)?,
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.socket.send(bytes).is_err() {
            self.socket = connect(&self.path)?;
            self.socket.send(bytes)?;
        }
        Ok(())
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// The syslog daemon.
pub(super) struct Syslog(pub(super) Datagrams);

impl Sink for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.send(line.trim_ascii_end())
    }

    fn warn(&mut self, text: &str) -> io::Result<()> {
        self.0.send((header(Level::WARN) + text).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn syslog_line_carries_priority_and_name() {
        let expected = format!("<27>fence_virtd[{}]: ", std::process::id());
        assert_eq!(header(Level::ERROR), expected);
        assert!(header(Level::DEBUG).starts_with("<31>"));
    }

    #[test]
    fn syslog_is_found_again_after_its_restart() {
        let scratch = Scratch::new();
        let path = scratch.path("log");
        let first = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog(Datagrams::connect(&path).unwrap());
        syslog.write(b"one\n").unwrap();
        drop(first);
        std::fs::remove_file(&path).unwrap();
        assert!(syslog.write(b"lost\n").is_err());
        let second = UnixDatagram::bind(&path).unwrap();
        syslog.write(b"two\n").unwrap();
        let mut buffer = [0; 10];
        let len = second.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"two");
    }
}
