//! The floor: a server that moves the same bytes and does nothing else.
//!
//! It answers with constants, computes no hash, checks nothing and knows no domain. A daemon that
//! must serve many at once cannot be cheaper than one thread on an epoll instance, so this is one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use fence_proto::frame::FRAME_LEN;
use fence_proto::host_list::{Entry, STATE_RUNNING, encode};
use fence_proto::key::DIGEST_FIELD;
use fence_proto::{Action, Uuid};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use crate::error::BenchError;
use crate::exchange::LIST_FOLLOWS;
use crate::wire::{HOST_OPENING_LEN, OPENING_LEN};

/// Everything an agent sends.
const ALL_LEN: usize = OPENING_LEN + DIGEST_FIELD;

/// Connections that the kernel keeps for the server.
const BACKLOG: i32 = 1024;

/// The epoll datum of the listener; connections have their descriptor's number.
const LISTENER: u64 = u64::MAX;

struct Connection {
    stream: TcpStream,
    received: [u8; ALL_LEN],
    filled: usize,
    opened: bool,
    /// What is left of a list that did not fit into the socket buffer.
    sent: usize,
}

/// What becomes of a connection.
#[derive(PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

/// Serves on a port of 127.0.0.1 until it is killed. A list has `domains` entries.
pub(crate) fn serve(port: u16, domains: usize) -> Result<(), BenchError> {
    let listener = listen(port).map_err(BenchError::io(format!("listen on port {port}")))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
        .map_err(BenchError::io("make an epoll instance"))?;
    let readable = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
    epoll
        .add(listener.as_fd(), readable)
        .map_err(BenchError::io("watch the listener"))?;
    let list = constant_list(domains);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let ready = epoll
            .wait(&mut events, EpollTimeout::NONE)
            .map_err(BenchError::io("wait for connections"))?;
        for event in &events[..ready] {
            if event.data() == LISTENER {
                accept(&listener, &epoll, &mut connections);
                continue;
            }
            let slot = usize::try_from(event.data())
                .ok()
                .and_then(|index| connections.get_mut(index));
            if let Some(slot) = slot
                && let Some(connection) = slot
                && connection.advance(&list) == Next::Close
            {
                *slot = None;
            }
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, epoll: &Epoll, connections: &mut Vec<Option<Connection>>) {
    while let Ok((stream, _)) = listener.accept() {
        let Ok(index) = usize::try_from(stream.as_raw_fd()) else {
            continue;
        };
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, u64::try_from(index).unwrap_or(LISTENER));
        let prepared = stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok();
        if !prepared || epoll.add(stream.as_fd(), event).is_err() {
            continue;
        }
        if connections.len() <= index {
            connections.resize_with(index + 1, || None);
        }
        connections[index] = Some(Connection {
            stream,
            received: [0; ALL_LEN],
            filled: 0,
            opened: false,
            sent: 0,
        });
    }
}

impl Connection {
    fn advance(&mut self, list: &[u8]) -> Next {
        while self.filled < ALL_LEN {
            match self.stream.read(&mut self.received[self.filled..]) {
                Ok(0) => return Next::Close,
                Ok(got) => self.filled += got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Keep,
                Err(_) => return Next::Close,
            }
            if self.filled >= OPENING_LEN && !self.opened {
                self.opened = true;
                if self.stream.write_all(&[7; HOST_OPENING_LEN]).is_err() {
                    return Next::Close;
                }
            }
        }
        if self.received.first() == Some(&Action::List.to_wire()) {
            return self.send_list(list);
        }
        // Whether the byte arrives or not, the connection is over.
        let _ignored = self.stream.write(&[0]);
        Next::Close
    }

    fn send_list(&mut self, list: &[u8]) -> Next {
        while let Some(rest) = list.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(put) => self.sent += put,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Keep,
                Err(_) => return Next::Close,
            }
        }
        Next::Close
    }
}

/// Serves a multicast group: calls back whoever asks for a status, and checks nothing. The forged
/// frames of the bench ask for something else, and are dropped for that.
pub(crate) fn serve_group(
    interface: Ipv4Addr,
    group: Ipv4Addr,
    port: u16,
) -> Result<(), BenchError> {
    let socket = join(interface, group, port).map_err(BenchError::io(format!("join {group}")))?;
    let mut frame = [0; FRAME_LEN];
    loop {
        let got = socket.recv(&mut frame).map_err(BenchError::io("receive"))?;
        if got == FRAME_LEN && frame.first() == Some(&Action::Status.to_wire()) {
            // A guest that is gone is no error of the server.
            let _ignored = call_back(&frame);
        }
    }
}

fn join(interface: Ipv4Addr, group: Ipv4Addr, port: u16) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((group, port)).into())?;
    socket.join_multicast_v4(&group, &interface)?;
    Ok(socket.into())
}

/// The address and the port are where section 1 of docs/protocol.md puts them.
fn call_back(frame: &[u8; FRAME_LEN]) -> std::io::Result<()> {
    let ip = Ipv4Addr::new(frame[68], frame[69], frame[70], frame[71]);
    let port = u16::from_le_bytes([frame[96], frame[97]]);
    let mut stream = TcpStream::connect((ip, port))?;
    stream.set_nodelay(true)?;
    let mut received = [0; DIGEST_FIELD];
    stream.read_exact(&mut received)?;
    stream.write_all(&[7; HOST_OPENING_LEN])?;
    stream.read_exact(&mut received)?;
    stream.write_all(&[0])
}

fn constant_list(domains: usize) -> Vec<u8> {
    let entry = Entry {
        name: "domain-of-the-floor".to_owned(),
        uuid: Uuid([1; 16]),
        state: STATE_RUNNING,
    };
    let mut bytes = vec![LIST_FOLLOWS];
    bytes.extend(encode(&vec![entry; domains]));
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;
    use std::thread;
    use std::time::{Duration, Instant};

    use fence_proto::Key;

    use super::*;
    use crate::exchange::Peer;
    use crate::host::free_port;
    use crate::rows::domain;
    use crate::swarm::{Swarm, Work};
    use crate::wire::{Failure, Request, Requests};

    /// Starts a floor that lasts as long as the test program; the port it listens on.
    fn start(domains: usize) -> u16 {
        let port = free_port().unwrap();
        thread::spawn(move || serve(port, domains));
        let give_up = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < give_up, "the floor does not listen");
        }
        port
    }

    fn peer(port: u16, requests: &Requests, verify: bool) -> Peer<'_> {
        Peer {
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            key: requests.key(),
            verify,
            patience: Duration::from_secs(10),
        }
    }

    fn requests() -> Requests {
        Requests::new(&Key::from_bytes(b"0123456789").unwrap()).unwrap()
    }

    #[test]
    fn floor_answers_status_and_list_to_who_does_not_check() {
        let (port, mut requests) = (start(1000), requests());
        let asker = requests.clone();
        let status = requests.next(Action::Status, &domain(0), None);
        let list = requests.next(Action::List, &domain(0), None);
        let peer = peer(port, &asker, false);
        assert_eq!(peer.ask(&status, Ipv4Addr::LOCALHOST).unwrap().0, 0);
        assert_eq!(peer.list(&list, Ipv4Addr::LOCALHOST).unwrap().0, 1000);
    }

    #[test]
    fn client_that_checks_is_not_content_with_the_floor() {
        let (port, mut requests) = (start(0), requests());
        let asker = requests.clone();
        let status = requests.next(Action::Status, &domain(0), None);
        let outcome = peer(port, &asker, true).ask(&status, Ipv4Addr::LOCALHOST);
        assert_eq!(outcome.err(), Some(Failure::BadResponse));
    }

    struct Three {
        requests: Requests,
        replies: Vec<usize>,
    }

    impl Work for Three {
        fn next(&mut self, client: usize) -> Option<Request> {
            let request = self.requests.next(Action::Status, &domain(client), None);
            (self.replies[client] < 3).then_some(request)
        }

        fn done(&mut self, client: usize, outcome: Result<u8, Failure>, _took: Duration) {
            assert_eq!(outcome, Ok(0));
            self.replies[client] += 1;
        }
    }

    #[test]
    fn every_client_of_a_swarm_gets_all_its_answers() {
        let (port, requests) = (start(0), requests());
        let mut work = Three {
            requests: requests.fork().unwrap(),
            replies: vec![0; 40],
        };
        let swarm = Swarm::new(peer(port, &requests, false), 40, 5, &mut work).unwrap();
        swarm.run(Duration::from_secs(20)).unwrap();
        assert_eq!(work.replies, [3; 40]);
    }
}
