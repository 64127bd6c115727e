//! The TCP listener (section 3): agents connect and speak first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fence_proto::Source;
use fence_proto::host::Session;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{Complaints, ListenerError, session_random, socket_is_lost};
use crate::gate::Gate;
use crate::hub::Phase;
use crate::session::Driver;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// How long accepting pauses after an error, so that a lasting one costs no processor time.
const PAUSE: Duration = Duration::from_millis(20);

/// A listening socket, ready to serve.
#[derive(Debug)]
pub struct Tcp {
    listener: TcpListener,
    gate: Arc<Gate>,
}

impl Tcp {
    /// Listens on `address`.
    ///
    /// # Errors
    /// [`ListenerError::Socket`].
    pub fn bind(address: SocketAddr, gate: Arc<Gate>) -> Result<Self, ListenerError> {
        let listener = listen(address).map_err(|error| ListenerError::Socket {
            what: format!("listen on TCP {address}"),
            error,
        })?;
        tracing::info!(listener = gate.name(), %address, "listening on TCP");
        Ok(Self { listener, gate })
    }

    /// Accepts until the daemon drains.
    ///
    /// # Errors
    /// [`ListenerError::Lost`] if the socket is gone.
    pub async fn serve(self) -> Result<(), ListenerError> {
        let mut phase = self.gate.hub.phase();
        let mut complaints = Complaints::of(self.gate.name());
        loop {
            let accepted = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Running) => return Ok(()),
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.start(stream, peer)?,
                Err(error) if socket_is_lost(&error) => {
                    return Err(ListenerError::Lost {
                        what: "TCP listener's",
                        error,
                    });
                }
                Err(error) => {
                    complaints.say("accepting a connection", &error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), ListenerError> {
        let gate = Arc::clone(&self.gate);
        let source = Source::Ip(peer.ip().to_canonical());
        let place = match gate.hub.admit(source) {
            Ok(place) => place,
            Err(reason) => {
                gate.turn_away(reason, &peer);
                return Ok(());
            }
        };
        // Without it the reply of a list waits for acknowledgements; if it fails, it just does.
        let _ = stream.set_nodelay(true);
        let now = gate.hub.clock.now();
        let policy = Arc::clone(gate.policy());
        let session = Session::accepted(policy, source, session_random()?, now);
        tokio::spawn(Driver::new(gate, place, session, (stream, peer)).run());
        Ok(())
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
