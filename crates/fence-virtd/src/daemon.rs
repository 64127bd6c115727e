//! The daemon's life: start, serve, end.

use std::sync::Arc;
use std::time::Duration;

use fence_proto::host::Limits;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::backend::{self, BackendError};
use crate::background::{Readiness, raise_file_limit};
use crate::clock::Clock;
use crate::ending;
use crate::hub::Hub;
use crate::manager::Manager;
use crate::reload::{Current, NotRenewed};
use crate::supervisor::{Supervisor, SupervisorError};
use crate::watchdog;

/// How often what is missing is looked for under `-w`.
const RETRY: Duration = Duration::from_secs(1);

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

/// Signals that the daemon listens to all the time. SIGHUP is another matter: it waits until the daemon serves.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    report: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            report: signal(SignalKind::user_defined1())?,
        })
    }

    /// Resolves when the daemon is to end; answers the other signal meanwhile. Cancel-safe.
    async fn end(&mut self, hub: &Hub) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.report.recv() => report(hub),
            }
        }
    }
}

fn report(hub: &Hub) {
    let (dropped, backend) = (hub.counters.summary(), hub.backend.summary());
    tracing::info!(dropped, backend, "counters");
}

/// A daemon that runs.
struct Daemon {
    hub: Arc<Hub>,
    supervisor: Supervisor,
    current: Current,
    manager: Arc<Manager>,
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// [`DaemonError`] if it cannot start, or cannot go on.
pub async fn run(current: Current, mut readiness: Readiness) -> Result<(), DaemonError> {
    let mut signals = Signals::new()?;
    let hangups = signal(SignalKind::hangup())?;
    let clock = Clock::start();
    let wait = current.settings().daemon.wait_for_init;
    let backend = backend::open(&current.settings().backend, clock)?;
    let hub = Hub::new(clock, backend, limits());
    let manager = Arc::new(Manager::default());
    let watchdog = watchdog::feed(Arc::clone(&hub.backend), Arc::clone(&manager));
    // To the end of the process: ending takes a second at most.
    tokio::spawn(watchdog);
    let mut daemon = Daemon {
        supervisor: Supervisor::new(&hub, wait),
        hub: Arc::clone(&hub),
        current,
        manager,
    };
    let started = tokio::select! {
        started = daemon.start(&mut readiness) => started.map(|()| true),
        () = signals.end(&hub) => Ok(false),
    };
    if started? {
        readiness.announce()?;
        let result = daemon.serve(signals, hangups).await;
        daemon.end().await;
        return result;
    }
    tracing::info!("ended before it was ready");
    // Under `-w` some listeners may serve already.
    daemon.end().await;
    Ok(())
}

impl Daemon {
    async fn start(&mut self, readiness: &mut Readiness) -> Result<(), DaemonError> {
        self.until_ready(readiness).await?;
        let listeners = &self.current.settings().listeners;
        Ok(self.supervisor.start(listeners).await?)
    }

    /// Waits until the backend can work; under `-w` for as long as it takes.
    async fn until_ready(&self, readiness: &mut Readiness) -> Result<(), DaemonError> {
        let wait = self.current.settings().daemon.wait_for_init;
        let mut said = String::new();
        while let Err(error) = self.hub.backend.ready().await {
            if !wait {
                return Err(error.into());
            }
            let text = format!("waiting: {error}");
            if text != said {
                tracing::warn!("{text}");
                self.manager.waiting(&text);
                said = text;
            }
            readiness.announce()?;
            sleep(RETRY).await;
        }
        Ok(())
    }

    /// Serves until a signal or until no listener is left.
    async fn serve(
        &mut self,
        mut signals: Signals,
        mut hangups: Signal,
    ) -> Result<(), DaemonError> {
        let (hub, manager) = (Arc::clone(&self.hub), Arc::clone(&self.manager));
        let informing = manager.keep_informed(self.supervisor.board(), hub.backend.condition());
        tokio::pin!(informing);
        loop {
            tokio::select! {
                error = self.supervisor.all_lost() => return Err(error.into()),
                () = signals.end(&hub) => return Ok(()),
                () = &mut informing => return Ok(()),
                _ = hangups.recv() => {}
                () = self.current.due() => {}
            }
            tokio::select! {
                () = self.renew() => {}
                () = signals.end(&hub) => return Ok(()),
                () = &mut informing => return Ok(()),
            }
        }
    }

    /// Reads the configuration anew. Whatever comes of it, the daemon serves.
    async fn renew(&mut self) {
        self.manager.reloading();
        let refused = self.current.renew(&mut self.supervisor).await.err();
        let refused = refused.map(|why| {
            if !matches!(why, NotRenewed::UnderWay { first: false, .. }) {
                tracing::error!("the configuration was not read anew, the old one stays: {why}");
            }
            why.to_string()
        });
        self.manager.reloaded(refused.as_deref());
    }

    /// Ends, and logs what was counted.
    async fn end(&self) {
        let hub = &self.hub;
        self.manager.stopping();
        ending::end(hub).await;
        report(hub);
    }
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
