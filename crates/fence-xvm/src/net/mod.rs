//! The agent's sockets: the shell around [`fence_proto::agent::AgentSession`].
//!
//! What is here does what the session says and tells it what happened; nothing is decided here but
//! which local addresses there are and which port is free.

mod callback;
mod clock;
mod connect;
mod driver;
mod group;

use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use fence_proto::agent::{AgentConfig, AgentSession, Event, Tally, Transport, Verdict};

use crate::console::Console;
use crate::settings::Mode;
use clock::Clock;
use driver::Driver;

/// What the machine did not do for us.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No connection to a host.
    #[error(
        "cannot connect to {peer}: {source}; does fence_virtd listen there, and may this guest reach it?"
    )]
    Connect {
        /// Whom we tried.
        peer: String,
        /// What the system says.
        source: io::Error,
    },
    /// No listener, and not because the port is in use.
    #[error("cannot wait for call-backs on TCP port {port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// Other programs held the port all the time.
    #[error(
        "TCP port {0} was in use all the time: end the program that holds it, or choose another port with -p on agent and hosts"
    )]
    PortBusy(u16),
    /// The kernel has no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// Waiting failed.
    #[error("cannot wait for the network: {0}")]
    Poll(#[from] nix::Error),
}

/// How a request went, for the message at its end.
#[derive(Debug)]
pub struct Attempt {
    /// The session's verdict.
    pub verdict: Verdict,
    /// What was tried.
    pub tally: Tally,
    /// Multicast: the port that call-backs came to.
    pub port: Option<u16>,
    /// Multicast: the local addresses that requests left from.
    pub addresses: usize,
    /// The last thing that kept a request from being sent.
    pub send_error: Option<String>,
}

/// Asks and waits for the answer, for no longer than the configuration's time-out.
///
/// # Errors
/// [`NetError`] if the machine does not let us; what hosts do is in the [`Attempt`].
pub fn ask(config: AgentConfig, mode: &Mode, console: Console) -> Result<Attempt, NetError> {
    let clock = Clock::start();
    let timeout = config.timeout;
    let session = AgentSession::new(config, clock.now());
    let mut driver = Driver::new(session, clock, console);
    match mode {
        Mode::Multicast(settings) => {
            let any = group::any_address(settings.group);
            let (listener, port) = callback::listen(any, settings.port, timeout, clock, console)?;
            driver.listen(listener, group::Group::new(settings.clone(), port));
            driver.report(Event::Listening);
        }
        Mode::Tcp(address) => {
            let stream = connect::tcp(*address, clock, timeout);
            connected(&mut driver, stream, address.to_string())?;
        }
        Mode::Vsock { cid, port } => {
            let stream = connect::vsock(*cid, *port, clock, timeout);
            connected(&mut driver, stream, format!("vsock CID {cid} port {port}"))?;
        }
        Mode::Serial => {
            return Err(NetError::Connect {
                peer: "the serial device".to_owned(),
                source: io::ErrorKind::Unsupported.into(),
            });
        }
    }
    driver.run()
}

fn connected(
    driver: &mut Driver,
    stream: io::Result<socket2::Socket>,
    peer: String,
) -> Result<(), NetError> {
    let stream = stream.map_err(|source| NetError::Connect {
        peer: peer.clone(),
        source,
    })?;
    driver.connect(stream, peer)
}

/// How long there is still to wait, at most this.
fn remaining(clock: Clock, timeout: Duration) -> Duration {
    timeout.saturating_sub(clock.now().since_epoch())
}

/// The session's way to its hosts.
#[must_use]
pub fn transport(mode: &Mode) -> Transport {
    match mode {
        Mode::Multicast(settings) => Transport::Multicast {
            retransmit: settings.retransmit,
        },
        Mode::Tcp(_) | Mode::Vsock { .. } | Mode::Serial => Transport::Stream,
    }
}

/// An address as people write it.
fn peer_name(address: Option<SocketAddr>) -> String {
    address.map_or_else(
        || "an unnamed peer".to_owned(),
        |address| address.to_string(),
    )
}
