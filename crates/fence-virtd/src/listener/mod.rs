//! The ways in: each listener turns what arrives into sessions.

pub mod multicast;
pub mod serial;
pub mod tcp;
pub mod vsock;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fence_proto::Source;
use fence_proto::host::Session;
use socket2::{SockAddr, SockRef, Socket};

use self::multicast::{Group, Multicast};
use self::serial::Serial;
use self::tcp::Tcp;
use self::vsock::Vsock;
use crate::config::ListenerSettings;
use crate::door::Door;
use crate::gate::Gate;
use crate::session::Driver;
use crate::stream::{Peer, Stream};

/// Between two warnings of one kind.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// A listener that is ready to serve.
#[derive(Debug)]
pub enum Listener {
    /// UDP multicast and a call-back over TCP.
    Multicast(Multicast),
    /// TCP.
    Tcp(Tcp),
    /// Sockets between host and guest.
    Vsock(Vsock),
    /// Serial lines or vmchannels.
    Serial(Serial),
}

impl Listener {
    /// Makes its sockets.
    ///
    /// # Errors
    /// [`ListenerError`].
    pub async fn bind(settings: &ListenerSettings, door: Door) -> Result<Self, ListenerError> {
        Ok(match settings {
            ListenerSettings::Multicast(multicast) => {
                let group = Group {
                    address: multicast.address,
                    port: multicast.port,
                    interface: multicast.interface.clone(),
                };
                let bound = Multicast::bind(group, door)?;
                Self::Multicast(if multicast.answer_unknown {
                    bound
                } else {
                    bound.silent_on_unknown()
                })
            }
            ListenerSettings::Tcp(tcp) => Self::Tcp(Tcp::bind(tcp.address, door)?),
            ListenerSettings::Vsock(vsock) => Self::Vsock(Vsock::bind(vsock.port, door)?),
            ListenerSettings::Serial(serial) => Self::Serial(Serial::bind(serial, door).await?),
        })
    }

    /// As [`Self::bind`], for one that is missing: may wait for what it lacks instead of failing again.
    ///
    /// # Errors
    /// [`ListenerError`].
    pub async fn bind_late(settings: &ListenerSettings, door: Door) -> Result<Self, ListenerError> {
        match settings {
            ListenerSettings::Serial(serial) => {
                Ok(Self::Serial(Serial::bind_late(serial, door).await))
            }
            _ => Self::bind(settings, door).await,
        }
    }

    /// Serves until its door is closed or the daemon drains. Then, or when it is dropped before, it gives its sockets
    /// back; sessions go on.
    ///
    /// # Errors
    /// [`ListenerError`] when it can serve no more.
    pub async fn serve(self) -> Result<(), ListenerError> {
        match self {
            Self::Multicast(multicast) => multicast.serve().await,
            Self::Tcp(tcp) => tcp.serve().await,
            Self::Vsock(vsock) => vsock.serve().await,
            Self::Serial(serial) => serial.serve().await,
        }
    }
}

/// Why a listener could not be started or has ended.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The named interface does not exist or is down.
    #[error(
        "interface '{0}' does not exist or is down: name an existing one in `interface`, leave the \
         key out to follow all interfaces, or start with -w to wait for it"
    )]
    NoInterface(String),
    /// The kernel has no vsock, or keeps it from this process.
    #[error(
        "the kernel has no vsock ({0}): load its module (modprobe vhost_vsock), let the service manager \
         allow AF_VSOCK, or start with -w to wait for it"
    )]
    NoVsock(io::Error),
    /// A socket could not be had as configured.
    #[error("cannot {what}: {error}")]
    Socket {
        /// What was tried, with the address.
        what: String,
        /// The kernel's word.
        error: io::Error,
    },
    /// The socket is gone while the daemon runs.
    #[error("the {what} socket is lost: {error}")]
    Lost {
        /// Which socket.
        what: &'static str,
        /// The kernel's word.
        error: io::Error,
    },
    /// The hypervisor whose domains are to be served does not answer.
    #[error(
        "libvirt cannot be asked for domains ({0}); is libvirtd running, and is the uri setting of \
         listeners/serial right?"
    )]
    Libvirt(String),
    /// No randomness.
    #[error("the kernel gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl ListenerError {
    /// Whether waiting may help: what `-w` waits for.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoInterface(_) | Self::NoVsock(_) | Self::Libvirt(_) => true,
            Self::Socket { error, .. } => matches!(
                error.kind(),
                io::ErrorKind::AddrNotAvailable
                    | io::ErrorKind::AddrInUse
                    | io::ErrorKind::NetworkDown
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NotFound
            ),
            Self::Lost { .. } | Self::Random(_) => false,
        }
    }
}

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// How long accepting pauses after an error, so that a lasting one costs no processor time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Gets the session of a connection that was accepted going, if there is a place for it.
///
/// # Errors
/// [`ListenerError::Random`].
pub fn start_session(
    gate: &Arc<Gate>,
    source: Source,
    (stream, peer): (impl Stream, Peer),
) -> Result<(), ListenerError> {
    let place = match gate.admit(source) {
        Ok(place) => place,
        Err(reason) => {
            gate.turn_away(reason, &peer);
            return Ok(());
        }
    };
    let now = gate.hub.clock.now();
    let policy = Arc::clone(gate.policy());
    let session = Session::accepted(policy, source, session_random()?, now);
    let driver = Driver::new(Arc::clone(gate), place, session, (stream, peer));
    tokio::spawn(driver.run());
    Ok(())
}

/// The connections that the kernel holds for a listener that closes, if the daemon goes on: their peers may have sent
/// their requests already.
fn accept_waiting(listener: &impl AsFd, door: &Door) -> impl Iterator<Item = (Socket, SockAddr)> {
    let most = if door.is_closed_alone() { BACKLOG } else { 0 };
    // The listener does not block, so this ends with the last of them.
    (0..most).map_while(move |_| SockRef::from(listener).accept().ok())
}

/// Random bytes for a session's challenge.
///
/// # Errors
/// [`ListenerError::Random`]: without randomness there is no authentication.
pub fn session_random() -> Result<[u8; 32], ListenerError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Whether an error of accept or recv says that the socket itself is gone. Everything else (the
/// peer's network errors that accept reports, too few descriptors or buffers, signals) is the
/// moment's or the peer's, and must not end the daemon (row L13).
#[must_use]
pub fn socket_is_lost(error: &io::Error) -> bool {
    use nix::libc::{EBADF, EFAULT, EINVAL, ENOTSOCK, EOPNOTSUPP};
    matches!(
        error.raw_os_error(),
        Some(EBADF | EFAULT | EINVAL | ENOTSOCK | EOPNOTSUPP)
    )
}

/// Warns of errors that may come many times a second, once a second.
#[derive(Debug, Default)]
struct Complaints {
    listener: String,
    last: Option<Instant>,
    untold: u64,
}

impl Complaints {
    fn of(listener: &str) -> Self {
        Self {
            listener: listener.to_owned(),
            ..Self::default()
        }
    }

    fn say(&mut self, what: &str, error: &io::Error) {
        if self
            .last
            .is_some_and(|last| last.elapsed() < COMPLAINT_INTERVAL)
        {
            self.untold = self.untold.saturating_add(1);
            return;
        }
        self.last = Some(Instant::now());
        let untold = std::mem::take(&mut self.untold);
        tracing::warn!(listener = self.listener, %error, untold, "{what} failed; going on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc;

    #[test]
    fn complaints_of_one_second_are_one_line() {
        let mut complaints = Complaints::of("test");
        for _ in 0..100 {
            complaints.say("testing", &io::ErrorKind::Other.into());
        }
        assert_eq!(complaints.untold, 99);
    }

    #[test]
    fn only_a_lost_socket_ends_a_listener() {
        for errno in [libc::EBADF, libc::ENOTSOCK] {
            assert!(socket_is_lost(&io::Error::from_raw_os_error(errno)));
        }
        for errno in [
            libc::ECONNABORTED,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EINTR,
            libc::EPROTO,
            libc::EPERM,
            libc::ENETDOWN,
            libc::EHOSTUNREACH,
        ] {
            assert!(
                !socket_is_lost(&io::Error::from_raw_os_error(errno)),
                "{errno}"
            );
        }
    }
}
