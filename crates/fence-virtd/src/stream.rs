//! What a session needs of its connection, whichever listener it came through.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};

use socket2::SockRef;
use tokio::net::TcpStream;

/// A connected stream that does not block.
pub trait Stream: Send + Sync + 'static {
    /// Resolves when there is something to read, an end or an error included.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Resolves when there is room to write.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is there.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes what there is room for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is no room.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Tells the peer that nothing more comes.
    ///
    /// # Errors
    /// The peer is gone.
    fn finish(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }

    async fn writable(&self) -> io::Result<()> {
        Self::writable(self).await
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn finish(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(Shutdown::Write)
    }
}

/// Writes all of it.
///
/// # Errors
/// The peer is gone.
pub(crate) async fn write_all(stream: &impl Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what comes next; 0 at the end. Cancel-safe.
///
/// # Errors
/// The peer is gone.
pub(crate) async fn read_some(stream: &impl Stream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// Who is at the other end, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// An address and port.
    Ip(SocketAddr),
    /// A vsock CID and port.
    Vsock(u32, u32),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Vsock(cid, port) => write!(f, "vsock:{cid}:{port}"),
        }
    }
}
