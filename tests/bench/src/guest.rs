//! What guests do in multicast mode: one asks honestly, as the agent does, another floods.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fence_proto::Action;
use fence_proto::frame::{FRAME_LEN, HASH_OFFSET};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use crate::error::BenchError;
use crate::exchange::Peer;
use crate::rows::domain;
use crate::stats::{Samples, figure};
use crate::wire::{Failure, Request, Requests};

/// When the agent sends again: its `retrans` of 20 tenths of a second.
const RESEND: Duration = Duration::from_secs(2);

/// When an honest request counts as not answered: the agent's default time-out.
const PATIENCE: Duration = Duration::from_secs(30);

/// Forged frames that differ from each other.
const FORGERIES: usize = 512;

/// Longest flood, whatever else happens.
const FLOOD_BOUND: Duration = Duration::from_secs(60);

/// Hops a frame may take, as the agent sets it (section 2 of docs/protocol.md).
const HOPS: u32 = 2;

/// A multicast group and its port.
pub(crate) type Group = SocketAddrV4;

/// What came of a number of honest requests.
#[derive(Debug, Default)]
pub(crate) struct Honest {
    /// Time from the first sending to the reply.
    pub(crate) samples: Samples,
    /// Requests that were not answered as they should.
    pub(crate) failures: Vec<Failure>,
    /// Times that a frame had to be sent again.
    pub(crate) resent: usize,
}

/// Makes honest requests one after the other, at most `count` and until `bound` is over.
pub(crate) fn ask(
    mut requests: Requests,
    from: Ipv4Addr,
    (group, verify): (Group, bool),
    (count, bound): (usize, Duration),
) -> Result<Honest, BenchError> {
    let sender = sender(from).map_err(BenchError::io("open a multicast socket"))?;
    let started = Instant::now();
    let mut honest = Honest::default();
    let mut took = Vec::with_capacity(count);
    while took.len() + honest.failures.len() < count && started.elapsed() < bound {
        let listener = TcpListener::bind((from, 0)).map_err(BenchError::io("listen"))?;
        let callback = listener.local_addr().map_err(BenchError::io("listen"))?;
        let request = requests.next(Action::Status, &domain(0), Some(callback));
        let asked = Instant::now();
        let peer = Peer {
            target: group,
            key: requests.key(),
            verify,
            patience: PATIENCE,
        };
        match one(&sender, (listener, &request), &peer, &mut honest.resent) {
            Ok(0) => took.push(asked.elapsed()),
            Ok(reply) => honest.failures.push(Failure::Reply(reply)),
            Err(failure) => honest.failures.push(failure),
        }
    }
    honest.samples = Samples::new(took);
    Ok(honest)
}

fn one(
    sender: &UdpSocket,
    (listener, request): (TcpListener, &Request),
    peer: &Peer<'_>,
    resent: &mut usize,
) -> Result<u8, Failure> {
    let give_up = Instant::now() + PATIENCE;
    sender.send_to(request.frame(), peer.target)?;
    while !readable(&listener, RESEND)? {
        if Instant::now() > give_up {
            return Err(Failure::TimedOut);
        }
        *resent += 1;
        sender.send_to(request.frame(), peer.target)?;
    }
    let (mut stream, _) = listener.accept()?;
    drop(listener);
    prepare(&stream)?;
    peer.authenticate(&mut stream, request)
}

fn prepare(stream: &TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(())
}

fn readable(listener: &TcpListener, wait: Duration) -> Result<bool, Failure> {
    let mut watched = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    let ready = poll(&mut watched, wait).map_err(std::io::Error::from)?;
    Ok(ready > 0)
}

fn sender(from: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_multicast_if_v4(&from)?;
    socket.set_multicast_ttl_v4(HOPS)?;
    socket.set_multicast_loop_v4(true)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    Ok(socket.into())
}

/// Sends frames of good form and bad signature until told to stop; packets and time.
///
/// `rate` is in packets per second; `None` is as fast as one thread can.
pub(crate) fn flood(
    mut requests: Requests,
    from: Ipv4Addr,
    group: Group,
    rate: Option<u32>,
    stop: &Arc<AtomicBool>,
) -> Result<(usize, Duration), BenchError> {
    let sender = sender(from).map_err(BenchError::io("open a multicast socket"))?;
    let callback = SocketAddr::from((from, 1229));
    let forged: Vec<[u8; FRAME_LEN]> = (0..FORGERIES)
        .map(|_| forge(&requests.next(Action::Off, &domain(0), Some(callback))))
        .collect();
    let started = Instant::now();
    let mut sent = 0_usize;
    for frame in forged.iter().cycle() {
        // Looking at the clock for each packet would be a brake.
        if sent.is_multiple_of(32) {
            if stop.load(Ordering::Relaxed) || started.elapsed() > FLOOD_BOUND {
                break;
            }
            pace(started, sent, rate);
        }
        match sender.send_to(frame, group) {
            Ok(_) => sent += 1,
            // The queue of the interface is full: that is the bound of this machine.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock)
                    || error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
            Err(error) => return Err(BenchError::io("flood")(error)),
        }
    }
    Ok((sent, started.elapsed()))
}

fn forge(request: &Request) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame.copy_from_slice(request.frame());
    for byte in frame.iter_mut().skip(HASH_OFFSET).take(32) {
        *byte ^= 0x5a;
    }
    frame
}

fn pace(started: Instant, sent: usize, rate: Option<u32>) {
    let Some(rate) = rate else { return };
    let due = Duration::from_secs_f64(figure(sent) / f64::from(rate.max(1)));
    std::thread::sleep(due.saturating_sub(started.elapsed()));
}
