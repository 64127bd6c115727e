//! Both roles of the protocol by hand: a guest and a host that do exactly what a case wants.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use fence_proto::frame::{Demand, FRAME_LEN};
use fence_proto::{Family, HashAlgorithm, Key, RequestFrame};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::ensure;
use crate::failure::Failure;
use crate::forge;
use crate::net::Namespace;
use crate::wait::{self, PATIENCE};

/// Connects from inside a namespace.
///
/// # Errors
/// The namespace cannot be entered or the connection is refused.
pub fn connect(from: &Namespace, to: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = from.inside(|| TcpStream::connect_timeout(&to, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Listens inside a namespace; accepting does not block.
///
/// # Errors
/// The namespace cannot be entered or the port is busy.
pub fn listen(at: &Namespace, address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = at.inside(|| TcpListener::bind(address))??;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next connection, if one comes in time.
#[must_use]
pub fn accept(listener: &TcpListener, limit: Duration) -> Option<TcpStream> {
    let stream = wait::value("a connection", limit, || listener.accept().ok())
        .ok()?
        .0;
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// A socket that sends datagrams to a multicast group from a guest.
///
/// # Errors
/// The namespace or its interface is not there.
pub fn multicast_sender(from: &Namespace, source: IpAddr) -> Result<UdpSocket, Failure> {
    from.inside(|| {
        let domain = if source.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        match source {
            IpAddr::V4(ip) => {
                socket.set_multicast_if_v4(&ip)?;
                socket.set_multicast_ttl_v4(2)?;
            }
            IpAddr::V6(_) => {
                socket.set_multicast_if_v6(nix::net::if_::if_nametoindex("eth0")?)?;
                socket.set_multicast_hops_v6(2)?;
            }
        }
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
        Ok(UdpSocket::from(socket))
    })?
}

/// A socket that hears everything that is sent to a group, as any guest on the bridge can.
///
/// # Errors
/// The namespace or its interface is not there.
pub fn eavesdropper(
    at: &Namespace,
    interface: &str,
    group: SocketAddr,
) -> Result<UdpSocket, Failure> {
    let any = match Family::of(group.ip()) {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    at.inside(|| {
        let socket = UdpSocket::bind(SocketAddr::new(any, group.port()))?;
        let index = nix::net::if_::if_nametoindex(interface)?;
        match group.ip() {
            IpAddr::V4(ip) => {
                let interface = socket2::InterfaceIndexOrAddress::Index(index);
                socket2::SockRef::from(&socket).join_multicast_v4_n(&ip, &interface)?;
            }
            IpAddr::V6(ip) => socket.join_multicast_v6(&ip, index)?,
        }
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    })?
}

/// Section 4 in the agent's role: challenge, then answer.
///
/// # Errors
/// The host closed or answered wrong.
pub fn handshake_as_guest(
    stream: &mut TcpStream,
    key: &Key,
    auth: HashAlgorithm,
) -> Result<(), Failure> {
    if auth == HashAlgorithm::None {
        return Ok(());
    }
    challenge(stream, key, auth).map_err(|failure| failure.at("challenging the host"))?;
    respond(stream, key, auth).map_err(|failure| failure.at("answering the host"))
}

/// Section 4 in the host's role: answer, then challenge.
///
/// # Errors
/// The agent closed or answered wrong.
pub fn handshake_as_host(
    stream: &mut TcpStream,
    key: &Key,
    auth: HashAlgorithm,
) -> Result<(), Failure> {
    if auth == HashAlgorithm::None {
        return Ok(());
    }
    respond(stream, key, auth).map_err(|failure| failure.at("answering the agent"))?;
    challenge(stream, key, auth).map_err(|failure| failure.at("challenging the agent"))
}

/// Sends a challenge and checks the answer.
///
/// # Errors
/// No answer, or a wrong one.
pub fn challenge(stream: &mut TcpStream, key: &Key, auth: HashAlgorithm) -> Result<(), Failure> {
    let challenge: [u8; 64] = forge::random()?;
    stream.write_all(&challenge)?;
    let answer = read_block(stream)?;
    if key.verify(auth, &challenge, &answer) {
        Ok(())
    } else {
        Err(Failure::new("the answer to the challenge is wrong"))
    }
}

/// Reads a challenge and answers it.
///
/// # Errors
/// The peer closed.
pub fn respond(stream: &mut TcpStream, key: &Key, auth: HashAlgorithm) -> Result<(), Failure> {
    let challenge = read_block(stream)?;
    stream.write_all(&key.digest(auth, &challenge))?;
    Ok(())
}

/// Reads one challenge or answer.
///
/// # Errors
/// The peer closed or said nothing for too long.
pub fn read_block(stream: &mut TcpStream) -> Result<[u8; 64], Failure> {
    let mut block = [0; 64];
    stream.read_exact(&mut block)?;
    Ok(block)
}

/// Reads the reply byte.
///
/// # Errors
/// The peer closed or said nothing for too long.
pub fn read_reply(stream: &mut TcpStream) -> Result<u8, Failure> {
    let mut byte = [0; 1];
    stream.read_exact(&mut byte)?;
    let [byte] = byte;
    Ok(byte)
}

/// Whether the peer has closed or reset the connection, waiting at most `limit` for it.
#[must_use]
pub fn is_closed(stream: &mut TcpStream, limit: Duration) -> bool {
    let mut rest = [0; 256];
    if stream.set_read_timeout(Some(limit)).is_err() {
        return true;
    }
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
                match error.kind() {
                    Interrupted => {}
                    WouldBlock | TimedOut => return false,
                    _ => return true,
                }
            }
        }
    }
}

/// The next frame that somebody sends to the group, with its bytes.
///
/// # Errors
/// None came, or one that this key does not verify.
pub fn next_frame(ear: &UdpSocket, key: &Key) -> Result<(RequestFrame, [u8; FRAME_LEN]), Failure> {
    let mut bytes = [0; FRAME_LEN];
    let length = ear.recv(&mut bytes)?;
    ensure!(length == FRAME_LEN, "the agent sent {length} bytes");
    let demand = Demand {
        key: Some(key),
        weakest: HashAlgorithm::Sha256,
    };
    match demand.accept(&bytes) {
        Ok(frame) => Ok((frame.frame().clone(), bytes)),
        Err(reason) => Err(Failure::new(format!("the agent's frame is bad: {reason}"))),
    }
}

/// Calls the sender of a frame back, as a host does.
///
/// # Errors
/// The frame has no address or nobody listens there.
pub fn call_back(from: &Namespace, frame: &RequestFrame) -> Result<TcpStream, Failure> {
    let Some(address) = frame.callback else {
        return Err(Failure::new("the agent's frame has no call-back address"));
    };
    connect(from, address)
}
