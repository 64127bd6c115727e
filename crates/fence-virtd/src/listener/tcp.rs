//! The TCP listener (section 3): agents connect and speak first.

use std::net::SocketAddr;
use std::sync::Arc;

use fence_proto::Source;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{ACCEPT_PAUSE, BACKLOG, Complaints, ListenerError, socket_is_lost, start_session};
use crate::gate::Gate;
use crate::hub::Phase;
use crate::stream::Peer;

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
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Has the kernel take the socket for gone.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        let socket = socket2::SockRef::from(&self.listener);
        socket.shutdown(std::net::Shutdown::Both).unwrap();
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), ListenerError> {
        // Without it the reply of a list waits for acknowledgements; if it fails, it just does.
        let _ = stream.set_nodelay(true);
        let source = Source::Ip(peer.ip().to_canonical());
        start_session(&self.gate, source, (stream, Peer::Ip(peer)))
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
