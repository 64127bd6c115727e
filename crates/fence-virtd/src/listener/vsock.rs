//! The vsock listener (section 3): guests connect through their hypervisor, without a network.
//!
//! On socket2 and tokio's own readiness: the crate for it, tokio-vsock, is well kept, but brings two
//! more for what is a page here, and its stream cannot be tried without waiting.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};

use fence_proto::Source;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::time::sleep;

use super::{
    ACCEPT_PAUSE, BACKLOG, Complaints, ListenerError, accept_waiting, socket_is_lost, start_session,
};
use crate::descriptor::Watched;
use crate::door::Door;
use crate::stream::{Peer, Stream};

/// VMADDR_CID_ANY: whatever CID this machine is known by.
const ANY_CID: u32 = u32::MAX;

/// A listening socket, ready to serve.
#[derive(Debug)]
pub struct Vsock {
    listener: Watched,
    door: Door,
}

impl Vsock {
    /// Listens on `port`.
    ///
    /// # Errors
    /// [`ListenerError::NoVsock`] if the kernel has none, [`ListenerError::Socket`] for anything else.
    pub fn bind(port: u32, door: impl Into<Door>) -> Result<Self, ListenerError> {
        let door = door.into();
        let listener = listen(port).map_err(|error| {
            let errno = error.raw_os_error().map(Errno::from_raw);
            match errno {
                Some(Errno::EAFNOSUPPORT | Errno::ESOCKTNOSUPPORT | Errno::ENODEV) => {
                    ListenerError::NoVsock(error)
                }
                _ => ListenerError::Socket {
                    what: format!("listen on vsock port {port}"),
                    error,
                },
            }
        })?;
        if door.gate().policy().access().names_guests() {
            door.hub().backend.expect_guests();
        }
        tracing::info!(listener = door.name(), port, "listening on vsock");
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
                accepted = accept(&self.listener) => accepted,
            };
            match accepted {
                Ok((stream, cid, port)) => self.start(stream, (cid, port))?,
                Err(error) if socket_is_lost(&error) => {
                    let what = "vsock listener's";
                    return Err(ListenerError::Lost { what, error });
                }
                Err(error) => {
                    complaints.say("accepting a vsock connection", &error);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Who is connected already is served, if others still are.
    fn close(&self) -> Result<(), ListenerError> {
        for (socket, address) in accept_waiting(self.listener.get_ref(), &self.door) {
            if let (Ok(stream), Some(peer)) = (VsockStream::new(socket), address.as_vsock_address())
            {
                self.start(stream, peer)?;
            }
        }
        Ok(())
    }

    fn start(&self, stream: VsockStream, (cid, port): (u32, u32)) -> Result<(), ListenerError> {
        let connection = (stream, Peer::Vsock(cid, port));
        start_session(&self.door.gate(), Source::Cid(cid), connection)
    }
}

fn listen(port: u32) -> io::Result<Watched> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::vsock(ANY_CID, port))?;
    socket.listen(BACKLOG)?;
    Watched::new(OwnedFd::from(socket), Interest::READABLE)
}

/// The next connection, with the CID and port that it comes from.
async fn accept(listener: &Watched) -> io::Result<(VsockStream, u32, u32)> {
    let accept = |listener: &OwnedFd| SockRef::from(listener).accept();
    let (socket, address) = listener.async_io(Interest::READABLE, accept).await?;
    // The kernel says who it is of every connection of this family.
    let (cid, port) = address
        .as_vsock_address()
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok((VsockStream::new(socket)?, cid, port))
}

/// A connection.
#[derive(Debug)]
pub struct VsockStream(Watched);

impl VsockStream {
    /// Takes a connected stream socket.
    ///
    /// # Errors
    /// The kernel's word if it cannot be watched.
    pub fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(Self(Watched::new(OwnedFd::from(socket), interest)?))
    }
}

impl Stream for VsockStream {
    async fn readable(&self) -> io::Result<()> {
        self.0
            .readable()
            .await
            .map(|mut ready| ready.retain_ready())
    }

    async fn writable(&self) -> io::Result<()> {
        self.0
            .writable()
            .await
            .map(|mut ready| ready.retain_ready())
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_io(Interest::READABLE, |socket| {
            Ok(recv(socket.as_raw_fd(), buffer, MsgFlags::empty())?)
        })
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_io(Interest::WRITABLE, |socket| {
            Ok(send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
        })
    }

    fn finish(&self) -> io::Result<()> {
        SockRef::from(self.0.get_ref()).shutdown(Shutdown::Write)
    }
}
