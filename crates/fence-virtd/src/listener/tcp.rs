//! The TCP listener (section 3): agents connect and speak first.

use std::net::SocketAddr;

use fence_proto::Source;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{
    ACCEPT_PAUSE, BACKLOG, Complaints, ListenerError, accept_waiting, socket_is_lost, start_session,
};
use crate::door::Door;
use crate::stream::Peer;

/// A listening socket, ready to serve.
#[derive(Debug)]
pub struct Tcp {
    listener: TcpListener,
    door: Door,
}

impl Tcp {
    /// Listens on `address`.
    ///
    /// # Errors
    /// [`ListenerError::Socket`].
    pub fn bind(address: SocketAddr, door: impl Into<Door>) -> Result<Self, ListenerError> {
        let door = door.into();
        let listener = listen(address).map_err(|error| ListenerError::Socket {
            what: format!("listen on TCP {address}"),
            error,
        })?;
        tracing::info!(listener = door.name(), %address, "listening on TCP");
        Ok(Self { listener, door })
    }

    /// Accepts until the door is closed or the daemon drains.
    ///
    /// # Errors
    /// [`ListenerError::Lost`] if the socket is gone.
    pub async fn serve(self) -> Result<(), ListenerError> {
        let closing = self.door.closing();
        tokio::pin!(closing);
        let mut complaints = Complaints::of(self.door.name());
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut closing => return self.close(),
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

    /// Who is connected already is served, if others still are.
    fn close(&self) -> Result<(), ListenerError> {
        for (socket, address) in accept_waiting(&self.listener, &self.door) {
            let stream = socket.set_nonblocking(true).map(|()| socket.into());
            if let (Ok(stream), Some(peer)) =
                (stream.and_then(TcpStream::from_std), address.as_socket())
            {
                self.start(stream, peer)?;
            }
        }
        Ok(())
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
        start_session(&self.door.gate(), source, (stream, Peer::Ip(peer)))
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
