//! The daemon's life: start, serve, end.

use std::sync::Arc;
use std::time::Duration;

use fence_proto::host::Limits;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::backend::{self, Backend, BackendError};
use crate::background::{Readiness, raise_file_limit};
use crate::clock::Clock;
use crate::config::Settings;
use crate::hub::{Hub, Phase};
use crate::supervisor::{Board, Supervisor, SupervisorError};

/// How often what is missing is looked for under `-w`.
const RETRY: Duration = Duration::from_secs(1);

/// How long orders under way may finish after SIGTERM.
const DRAIN: Duration = Duration::from_millis(600);

/// How long the last failures may take to be sent after that.
const END: Duration = Duration::from_millis(200);

/// How long leaving the cluster may take in the end: corosync may hang.
const LEAVE: Duration = Duration::from_millis(150);

/// Files that the daemon may hold, if its hard limit lets it: sessions, serial lines, libvirt's connections, programs. As many
/// as its unit for systemd says.
const FILES: u64 = 65_536;

/// Why the daemon did not start or has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The backend did not come up.
    #[error("{0}")]
    Backend(#[from] BackendError),
    /// A listener did not come up, or all were lost.
    #[error("{0}")]
    Listeners(#[from] SupervisorError),
    /// The process could not be set up.
    #[error("cannot set up the process: {0}")]
    Process(#[from] std::io::Error),
}

/// Signals that the daemon listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    report: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            report: signal(SignalKind::user_defined1())?,
        })
    }

    /// Resolves when the daemon is to end; answers the other signals meanwhile.
    async fn end(&mut self, hub: &Hub) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP ignored: restart the daemon to read its configuration");
                }
                _ = self.report.recv() => report(hub),
            }
        }
    }
}

fn report(hub: &Hub) {
    let (dropped, backend) = (hub.counters.summary(), hub.backend.summary());
    tracing::info!(dropped, backend, "counters");
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// [`DaemonError`] if it cannot start, or cannot go on.
pub async fn run(settings: Settings, mut readiness: Readiness) -> Result<(), DaemonError> {
    let mut signals = Signals::new()?;
    let clock = Clock::start();
    let wait = settings.daemon.wait_for_init;
    let backend = backend::open(&settings.backend, clock)?;
    let hub = Hub::new(clock, backend, limits());
    let mut supervisor = Supervisor::new(&hub, wait);
    let starting = async {
        until_ready(hub.backend.as_ref(), wait, &mut readiness).await?;
        Ok::<_, DaemonError>(supervisor.start(&settings.listeners).await?)
    };
    tokio::select! {
        started = starting => started?,
        () = signals.end(&hub) => {
            tracing::info!("ended before it was ready");
            // Under `-w` some listeners may serve already.
            end(&hub).await;
            return Ok(());
        }
    }
    readiness.announce()?;
    serve(&supervisor, &hub, signals).await
}

/// Waits until the backend can work; under `-w` for as long as it takes.
async fn until_ready(
    backend: &dyn Backend,
    wait: bool,
    readiness: &mut Readiness,
) -> Result<(), DaemonError> {
    let mut said = String::new();
    while let Err(error) = backend.ready().await {
        if !wait {
            return Err(error.into());
        }
        let text = format!("waiting: {error}");
        if text != said {
            tracing::warn!("{text}");
            tell_manager(&[sd_notify::NotifyState::Status(&text)]);
            said = text;
        }
        readiness.announce()?;
        sleep(RETRY).await;
    }
    Ok(())
}

/// Serves until a signal or until no listener is left, then ends within a second.
async fn serve(
    supervisor: &Supervisor,
    hub: &Arc<Hub>,
    mut signals: Signals,
) -> Result<(), DaemonError> {
    let result = tokio::select! {
        error = supervisor.all_lost() => Err(error.into()),
        () = signals.end(hub) => Ok(()),
        () = tell(supervisor.board(), hub.backend.condition()) => Ok(()),
    };
    end(hub).await;
    result
}

/// Lets orders under way finish, for a moment; then everybody who still waits gets a failure.
async fn end(hub: &Hub) {
    hub.advance(Phase::Draining);
    hub.backend.shut_down();
    if timeout(DRAIN, hub.idle()).await.is_err() {
        tracing::warn!("orders are still under way; their requesters get a failure");
    }
    hub.advance(Phase::Ending);
    let _ = timeout(END, hub.idle()).await;
    if timeout(LEAVE, hub.backend.leave()).await.is_err() {
        tracing::warn!("the cluster's group could not be left in good order");
    }
    report(hub);
}

/// Tells the service manager what the listeners do, and once that all serve. Never ends while there
/// are listeners.
async fn tell(mut board: watch::Receiver<Board>, condition: Option<watch::Receiver<String>>) {
    // One that never changes, where there is none.
    let (_keeper, none) = watch::channel(String::new());
    let mut condition = condition.unwrap_or(none);
    let mut ready = false;
    loop {
        let (mut text, all_serve) = {
            let now = board.borrow_and_update();
            (now.to_string(), now.all_serve())
        };
        let how = condition.borrow_and_update().clone();
        if !how.is_empty() {
            text = format!("{text}; {how}");
        }
        let status = sd_notify::NotifyState::Status(&text);
        if all_serve && !ready {
            ready = true;
            tell_manager(&[sd_notify::NotifyState::Ready, status]);
            tracing::info!("ready: {text}");
        } else {
            tell_manager(&[status]);
        }
        let changed = tokio::select! {
            changed = board.changed() => changed,
            changed = condition.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

fn tell_manager(what: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(what);
}

/// As many sessions as there are files for, up to the default.
fn limits() -> Limits {
    let default = Limits::default();
    // Each session has a socket; the rest is for libvirt and the daemon itself.
    let files = usize::try_from(raise_file_limit(FILES)).unwrap_or(usize::MAX);
    let total = default
        .total
        .min(files.saturating_sub(files / 4).saturating_sub(64))
        .max(16);
    Limits {
        total,
        per_source: default.per_source.min(total),
    }
}
