//! The UDP socket of the multicast listener.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::listener::ListenerError;

/// Receive buffer asked of the kernel: room for a burst while this process is not scheduled.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Opens a socket that is bound to the group itself, so that nothing else sent to the port arrives.
pub(super) fn open(group: IpAddr, port: u16) -> Result<Socket, ListenerError> {
    prepare(group, port).map_err(|error| ListenerError::Socket {
        what: format!("listen on multicast {}", SocketAddr::new(group, port)),
        error,
    })
}

fn prepare(group: IpAddr, port: u16) -> io::Result<Socket> {
    let address = SocketAddr::new(group, port);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    // Other hosts' daemons in tests, and the C daemon beside ours, share group and port.
    socket.set_reuse_address(true)?;
    // Else every group that anybody on this machine joined on any interface would be delivered.
    match group {
        IpAddr::V4(_) => socket.set_multicast_all_v4(false)?,
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_multicast_all_v6(false)?;
        }
    }
    // Needs CAP_NET_ADMIN; the other is capped by net.core.rmem_max, which will do.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
