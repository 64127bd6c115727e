//! The loop: poll, report to the session, do what it says.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use fence_proto::agent::{AgentSession, ConnectionId, Event, Output, Verdict};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use socket2::Socket;

use super::clock::Clock;
use super::connect::poll_timeout;
use super::group::Group;
use super::{Attempt, NetError, is_transient, peer_name};
use crate::console::Console;

/// Read at once from one connection; a long list takes several turns.
const CHUNK: usize = 16 * 1024;

/// A pause after an accept(2) that failed for want of something (descriptors, memory), which would
/// fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Connections accepted before those that are open get a turn again: fewer than the session serves,
/// or a burst of bad ones would push out a good one that has not been heard yet.
const ACCEPTS_PER_TURN: usize = 4;

/// One open connection.
#[derive(Debug)]
struct Peer {
    id: ConnectionId,
    name: String,
    socket: Socket,
    unsent: Vec<u8>,
}

/// The session and its sockets.
#[derive(Debug)]
pub(super) struct Driver {
    session: AgentSession,
    clock: Clock,
    console: Console,
    listener: Option<(Socket, Group)>,
    peers: Vec<Peer>,
    next_id: u64,
    outputs: Vec<Output>,
    /// See [`Attempt`].
    addresses: usize,
    send_error: Option<String>,
}

impl Driver {
    pub(super) const fn new(session: AgentSession, clock: Clock, console: Console) -> Self {
        Self {
            session,
            clock,
            console,
            listener: None,
            peers: Vec::new(),
            next_id: 0,
            outputs: Vec::new(),
            addresses: 0,
            send_error: None,
        }
    }

    /// Multicast: takes call-backs from this listener, sends requests to this group.
    pub(super) fn listen(&mut self, listener: Socket, group: Group) {
        self.listener = Some((listener, group));
    }

    /// Stream: this is the connection.
    pub(super) fn connect(&mut self, socket: Socket, name: String) -> Result<(), NetError> {
        self.console.debug(1, format_args!("connected to {name}"));
        let connection = self.add_peer(socket, name);
        let event = Event::Connected {
            connection,
            challenge: random()?,
            random: random()?,
        };
        self.report(event);
        Ok(())
    }

    /// Tells the session.
    pub(super) fn report(&mut self, event: Event<'_>) {
        let now = self.clock.now();
        self.session.handle(now, event, &mut self.outputs);
    }

    /// Runs the session to its end.
    pub(super) fn run(mut self) -> Result<Attempt, NetError> {
        loop {
            if let Some(verdict) = self.carry_out()? {
                return Ok(self.attempt(verdict));
            }
            let (listener_ready, ready) = self.wait()?;
            for id in ready {
                self.read(id);
            }
            if listener_ready {
                self.accept()?;
            }
            self.report(Event::Tick);
        }
    }

    fn attempt(&self, verdict: Verdict) -> Attempt {
        Attempt {
            verdict,
            tally: self.session.tally(),
            port: self
                .listener
                .as_ref()
                .map(|(_, group)| group.callback_port()),
            addresses: self.addresses,
            send_error: self.send_error.clone(),
        }
    }

    /// Waits for sockets or the session's deadline: whether the listener is ready, and which
    /// connections are.
    fn wait(&self) -> Result<(bool, Vec<ConnectionId>), NetError> {
        let listener = self.listener.iter();
        let listener =
            listener.map(|(listener, _)| PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        let peers = self.peers.iter().map(|peer| {
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, !peer.unsent.is_empty());
            PollFd::new(peer.socket.as_fd(), wanted)
        });
        let mut fds: Vec<_> = peers.chain(listener).collect();
        let left = self.clock.now().until(self.session.deadline());
        match poll(&mut fds, poll_timeout(left)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, Vec::new())),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let ready = self.peers.iter().zip(&fds).filter(|(_, fd)| is_ready(fd));
        let ready = ready.map(|(peer, _)| peer.id).collect();
        Ok((fds.get(self.peers.len()).is_some_and(is_ready), ready))
    }

    fn accept(&mut self) -> Result<(), NetError> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some((listener, _)) = &self.listener else {
                return Ok(());
            };
            let (socket, address) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    self.console
                        .debug(1, format_args!("cannot accept a call-back: {error}"));
                    thread::sleep(ACCEPT_PAUSE);
                    return Ok(());
                }
            };
            let name = peer_name(address.as_socket());
            if socket.set_nonblocking(true).is_err() || socket.set_tcp_nodelay(true).is_err() {
                continue;
            }
            self.console.debug(1, format_args!("call-back from {name}"));
            let connection = self.add_peer(socket, name);
            let challenge = random()?;
            self.report(Event::Accepted {
                connection,
                challenge,
            });
            // Connections that the session closes free their descriptors before the next accept.
            if self.has_finished()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does what is due, except for the end, which stays for the loop.
    fn has_finished(&mut self) -> Result<bool, NetError> {
        if let Some(verdict) = self.carry_out()? {
            self.outputs.push(Output::Finish(verdict));
            return Ok(true);
        }
        Ok(false)
    }

    fn add_peer(&mut self, socket: Socket, name: String) -> ConnectionId {
        let id = ConnectionId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.peers.push(Peer {
            id,
            name,
            socket,
            unsent: Vec::new(),
        });
        id
    }

    fn read(&mut self, id: ConnectionId) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == id) else {
            return;
        };
        peer.flush();
        let mut chunk = [0; CHUNK];
        match peer.socket.read(&mut chunk) {
            Ok(count) if count > 0 => {
                let bytes = chunk.get(..count).unwrap_or_default();
                self.report(Event::Bytes(id, bytes));
            }
            Err(error) if is_transient(&error) => {}
            ended => {
                let name = &peer.name;
                match ended {
                    Err(error) => self.console.debug(1, format_args!("{name}: {error}")),
                    Ok(_) => self
                        .console
                        .debug(1, format_args!("{name} closed the connection")),
                }
                self.peers.retain(|peer| peer.id != id);
                self.report(Event::Closed(id));
            }
        }
    }

    /// Does what the session said; its verdict, if that was the last thing it said.
    fn carry_out(&mut self) -> Result<Option<Verdict>, NetError> {
        for output in core::mem::take(&mut self.outputs) {
            match output {
                Output::SendRequest => self.send_request()?,
                Output::Send(id, bytes) => {
                    if let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == id) {
                        peer.unsent.extend_from_slice(&bytes);
                    }
                }
                Output::Close(id, cause) => {
                    if let Some(peer) = self.peers.iter().find(|peer| peer.id == id) {
                        self.console
                            .debug(1, format_args!("closing {}: {cause}", peer.name));
                    }
                    self.peers.retain(|peer| peer.id != id);
                }
                Output::Finish(verdict) => return Ok(Some(verdict)),
            }
        }
        for peer in &mut self.peers {
            peer.flush();
        }
        Ok(None)
    }

    fn send_request(&mut self) -> Result<(), NetError> {
        let Some((_, group)) = &self.listener else {
            return Ok(());
        };
        let console = self.console;
        let round = group.send_round(|callback| {
            console.debug(2, format_args!("request: call back at {callback}"));
            random().map(|random| self.session.request(Some(callback), random).to_vec())
        })?;
        let count = round.sent;
        console.debug(1, format_args!("request sent from {count} addresses"));
        if let Some(error) = &round.error {
            console.debug(1, format_args!("{error}"));
        }
        self.addresses = self.addresses.max(round.sent);
        self.send_error = round.error;
        Ok(())
    }
}

impl Peer {
    /// Sends what can be sent. An error is left for the next read to find: what the peer said
    /// before it closed still counts.
    fn flush(&mut self) {
        if !super::flush(&mut self.unsent, |bytes| self.socket.write(bytes)) {
            self.unsent.clear();
        }
    }
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], NetError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
