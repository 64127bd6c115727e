//! The TCP port on which hosts call back.
//!
//! Two agents in one guest (monitor and fence, say) want the same port (row F13). The second waits:
//! the first is done in a moment, and the guest's firewall may let through this port only. Half of
//! the time-out is spent waiting; then any free port will do, since the request tells the hosts which
//! one it is. `SO_REUSEPORT` would let two agents steal each other's call-backs, so it is never set;
//! `SO_REUSEADDR` lets us pass by connections in TIME-WAIT.

use core::time::Duration;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

use super::clock::Clock;
use super::{NetError, remaining};
use crate::console::Console;

/// Between two tries for a port in use.
const RETRY: Duration = Duration::from_millis(50);

/// Call-backs that the kernel keeps until we accept them.
const BACKLOG: i32 = 64;

/// Opens the listener and says on which port.
pub(super) fn listen(
    any: IpAddr,
    port: u16,
    timeout: Duration,
    clock: Clock,
    console: Console,
) -> Result<(Socket, u16), NetError> {
    let mut told = false;
    loop {
        let patience = remaining(clock, timeout.checked_div(2).unwrap_or(timeout));
        let wanted = if patience.is_zero() { 0 } else { port };
        match open(SocketAddr::new(any, wanted)) {
            Ok((listener, actual)) => {
                console.debug(
                    1,
                    format_args!("waiting for call-backs on TCP port {actual}"),
                );
                return Ok((listener, actual));
            }
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                return Err(NetError::Listen {
                    port: wanted,
                    source: error,
                });
            }
            Err(_) if remaining(clock, timeout).is_zero() => return Err(NetError::PortBusy(port)),
            Err(_) => {}
        }
        if !told {
            told = true;
            console.debug(1, format_args!("TCP port {port} is in use, waiting for it"));
        }
        thread::sleep(RETRY.min(patience.max(Duration::from_millis(1))));
    }
}

/// Opens a listener there, on any port for port 0, and says on which.
pub(super) fn open(address: SocketAddr) -> io::Result<(Socket, u16)> {
    let listener = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    listener.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 agents have the port for themselves.
        listener.set_only_v6(true)?;
    }
    listener.set_nonblocking(true)?;
    listener.bind(&address.into())?;
    listener.listen(BACKLOG)?;
    let port = listener
        .local_addr()?
        .as_socket()
        .map_or(0, |local| local.port());
    Ok((listener, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;
    use std::net::Ipv4Addr;

    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn listen_on(port: u16, timeout: Duration) -> Result<(Socket, u16), NetError> {
        listen(ANY, port, timeout, Clock::start(), Console::new(Role::Xvm))
    }

    #[test]
    fn busy_port_is_waited_for() {
        let (first, port) = open(SocketAddr::new(ANY, 0)).unwrap();
        let second = thread::spawn(move || listen_on(port, Duration::from_secs(20)));
        thread::sleep(Duration::from_millis(20));
        drop(first);
        let (_second, got) = second.join().unwrap().unwrap();
        assert_eq!(got, port);
    }

    #[test]
    fn port_that_stays_busy_is_replaced_at_half_time() {
        let (_first, port) = open(SocketAddr::new(ANY, 0)).unwrap();
        let (_second, got) = listen_on(port, Duration::from_millis(200)).unwrap();
        assert_ne!(got, port);
    }
}
