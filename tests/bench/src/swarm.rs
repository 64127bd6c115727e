//! Many clients at once on one thread: non-blocking sockets and epoll, so that the daemon and not
//! the harness is what is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fence_proto::key::DIGEST_FIELD;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use crate::error::BenchError;
use crate::exchange::Peer;
use crate::wire::{ALGORITHM, Failure, HOST_OPENING_LEN, Request};

/// How often overdue and failed clients are looked at, in milliseconds.
const SWEEP_MILLIS: u8 = 10;

/// Linux: the connection is being made.
const EINPROGRESS: i32 = 115;

/// What the clients of a swarm are to do.
pub(crate) trait Work {
    /// The next request of a client, or `None` if it has nothing left to do.
    fn next(&mut self, client: usize) -> Option<Request>;

    /// How a client's request ended, and after how long.
    fn done(&mut self, client: usize, outcome: Result<u8, Failure>, took: Duration);
}

/// One client's connection.
struct Session {
    stream: TcpStream,
    request: Request,
    started: Instant,
    opened: bool,
    received: [u8; HOST_OPENING_LEN + 1],
    filled: usize,
}

/// What a client does at the moment.
enum Slot {
    /// It failed; it tries again at the next sweep, so that errors do not make a hot loop.
    Resting,
    /// It waits for the host.
    Asking(Box<Session>),
    /// It has nothing left to do.
    Finished,
}

/// A number of clients of one host.
pub(crate) struct Swarm<'a, W> {
    peer: Peer<'a>,
    network: u8,
    epoll: Epoll,
    slots: Vec<Slot>,
    work: &'a mut W,
}

impl<'a, W: Work> Swarm<'a, W> {
    /// Makes clients that differ in their source address, 127.`network`.x.y.
    pub(crate) fn new(
        peer: Peer<'a>,
        clients: usize,
        network: u8,
        work: &'a mut W,
    ) -> Result<Self, BenchError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(BenchError::io("make an epoll instance"))?;
        let slots = (0..clients).map(|_| Slot::Resting).collect();
        Ok(Self {
            peer,
            network,
            epoll,
            slots,
            work,
        })
    }

    /// Runs until every client is finished or the time is over; the time it took.
    pub(crate) fn run(mut self, bound: Duration) -> Result<Duration, BenchError> {
        let started = Instant::now();
        let mut events = [EpollEvent::empty(); 64];
        let mut swept = started;
        self.sweep();
        while self.busy() && started.elapsed() < bound {
            let ready = match self
                .epoll
                .wait(&mut events, EpollTimeout::from(SWEEP_MILLIS))
            {
                Err(nix::Error::EINTR) => 0,
                other => other.map_err(BenchError::io("wait for clients"))?,
            };
            for event in &events[..ready] {
                if let Ok(client) = usize::try_from(event.data()) {
                    self.advance(client);
                }
            }
            if swept.elapsed() >= Duration::from_millis(u64::from(SWEEP_MILLIS)) {
                swept = Instant::now();
                self.sweep();
            }
        }
        Ok(started.elapsed())
    }

    fn busy(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| !matches!(slot, Slot::Finished))
    }

    /// Starts those that rest and gives up on those that waited too long.
    fn sweep(&mut self) {
        for client in 0..self.slots.len() {
            match &self.slots[client] {
                Slot::Resting => self.start(client),
                Slot::Asking(session) if session.started.elapsed() > self.peer.patience => {
                    let took = session.started.elapsed();
                    self.work.done(client, Err(Failure::TimedOut), took);
                    self.slots[client] = Slot::Resting;
                }
                Slot::Asking(_) | Slot::Finished => {}
            }
        }
    }

    fn start(&mut self, client: usize) {
        let Some(request) = self.work.next(client) else {
            self.slots[client] = Slot::Finished;
            return;
        };
        let started = Instant::now();
        match self.connect(client, request, started) {
            Ok(session) => self.slots[client] = Slot::Asking(Box::new(session)),
            Err(failure) => {
                self.work.done(client, Err(failure), started.elapsed());
                self.slots[client] = Slot::Resting;
            }
        }
    }

    fn connect(
        &self,
        client: usize,
        request: Request,
        started: Instant,
    ) -> Result<Session, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        let source = SocketAddr::from((source(self.network, client), 0));
        socket.bind(&source.into())?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&SocketAddr::V4(self.peer.target).into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error.into()),
            _ => {}
        }
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, u64::try_from(client).unwrap_or(u64::MAX));
        self.epoll
            .add(socket.as_fd(), event)
            .map_err(std::io::Error::from)?;
        Ok(Session {
            stream: socket.into(),
            request,
            started,
            opened: false,
            received: [0; HOST_OPENING_LEN + 1],
            filled: 0,
        })
    }

    fn advance(&mut self, client: usize) {
        let Some(Slot::Asking(session)) = self.slots.get_mut(client) else {
            return;
        };
        let outcome = match session.advance(&self.peer) {
            Ok(None) => return,
            Ok(Some(reply)) => Ok(reply),
            Err(failure) => Err(failure),
        };
        let took = session.started.elapsed();
        self.slots[client] = Slot::Resting;
        self.work.done(client, outcome, took);
        if outcome.is_ok() {
            self.start(client);
        }
    }
}

impl Session {
    /// Does what can be done without waiting: the reply byte, once it is there.
    fn advance(&mut self, peer: &Peer<'_>) -> Result<Option<u8>, Failure> {
        if !self.opened {
            if let Some(error) = self.stream.take_error()? {
                return Err(error.into());
            }
            // What fits into an empty socket buffer is written at once or not at all.
            match self.stream.write_all(&self.request.opening) {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(None);
                }
                other => other?,
            }
            self.opened = true;
        }
        while let Some(free) = self.received.get_mut(self.filled..) {
            match self.stream.read(free) {
                Ok(0) => return Err(Failure::Closed),
                Ok(got) => self.take(got, peer)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            if self.filled > HOST_OPENING_LEN {
                return Ok(self.received.last().copied());
            }
        }
        Ok(None)
    }

    fn take(&mut self, got: usize, peer: &Peer<'_>) -> Result<(), Failure> {
        let before = self.filled;
        self.filled += got;
        if before < HOST_OPENING_LEN && self.filled >= HOST_OPENING_LEN {
            let (response, challenge) = self.received[..HOST_OPENING_LEN].split_at(DIGEST_FIELD);
            if peer.verify && response != self.request.expected {
                return Err(Failure::BadResponse);
            }
            let answer = peer.key.digest(ALGORITHM, challenge);
            self.stream.write_all(&answer)?;
        }
        Ok(())
    }
}

/// The source address of a client: each client is a guest of its own.
pub(crate) fn source(network: u8, client: usize) -> Ipv4Addr {
    let [low, high, ..] = (client + 1).to_le_bytes();
    Ipv4Addr::new(127, network, high, low)
}
