//! Where log lines go: standard error in the foreground, syslog in the background.
//!
//! Lines are handed to a thread of their own through a bounded queue. A reader that stops reading,
//! a journal that hangs or a log daemon that is gone costs lines, which are counted, and never a
//! fence.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The local log daemon's socket.
const SYSLOG_SOCKET: &str = "/dev/log";

/// The facility `daemon` of syslog(3).
const FACILITY_DAEMON: u8 = 3 << 3;

/// Lines that wait to be written; what comes beyond them is dropped and counted.
const QUEUE: usize = 1024;

/// How long the end of the program waits for lines to be written.
const FLUSH: Duration = Duration::from_millis(100);

/// The writer's thread needs little.
const STACK: usize = 128 * 1024;

/// The queue of the running program.
static QUEUED: OnceLock<Queue> = OnceLock::new();

/// Set once lines go to standard error.
static STDERR: AtomicBool = AtomicBool::new(false);

/// Whether log lines go anywhere yet.
#[must_use]
pub fn is_running() -> bool {
    QUEUED.get().is_some()
}

/// Whether they go to standard error.
#[must_use]
pub fn is_stderr() -> bool {
    STDERR.load(Ordering::Relaxed)
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
///
/// # Errors
/// The writer's thread cannot be started.
pub fn to_stderr(debug: u8) -> io::Result<()> {
    let queue = Queue::start(Box::new(io::stderr()))?;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level(debug))
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(Lines {
            queue,
            syslog: false,
        })
        .finish();
    // Fails only if a subscriber is set already, and then that one does.
    let _ = tracing::subscriber::set_global_default(subscriber);
    STDERR.store(true, Ordering::Relaxed);
    Ok(())
}

/// Logs to syslog.
///
/// # Errors
/// There is no log daemon at `/dev/log`, or the writer's thread cannot be started.
pub fn to_syslog(debug: u8) -> io::Result<()> {
    let queue = Queue::start(Box::new(Syslog::connect(Path::new(SYSLOG_SOCKET))?))?;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level(debug))
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .without_time()
        .log_internal_errors(false)
        .with_writer(Lines {
            queue,
            syslog: true,
        })
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Waits a moment for the lines that are queued: to be called before the program ends.
pub fn flush() {
    if let Some(queue) = QUEUED.get() {
        queue.flush();
    }
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to the writer's thread.
#[derive(Clone)]
struct Queue {
    sender: SyncSender<Message>,
    lost: &'static AtomicU64,
}

impl Queue {
    fn start(sink: Box<dyn Write + Send>) -> io::Result<Self> {
        static LOST: AtomicU64 = AtomicU64::new(0);
        let (sender, receiver) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("log".to_owned())
            .stack_size(STACK)
            .spawn(move || write_lines(&receiver, sink, &LOST))?;
        let queue = Self {
            sender,
            lost: &LOST,
        };
        let _ = QUEUED.set(queue.clone());
        Ok(queue)
    }

    fn put(&self, line: Vec<u8>) {
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let over = Instant::now() + FLUSH;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if Instant::now() >= over {
                // Nobody reads, so nobody misses the lines.
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = written.recv_timeout(over.saturating_duration_since(Instant::now()));
    }
}

/// The writer's thread. A line that cannot be written is lost; there is nowhere to say so.
fn write_lines(receiver: &Receiver<Message>, mut sink: Box<dyn Write + Send>, lost: &AtomicU64) {
    for message in receiver {
        match message {
            Message::Line(line) => {
                let before = lost.swap(0, Ordering::Relaxed);
                if before > 0 {
                    let note = format!("{before} log lines were lost: the log was not read\n");
                    let _ = sink.write_all(note.as_bytes());
                }
                let _ = sink.write_all(&line);
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// Makes a line for each event.
struct Lines {
    queue: Queue,
    syslog: bool,
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
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    format!(
        "<{}>fence_virtd[{}]: ",
        FACILITY_DAEMON | severity,
        std::process::id()
    )
}

/// One line; queued when it is dropped.
struct Line<'a> {
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

/// The log daemon's socket: one datagram a line, connected again when the daemon was restarted.
struct Syslog {
    path: std::path::PathBuf,
    socket: UnixDatagram,
}

impl Syslog {
    fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            socket: connect(path)?,
        })
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = line.trim_ascii_end();
        if self.socket.send(text).is_err() {
            self.socket = connect(&self.path)?;
            self.socket.send(text)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn debug_levels_map_to_filters() {
        assert_eq!(level(0), LevelFilter::INFO);
        assert_eq!(level(5), LevelFilter::DEBUG);
        assert_eq!(level(99), LevelFilter::TRACE);
    }

    #[test]
    fn syslog_line_carries_priority_and_name() {
        let expected = format!("<27>fence_virtd[{}]: ", std::process::id());
        assert_eq!(header(Level::ERROR), expected);
        assert!(header(Level::DEBUG).starts_with("<31>"));
    }

    #[test]
    fn syslog_is_found_again_after_its_restart() {
        let path = std::env::temp_dir().join(format!("fence-log-{}", std::process::id()));
        let first = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::connect(&path).unwrap();
        syslog.write_all(b"one\n").unwrap();
        drop(first);
        std::fs::remove_file(&path).unwrap();
        assert!(syslog.write_all(b"lost\n").is_err());
        let second = UnixDatagram::bind(&path).unwrap();
        syslog.write_all(b"two\n").unwrap();
        let mut buffer = [0; 10];
        let len = second.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"two");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn log_that_is_not_read_costs_lines_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = Queue::start(Box::new(writer)).unwrap();
        // Far more than a pipe and the queue hold, with nobody reading.
        for _ in 0..20_000 {
            queue.put(vec![b'x'; 100]);
        }
        assert!(queue.lost.load(Ordering::Relaxed) > 0);
        queue.flush();
        drop(reader);
        queue.put(b"into a closed pipe\n".to_vec());
        queue.flush();
    }
}
