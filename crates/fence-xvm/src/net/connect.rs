//! Connecting to one host, within the total time-out.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::clock::Clock;
use super::remaining;

/// Connects by TCP.
pub(super) fn tcp(address: SocketAddr, clock: Clock, timeout: Duration) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    connect(socket, &address.into(), clock, timeout)
}

/// Connects by vsock.
pub(super) fn vsock(cid: u32, port: u32, clock: Clock, timeout: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    connect(socket, &SockAddr::vsock(cid, port), clock, timeout)
}

fn connect(
    socket: Socket,
    address: &SockAddr,
    clock: Clock,
    timeout: Duration,
) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    match socket.connect(address) {
        Ok(()) => return Ok(socket),
        Err(error) if in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    loop {
        let left = remaining(clock, timeout);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, poll_timeout(left)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match socket.take_error()? {
        None => Ok(socket),
        Some(error) => Err(error),
    }
}

fn in_progress(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EINPROGRESS | Errno::EINTR | Errno::EAGAIN)
    )
}

/// For poll(2), which counts in milliseconds: rounded up, or the last one would be spent spinning.
pub(super) fn poll_timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|millis| PollTimeout::try_from(millis).ok())
        .unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn poll_rounds_up() {
        assert_eq!(poll_timeout(Duration::ZERO), PollTimeout::ZERO);
        assert_eq!(poll_timeout(Duration::from_nanos(1)).as_millis(), Some(1));
        assert_eq!(
            poll_timeout(Duration::from_millis(20)).as_millis(),
            Some(20)
        );
        assert_eq!(poll_timeout(Duration::MAX), PollTimeout::MAX);
    }

    #[test]
    fn refused_connection_is_an_error_at_once() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = tcp(port, Clock::start(), Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
