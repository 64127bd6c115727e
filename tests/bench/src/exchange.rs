//! One exchange at a time, as an agent does it, on a blocking socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use fence_proto::Key;
use fence_proto::host_list::ENTRY_LEN;
use fence_proto::key::DIGEST_FIELD;
use socket2::{Domain, Socket, Type};

use crate::wire::{ALGORITHM, Failure, Request};

/// Reply byte 253: a host list follows.
pub(crate) const LIST_FOLLOWS: u8 = 253;

/// Whom to ask and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer<'a> {
    /// Where the host listens.
    pub(crate) target: SocketAddrV4,
    /// The shared key.
    pub(crate) key: &'a Key,
    /// Whether its response is checked. The floor does not compute one.
    pub(crate) verify: bool,
    /// How long one wait may last.
    pub(crate) patience: Duration,
}

impl Peer<'_> {
    /// Asks once over TCP: the reply byte and the time from before `connect` to the reply.
    pub(crate) fn ask(
        &self,
        request: &Request,
        source: Ipv4Addr,
    ) -> Result<(u8, Duration), Failure> {
        let started = Instant::now();
        let mut stream = self.connect(source)?;
        // Two writes, as the C agent does.
        stream.write_all(request.frame())?;
        let reply = self.authenticate(&mut stream, request)?;
        Ok((reply, started.elapsed()))
    }

    /// Asks for the list: the number of domains and the time until it was complete.
    pub(crate) fn list(
        &self,
        request: &Request,
        source: Ipv4Addr,
    ) -> Result<(usize, Duration), Failure> {
        let started = Instant::now();
        let mut stream = self.connect(source)?;
        stream.write_all(request.frame())?;
        let reply = self.authenticate(&mut stream, request)?;
        if reply != LIST_FOLLOWS {
            return Err(Failure::Reply(reply));
        }
        let entries = read_list(&mut stream)?;
        Ok((entries, started.elapsed()))
    }

    /// Challenge-response in the agent's role (section 4 of docs/protocol.md), then the reply byte.
    pub(crate) fn authenticate(
        &self,
        stream: &mut TcpStream,
        request: &Request,
    ) -> Result<u8, Failure> {
        stream.write_all(request.challenge())?;
        let mut response = [0; DIGEST_FIELD];
        stream.read_exact(&mut response)?;
        if self.verify && response != request.expected {
            return Err(Failure::BadResponse);
        }
        let mut challenge = [0; DIGEST_FIELD];
        stream.read_exact(&mut challenge)?;
        stream.write_all(&self.key.digest(ALGORITHM, &challenge))?;
        let mut reply = [0];
        stream.read_exact(&mut reply)?;
        let [reply] = reply;
        Ok(reply)
    }

    fn connect(&self, source: Ipv4Addr) -> Result<TcpStream, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&SocketAddr::V4(self.target).into(), self.patience)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(self.patience))?;
        Ok(socket.into())
    }
}

/// Reads entries up to the closing one; the byte behind it is not waited for, as by the C agent.
fn read_list(stream: &mut TcpStream) -> Result<usize, Failure> {
    let mut buffer = vec![0; 1 << 18];
    let mut filled = 0;
    let mut entries = 0;
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        let got = match stream.read(free) {
            Ok(0) => return Err(Failure::Closed),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        filled += got;
        let full = filled / ENTRY_LEN * ENTRY_LEN;
        for entry in buffer[..full].chunks_exact(ENTRY_LEN) {
            if entry.iter().all(|byte| *byte == 0) {
                return Ok(entries);
            }
            entries += 1;
        }
        buffer.copy_within(full..filled, 0);
        filled -= full;
    }
}
