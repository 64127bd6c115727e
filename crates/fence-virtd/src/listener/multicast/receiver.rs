//! The thread that takes datagrams off the socket.
//!
//! Verifying a frame costs a microsecond or two, less than receiving it. One thread that does only
//! this keeps up with what a guest can send, and what it drops costs nobody else anything.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fence_proto::Reason;
use fence_proto::frame::FRAME_LEN;
use fence_proto::host::{CallBack, Datagram, datagram};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use nix::sys::time::TimeSpec;
use socket2::Socket;
use tokio::sync::mpsc;

use crate::door::Door;
use crate::gate::Gate;
use crate::listener::{Complaints, ListenerError, socket_is_lost};

/// Enough for a frame and to see that something is longer.
const BUFFER: usize = FRAME_LEN + 1;

/// The stack is hardly used.
const STACK: usize = 128 * 1024;

/// How long receiving pauses after an error, so that a lasting one costs no processor time.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Receiver {
    pub(super) socket: Arc<Socket>,
    pub(super) door: Door,
    /// Requests, each with the gate that it has passed.
    pub(super) requests: mpsc::Sender<(Arc<Gate>, CallBack)>,
    /// Told when the socket is lost.
    pub(super) lost: mpsc::Sender<io::Error>,
}

/// The threads of one listener. Dropping it ends them and their sockets.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    sockets: Vec<Arc<Socket>>,
    over: Arc<AtomicBool>,
}

impl Receivers {
    /// Starts a thread. It ends when the socket is lost, or with the others.
    pub(super) fn start(&mut self, receiver: Receiver) -> Result<(), ListenerError> {
        self.sockets.push(Arc::clone(&receiver.socket));
        start(receiver, Arc::clone(&self.over))
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        for socket in &self.sockets {
            // Says ENOTCONN, and wakes the thread that waits in recvmsg all the same.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn start(receiver: Receiver, over: Arc<AtomicBool>) -> Result<(), ListenerError> {
    thread::Builder::new()
        .name("multicast".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            if let Some(error) = receiver.run(&over) {
                // One loss is enough; and nobody listens if the daemon is ending.
                let _ = receiver.lost.try_send(error);
            }
        })
        .map(drop)
        .map_err(|error| ListenerError::Socket {
            what: "start the multicast receiver's thread".to_owned(),
            error,
        })
}

struct Received {
    len: usize,
    from: Option<SocketAddr>,
    age: Duration,
}

impl Receiver {
    fn run(&self, over: &AtomicBool) -> Option<io::Error> {
        let mut buffer = [0; BUFFER];
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut complaints = Complaints::of(self.door.name());
        loop {
            let received = receive(&self.socket, &mut buffer, &mut control);
            if over.load(Ordering::Acquire) {
                return None;
            }
            match received {
                Ok(received) => self.sift(buffer.get(..received.len).unwrap_or(&buffer), &received),
                Err(error) if socket_is_lost(&error) => return Some(error),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    complaints.say("receiving a datagram", &error);
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn sift(&self, bytes: &[u8], received: &Received) {
        let from = received
            .from
            .unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let age = received.age;
        let gate = self.door.gate();
        let now = gate.hub.clock.now();
        match datagram(gate.policy(), now, Datagram { bytes, from, age }) {
            Ok(call) => {
                if self.requests.try_send((Arc::clone(&gate), call)).is_err() {
                    gate.turn_away(Reason::TotalLimit, &from);
                }
            }
            Err(reason) => gate.turn_away(reason, &from),
        }
    }
}

fn receive(socket: &Socket, buffer: &mut [u8], control: &mut [u8]) -> io::Result<Received> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(control),
        MsgFlags::empty(),
    )?;
    let age = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(age_of(at)),
            _ => None,
        })
    });
    let from = message.address.as_ref().and_then(socket_address);
    // Without a time stamp (no kernel does that) nothing is known to be old.
    Ok(Received {
        len: message.bytes,
        from,
        age: age.unwrap_or_default(),
    })
}

/// The kernel stamps with the real-time clock. If that is set back the age is zero, if it is set
/// forward one frame is dropped as old; the agent sends again.
fn age_of(stamp: TimeSpec) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(Duration::from(stamp))
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::new(v4.ip(), v4.port()).into());
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into())
}
