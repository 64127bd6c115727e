//! The agent's sockets and devices: the shell around [`fence_proto::agent::AgentSession`] and, for
//! lines, [`fence_proto::agent::serial::SerialSession`].
//!
//! What is here does what the session says and tells it what happened; nothing is decided here but
//! which local addresses there are and which port is free.

mod callback;
mod clock;
mod connect;
mod driver;
mod group;
mod line;
pub mod survey;
mod tty;

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use fence_proto::agent::{AgentConfig, AgentSession, Event, Tally, Transport, Verdict};

use crate::console::Console;
use crate::settings::Network;
use clock::Clock;
use driver::Driver;

pub use line::{ask_line, settle};
pub use tty::check_device;

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
    /// No VM channel.
    #[error(
        "cannot connect to the VM channel {address}: {source}; does this VM have one? -D names a serial device instead, -T a host to be reached by TCP"
    )]
    Channel {
        /// Where it should be.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The serial device cannot be used.
    #[error("cannot use serial device {}: {source}; {cure}", device.display())]
    Device {
        /// Its path.
        device: PathBuf,
        /// What the system says.
        source: io::Error,
        /// What to do about it.
        cure: &'static str,
    },
    /// Other programs held the serial device all the time.
    #[error(
        "serial device {} was in use by {holder} all the time: end that, or name another device with -D",
        device.display()
    )]
    DeviceBusy {
        /// Its path.
        device: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// The line does not do as it should.
    #[error("cannot use the line to the host: {0}")]
    Line(io::Error),
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

impl Attempt {
    /// What has nothing to do with ports and addresses.
    const fn of_line(verdict: Verdict, tally: Tally) -> Self {
        Self {
            verdict,
            tally,
            port: None,
            addresses: 0,
            send_error: None,
        }
    }
}

/// Asks and waits for the answer, for no longer than the configuration's time-out.
///
/// # Errors
/// [`NetError`] if the machine does not let us; what hosts do is in the [`Attempt`].
pub fn ask(config: AgentConfig, network: &Network, console: Console) -> Result<Attempt, NetError> {
    let clock = Clock::start();
    let timeout = config.timeout;
    let session = AgentSession::new(config, clock.now());
    let mut driver = Driver::new(session, clock, console);
    match network {
        Network::Multicast(settings) => {
            let any = group::any_address(settings.group);
            let (listener, port) = callback::listen(any, settings.port, timeout, clock, console)?;
            driver.listen(listener, group::Group::new(settings.clone(), port));
            driver.report(Event::Listening);
        }
        Network::Tcp(address) => {
            let stream = connect::tcp(*address, clock, timeout);
            connected(&mut driver, stream, address.to_string())?;
        }
        Network::Vsock { cid, port } => {
            let stream = connect::vsock(*cid, *port, clock, timeout);
            connected(&mut driver, stream, format!("vsock CID {cid} port {port}"))?;
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
pub fn transport(network: &Network) -> Transport {
    match network {
        Network::Multicast(settings) => Transport::Multicast {
            retransmit: settings.retransmit,
        },
        Network::Tcp(_) | Network::Vsock { .. } => Transport::Stream,
    }
}

/// An address as people write it.
fn peer_name(address: Option<SocketAddr>) -> String {
    address.map_or_else(
        || "an unnamed peer".to_owned(),
        |address| address.to_string(),
    )
}

/// Has `write` send what can be sent, and takes that out; false if nothing can be sent any more.
fn flush(unsent: &mut Vec<u8>, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> bool {
    while !unsent.is_empty() {
        match write(unsent) {
            Ok(count) if count > 0 => {
                unsent.drain(..count.min(unsent.len()));
            }
            Err(error) if is_transient(&error) => return true,
            _ => return false,
        }
    }
    true
}

/// Whether the same call may do better later.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
