//! Asking every host that answers, for `--check`: one question to the group, and each host that calls back is served to
//! its end, with a session of its own. An agent that fences lets one host act; here nothing is acted on.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use fence_proto::Moment;
use fence_proto::agent::{
    AgentConfig, AgentSession, CloseCause, ConnectionId, Event, Failure, Output, Verdict,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use socket2::Socket;

use super::clock::Clock;
use super::connect::poll_timeout;
use super::driver::random;
use super::group::{self, Group};
use super::{NetError, callback, is_transient, peer_name};
use crate::settings::Multicast;

/// Call-backs that are served at the same time.
const MOST_AT_ONCE: usize = 64;

/// Call-backs that are served in all.
const MOST: usize = 1024;

/// How long call-backs are waited for after the second round.
const LINGER: Duration = Duration::from_secs(1);

/// How long those that have called back may still take then.
const GRACE: Duration = Duration::from_secs(5);

const CHUNK: usize = 16 * 1024;

/// The only connection of each session.
const ONLY: ConnectionId = ConnectionId(0);

/// A host, or somebody else, that called back.
#[derive(Debug)]
pub struct HostAnswer {
    /// Its address.
    pub peer: String,
    /// From the first request to the end of its answer.
    pub after: Duration,
    /// What it said, or why that is nothing.
    pub verdict: Result<Verdict, CloseCause>,
}

/// What came of the question.
#[derive(Debug)]
pub struct Survey {
    /// The port that hosts were told to call.
    pub port: u16,
    /// The addresses that they were told, as many as a request left from.
    pub asked_from: usize,
    /// The last thing that kept a request from being sent.
    pub send_error: Option<String>,
    /// Those that called back, in the order in which they were done.
    pub hosts: Vec<HostAnswer>,
}

/// Whether the call-back port can be had now.
///
/// # Errors
/// What the system says.
pub fn try_port(multicast: &Multicast) -> io::Result<()> {
    let any = SocketAddr::new(group::any_address(multicast.group), multicast.port);
    callback::open(any).map(drop)
}

/// The addresses that hosts are told to call.
///
/// # Errors
/// What the system says.
pub fn announced(multicast: &Multicast) -> io::Result<Vec<std::net::IpAddr>> {
    let locals = Group::new(multicast.clone(), multicast.port).local_addresses()?;
    Ok(locals.into_iter().map(|local| local.ip()).collect())
}

/// Asks the group and serves everybody who calls back, for about two rounds of requests.
///
/// # Errors
/// [`NetError`] if the machine does not let us.
pub fn survey(config: &AgentConfig, multicast: &Multicast) -> Result<Survey, NetError> {
    let clock = Clock::start();
    let any = group::any_address(multicast.group);
    let opened = match callback::open(SocketAddr::new(any, multicast.port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            callback::open(SocketAddr::new(any, 0))
        }
        opened => opened,
    };
    let (listener, port) = opened.map_err(|source| NetError::Listen {
        port: multicast.port,
        source,
    })?;
    let asker = Asker {
        config,
        clock,
        session: AgentSession::new(config.clone(), clock.now()),
        group: Group::new(multicast.clone(), port),
        listener,
        calls: Vec::new(),
        accepted: 0,
        survey: Survey {
            port,
            asked_from: 0,
            send_error: None,
            hosts: Vec::new(),
        },
    };
    asker.run(multicast.retransmit)
}

/// A call-back.
struct Call {
    socket: Socket,
    peer: String,
    session: AgentSession,
    unsent: Vec<u8>,
    /// Set when there is nothing more to wait for.
    end: Option<Result<Verdict, CloseCause>>,
}

struct Asker<'c> {
    config: &'c AgentConfig,
    clock: Clock,
    /// Makes the requests. It never hears of a connection.
    session: AgentSession,
    group: Group,
    listener: Socket,
    calls: Vec<Call>,
    accepted: usize,
    survey: Survey,
}

impl Asker<'_> {
    fn run(mut self, retransmit: Duration) -> Result<Survey, NetError> {
        let start = self.clock.now();
        let second = start + retransmit;
        let window = (second + retransmit.min(LINGER) + LINGER).min(self.session.gives_up());
        let end = (window + GRACE).min(self.session.gives_up());
        let mut next_round = Some(start);
        loop {
            let now = self.clock.now();
            if next_round.is_some_and(|due| now >= due) {
                self.send()?;
                next_round = (now < second).then_some(second);
            }
            let over = now >= window && self.calls.is_empty();
            if over || now >= end {
                break;
            }
            let due = next_round.unwrap_or(end);
            let due = if now < window { due.min(window) } else { due };
            self.turn(now.until(due.max(now)))?;
        }
        for call in core::mem::take(&mut self.calls) {
            self.note(call, Ok(Verdict::Failed(Failure::TimedOut)));
        }
        Ok(self.survey)
    }

    fn send(&mut self) -> Result<(), NetError> {
        let session = &self.session;
        let round = self.group.send_round(|callback| {
            random().map(|random| session.request(Some(callback), random).to_vec())
        })?;
        self.survey.asked_from = self.survey.asked_from.max(round.sent);
        self.survey.send_error = round.error;
        Ok(())
    }

    /// Waits for something, and takes it.
    fn turn(&mut self, pause: Duration) -> Result<(), NetError> {
        let calls = self.calls.iter().map(|call| {
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, !call.unsent.is_empty());
            PollFd::new(call.socket.as_fd(), wanted)
        });
        let mut fds: Vec<_> = calls.collect();
        let room = fds.len() < MOST_AT_ONCE && self.accepted < MOST;
        if room {
            fds.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, poll_timeout(pause)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(fds);
        let now = self.clock.now();
        for call in &mut self.calls {
            call.serve(now);
        }
        if room {
            self.accept()?;
        }
        let (ended, open): (Vec<_>, Vec<_>) = core::mem::take(&mut self.calls)
            .into_iter()
            .partition(|call| call.end.is_some());
        self.calls = open;
        for mut call in ended {
            if let Some(end) = call.end.take() {
                self.note(call, end);
            }
        }
        Ok(())
    }

    fn note(&mut self, call: Call, verdict: Result<Verdict, CloseCause>) {
        self.survey.hosts.push(HostAnswer {
            peer: call.peer,
            after: self.clock.now().since_epoch(),
            verdict,
        });
    }

    fn accept(&mut self) -> Result<(), NetError> {
        // One that cannot be accepted is as good as one that did not call.
        let Ok((socket, address)) = self.listener.accept() else {
            return Ok(());
        };
        if socket.set_nonblocking(true).is_err() {
            return Ok(());
        }
        self.accepted = self.accepted.saturating_add(1);
        let now = self.clock.now();
        let mut call = Call {
            socket,
            peer: peer_name(address.as_socket()),
            session: AgentSession::new(self.config.clone(), now),
            unsent: Vec::new(),
            end: None,
        };
        call.report(
            now,
            Event::Accepted {
                connection: ONLY,
                challenge: random()?,
            },
        );
        self.calls.push(call);
        Ok(())
    }
}

impl Call {
    fn report(&mut self, now: Moment, event: Event<'_>) {
        let mut outputs = Vec::new();
        self.session.handle(now, event, &mut outputs);
        for output in outputs {
            match output {
                // The first session asks.
                Output::SendRequest => {}
                Output::Send(_, bytes) => self.unsent.extend_from_slice(&bytes),
                Output::Close(_, cause) => self.end = self.end.take().or(Some(Err(cause))),
                Output::Finish(verdict) => self.end = self.end.take().or(Some(Ok(verdict))),
            }
        }
        self.flush();
    }

    fn serve(&mut self, now: Moment) {
        self.flush();
        let mut chunk = [0; CHUNK];
        match self.socket.read(&mut chunk) {
            Ok(count) if count > 0 => {
                let bytes = chunk.get(..count).unwrap_or_default();
                self.report(now, Event::Bytes(ONLY, bytes));
            }
            Err(error) if is_transient(&error) => {}
            _ => {
                self.report(now, Event::Closed(ONLY));
                let failure = if self.session.tally().without_reply > 0 {
                    Failure::ClosedWithoutReply
                } else {
                    Failure::ClosedUnproven
                };
                let end = Ok(Verdict::Failed(failure));
                self.end = self.end.take().or(Some(end));
            }
        }
    }

    /// Sends what can be sent. An error is left for the next read to find: what the peer said
    /// before it closed still counts.
    fn flush(&mut self) {
        if !super::flush(&mut self.unsent, |bytes| self.socket.write(bytes)) {
            self.unsent.clear();
        }
    }
}
