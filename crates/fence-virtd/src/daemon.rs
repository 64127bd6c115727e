//! The daemon's life: start, serve, end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fence_proto::host::{Limits, Policy, Timing};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::background::{Readiness, raise_file_limit};
use crate::clock::Clock;
use crate::config::{Authentication, BackendSettings, ListenerSettings, Settings};
use crate::hub::{Hub, Phase};
use crate::libvirt::{BackendError, LibvirtBackend};
use crate::listener::ListenerError;
use crate::listener::multicast::{Group, Multicast};
use crate::listener::tcp::Tcp;

/// How often what is missing is looked for under `-w`.
const RETRY: Duration = Duration::from_secs(1);

/// How long orders under way may finish after SIGTERM.
const DRAIN: Duration = Duration::from_millis(600);

/// How long the last failures may take to be sent after that.
const END: Duration = Duration::from_millis(200);

/// Why the daemon did not start or has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Configured, but not built yet.
    #[error(
        "{0} is not available in this version; use listener multicast or tcp and backend libvirt"
    )]
    NotAvailable(&'static str),
    /// The configuration lets no policy be made.
    #[error("the listener has no key: {0}")]
    Key(#[from] fence_proto::host::MissingKey),
    /// The backend did not come up.
    #[error("{0}")]
    Backend(#[from] BackendError),
    /// The listener did not come up, or was lost.
    #[error("{0}")]
    Listener(#[from] ListenerError),
    /// The process could not be set up.
    #[error("cannot set up the process: {0}")]
    Process(#[from] std::io::Error),
}

/// A listener that is ready to serve.
enum Listener {
    Multicast(Multicast),
    Tcp(Tcp),
}

impl Listener {
    async fn serve(self, hub: Arc<Hub>) -> Result<(), ListenerError> {
        match self {
            Self::Multicast(multicast) => multicast.serve(hub).await,
            Self::Tcp(tcp) => tcp.serve(hub).await,
        }
    }
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
    async fn end(&mut self, hub: Option<&Hub>) {
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

fn report(hub: Option<&Hub>) {
    let Some(hub) = hub else {
        return tracing::info!("not serving yet: nothing was counted");
    };
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
    let access = Arc::new(settings.access);
    let uris = match &settings.backend {
        BackendSettings::Libvirt(libvirt) => &libvirt.uris,
        BackendSettings::Cpg(_) => return Err(DaemonError::NotAvailable("backend cpg")),
    };
    let backend = LibvirtBackend::new(uris, Arc::clone(&access), clock);
    let policy = policy(&settings.listener, access)?;
    let start = async {
        let mut patience = Patience {
            wait,
            readiness: &mut readiness,
            said: None,
        };
        patience
            .until(async || backend.ready().await.map_err(Into::into))
            .await?;
        patience
            .until(async || bind(&settings.listener, &policy))
            .await
    };
    let listener = tokio::select! {
        started = start => started?,
        () = signals.end(None) => {
            tracing::info!("ended before it was ready");
            return Ok(());
        }
    };
    let hub = Hub::new(clock, Arc::new(backend), limits());
    announce(&mut readiness)?;
    tracing::info!("ready");
    serve(listener, hub, signals).await
}

/// Serves until a signal or a fatal error, then ends within a second.
async fn serve(listener: Listener, hub: Arc<Hub>, mut signals: Signals) -> Result<(), DaemonError> {
    let result = tokio::select! {
        result = listener.serve(Arc::clone(&hub)) => result,
        () = signals.end(Some(&hub)) => Ok(()),
    };
    hub.advance(Phase::Draining);
    hub.backend.shut_down();
    if timeout(DRAIN, hub.idle()).await.is_err() {
        tracing::warn!("orders are still under way; their requesters get a failure");
    }
    hub.advance(Phase::Ending);
    let _ = timeout(END, hub.idle()).await;
    report(Some(&hub));
    result.map_err(Into::into)
}

/// Tries until it works, under `-w`.
struct Patience<'a> {
    wait: bool,
    readiness: &'a mut Readiness,
    /// The last complaint, so that each is logged once.
    said: Option<String>,
}

impl Patience<'_> {
    async fn until<T, F>(&mut self, mut attempt: impl FnMut() -> F) -> Result<T, DaemonError>
    where
        F: Future<Output = Result<T, DaemonError>>,
    {
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) if self.wait && may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            self.say(&error)?;
            sleep(RETRY).await;
        }
    }

    fn say(&mut self, error: &DaemonError) -> std::io::Result<()> {
        let text = error.to_string();
        if self.said.as_ref() != Some(&text) {
            tracing::warn!("waiting: {text}");
            let _ =
                sd_notify::notify(&[sd_notify::NotifyState::Status(&format!("waiting: {text}"))]);
            self.said = Some(text);
        }
        self.readiness.announce()
    }
}

fn may_pass(error: &DaemonError) -> bool {
    match error {
        DaemonError::Backend(_) => true,
        DaemonError::Listener(error) => error.may_pass(),
        _ => false,
    }
}

fn announce(readiness: &mut Readiness) -> std::io::Result<()> {
    readiness.announce()?;
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[
        sd_notify::NotifyState::Ready,
        sd_notify::NotifyState::Status("serving"),
    ]);
    Ok(())
}

fn policy(
    listener: &ListenerSettings,
    access: Arc<fence_proto::Access>,
) -> Result<Arc<Policy>, DaemonError> {
    let Authentication { key, hash, auth } = match listener {
        ListenerSettings::Multicast(multicast) => multicast.authentication.clone(),
        ListenerSettings::Tcp(tcp) => tcp.authentication.clone(),
        ListenerSettings::Vsock(_) => return Err(DaemonError::NotAvailable("listener vsock")),
        ListenerSettings::Serial(_) => return Err(DaemonError::NotAvailable("listener serial")),
    };
    Ok(Arc::new(Policy::new(
        key,
        (hash, auth),
        access,
        Timing::default(),
    )?))
}

fn bind(settings: &ListenerSettings, policy: &Arc<Policy>) -> Result<Listener, DaemonError> {
    let policy = Arc::clone(policy);
    Ok(match settings {
        ListenerSettings::Multicast(multicast) => {
            let group = Group {
                address: multicast.address,
                port: multicast.port,
                interface: multicast.interface.clone(),
            };
            Listener::Multicast(Multicast::bind(group, policy)?)
        }
        ListenerSettings::Tcp(tcp) => Listener::Tcp(Tcp::bind(tcp.address, policy)?),
        ListenerSettings::Vsock(_) => return Err(DaemonError::NotAvailable("listener vsock")),
        ListenerSettings::Serial(_) => return Err(DaemonError::NotAvailable("listener serial")),
    })
}

/// As many sessions as there are files for, up to the default.
fn limits() -> Limits {
    let default = Limits::default();
    // Each session has a socket; the rest is for libvirt and the daemon itself.
    let files = usize::try_from(raise_file_limit(4096)).unwrap_or(usize::MAX);
    let total = default
        .total
        .min(files.saturating_sub(files / 4).saturating_sub(64))
        .max(16);
    Limits {
        total,
        per_source: default.per_source.min(total),
    }
}
