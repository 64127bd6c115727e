//! Where log lines go: in the foreground to systemd's journal, with fields, if standard error is the journal, else to
//! standard error; in the background to syslog. And which of them go there.
//!
//! Lines are handed to a thread of their own through a bounded queue. A reader that stops reading,
//! a journal that hangs or a log daemon that is gone costs lines, which are counted, and never a
//! fence.

mod filter;
mod journal;
mod queue;
mod text;

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

pub use self::filter::{BadFilter, Filter};
use self::queue::{Queue, Sink};
use self::text::{Datagrams, Lines, Stream, Syslog};

/// The local log daemon's socket.
const SYSLOG_SOCKET: &str = "/dev/log";

/// Layers of a subscriber, the filter beneath.
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<Targets, Registry>, Registry>;

/// The queue of the running program.
static QUEUED: OnceLock<Queue> = OnceLock::new();

/// Its filter.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Set once lines go to standard error, or to where that goes too.
static STDERR: AtomicBool = AtomicBool::new(false);

/// Whether log lines go anywhere yet.
#[must_use]
pub fn is_running() -> bool {
    QUEUED.get().is_some()
}

/// Whether they go to standard error, or to where that goes too.
#[must_use]
pub fn is_stderr() -> bool {
    STDERR.load(Ordering::Relaxed)
}

/// Logs for the foreground: to the journal if standard error is the journal, else to standard error.
///
/// # Errors
/// The writer's thread cannot be started.
pub fn to_stderr(filter: &Filter) -> io::Result<()> {
    STDERR.store(true, Ordering::Relaxed);
    if journal::has_stderr()
        && let Ok(socket) = Datagrams::connect(Path::new(journal::SOCKET))
    {
        let queue = start(Box::new(journal::Journal(socket)))?;
        install(filter, journal::Entries(queue));
        return Ok(());
    }
    let queue = start(Box::new(Stream(io::stderr())))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(Lines {
            queue,
            syslog: false,
        });
    install(filter, lines);
    Ok(())
}

/// Logs to syslog.
///
/// # Errors
/// There is no log daemon at `/dev/log`, or the writer's thread cannot be started.
pub fn to_syslog(filter: &Filter) -> io::Result<()> {
    let socket = Datagrams::connect(Path::new(SYSLOG_SOCKET))?;
    let queue = start(Box::new(Syslog(socket)))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .without_time()
        .log_internal_errors(false)
        .with_writer(Lines {
            queue,
            syslog: true,
        });
    install(filter, lines);
    Ok(())
}

/// From now on this is logged.
pub fn set_filter(filter: &Filter) {
    if let Some(handle) = FILTER.get() {
        // Fails only if the subscriber is gone, and it stays to the end.
        let _ = handle.reload(filter.targets());
    }
}

/// Waits a moment for the lines that are queued: to be called before the program ends.
pub fn flush() {
    if let Some(queue) = QUEUED.get() {
        queue.flush();
    }
}

fn start(sink: Box<dyn Sink>) -> io::Result<Queue> {
    let queue = Queue::start(sink)?;
    let _ = QUEUED.set(queue.clone());
    Ok(queue)
}

fn install(filter: &Filter, output: impl Layer<Filtered> + Send + Sync) {
    let (layer, handle) = reload::Layer::new(filter.targets());
    let subscriber = tracing_subscriber::registry().with(layer).with(output);
    // Fails only if a subscriber is set already, and then that one does.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = FILTER.set(handle);
    }
}
