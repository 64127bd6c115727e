//! The multicast listener (section 2): agents send datagrams, the host calls back.
//!
//! Three parts: [`receiver`] is a thread that takes datagrams off the socket and lets only
//! well-formed, authentic and fresh ones through, so that a flood of anything else never reaches the
//! event loop; [`membership`] keeps the group joined on the right interfaces; this file turns what is
//! left into call-backs.

mod changes;
mod interfaces;
mod look;
mod membership;
mod receiver;
mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fence_proto::host::{CallBack, ConnectError, Event, Output, RequestKey, Session};
use fence_proto::{Reason, Source};
use socket2::Socket;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use self::look::Looker;
use self::membership::Membership;
use self::receiver::{Receiver, Receivers};
use super::{ListenerError, session_random};
use crate::door::Door;
use crate::gate::Gate;
use crate::hub::{Phase, Place};
use crate::session::Driver;
use crate::stream::Peer;

/// Where to listen.
#[derive(Debug, Clone)]
pub struct Group {
    /// The multicast group.
    pub address: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// The only interface to listen on; without one, all that can.
    pub interface: Option<String>,
}

/// Joined sockets, ready to serve.
#[derive(Debug)]
pub struct Multicast {
    membership: Membership,
    sockets: mpsc::UnboundedReceiver<Arc<Socket>>,
    door: Door,
    /// Looks whether the domain is here before it calls back.
    looker: Option<Looker>,
}

/// Requests that wait for the event loop. What is more than that will be sent again.
const BACKLOG: usize = 1024;

impl Multicast {
    /// Opens a socket and joins the group.
    ///
    /// # Errors
    /// [`ListenerError::NoInterface`] if the named interface cannot be had,
    /// [`ListenerError::Socket`] for anything else.
    pub fn bind(group: Group, door: impl Into<Door>) -> Result<Self, ListenerError> {
        let door = door.into();
        let (membership, sockets) = Membership::join(group, door.name())?;
        Ok(Self {
            membership,
            sockets,
            door,
            looker: None,
        })
    }

    /// Leaves requests for domains that this host does not have, or of which it cannot tell, to other
    /// hosts.
    #[must_use]
    pub fn silent_on_unknown(mut self) -> Self {
        self.looker = Some(Looker::new());
        self
    }

    /// Serves until the door is closed or the daemon drains.
    ///
    /// # Errors
    /// [`ListenerError::Lost`] if a socket is gone.
    pub async fn serve(mut self) -> Result<(), ListenerError> {
        let mut receivers = Receivers::default();
        let (requests, mut heard) = mpsc::channel(BACKLOG);
        let (lost, mut losses) = mpsc::channel(1);
        let membership = self.membership.follow();
        tokio::pin!(membership);
        let closing = self.door.closing();
        tokio::pin!(closing);
        loop {
            tokio::select! {
                biased;
                () = &mut closing => break,
                Some(error) = losses.recv() => {
                    return Err(ListenerError::Lost { what: "multicast", error });
                }
                Some(socket) = self.sockets.recv() => receivers.start(Receiver {
                    socket,
                    door: self.door.clone(),
                    requests: requests.clone(),
                    lost: lost.clone(),
                })?,
                () = &mut membership => {}
                Some((gate, call)) = heard.recv() => call_back(&gate, self.looker.as_ref(), call)?,
            }
        }
        // What was heard before is served, if the daemon goes on.
        while self.door.is_closed_alone()
            && let Ok((gate, call)) = heard.try_recv()
        {
            call_back(&gate, self.looker.as_ref(), call)?;
        }
        Ok(())
    }
}

/// The rest of the ladder: fresh, affordable; then the call-back in a task of its own.
fn call_back(
    gate: &Arc<Gate>,
    looker: Option<&Looker>,
    call: CallBack,
) -> Result<(), ListenerError> {
    let now = gate.hub.clock.now();
    let key = match gate.with_replay(|replay| replay.begin(now, &call.frame, call.address)) {
        Ok(key) => key,
        Err(reason) => {
            gate.turn_away(reason, &call.address);
            return Ok(());
        }
    };
    match gate.admit(Source::Ip(call.address.ip().to_canonical())) {
        Ok(place) => {
            let request = Request {
                key,
                random: session_random()?,
                looker: looker.cloned(),
            };
            let task = serve_request(Arc::clone(gate), request, (call, place));
            tokio::spawn(task);
        }
        Err(reason) => {
            gate.with_replay(|replay| replay.finish(now, key, false));
            gate.turn_away(reason, &call.address);
        }
    }
    Ok(())
}

/// A request that is being served.
struct Request {
    key: RequestKey,
    random: [u8; 32],
    looker: Option<Looker>,
}

/// Calls back, at the next address that the request named if one cannot be connected.
async fn serve_request(
    gate: Arc<Gate>,
    request: Request,
    (mut call, mut place): (CallBack, Place),
) {
    let Request {
        key,
        random,
        looker,
    } = request;
    if let Some(looker) = looker
        && let Err(reason) = look(&looker, &gate, &mut place, (&call, &key)).await
    {
        let now = gate.hub.clock.now();
        gate.with_replay(|replay| replay.finish(now, key, false));
        gate.turn_away(reason, &call.address);
        return;
    }
    let served = loop {
        let now = gate.hub.clock.now();
        let address = call.address;
        let policy = Arc::clone(gate.policy());
        let mut session = Session::calling_back(policy, call.clone(), random, now);
        match connect(&gate, &session, &mut place, address).await {
            Ok(stream) => {
                let connection = (stream, Peer::Ip(address));
                let driver = Driver::new(Arc::clone(&gate), place, session, connection);
                break driver.run_connected().await.served();
            }
            Err(event) => {
                let now = gate.hub.clock.now();
                let output = gate.with_replay(|replay| session.handle(now, event, replay));
                let Output::Drop(reason) = output else {
                    break false;
                };
                gate.turn_away(reason, &address);
                if !matches!(reason, Reason::CallbackRefused | Reason::CallbackFailed) {
                    break false;
                }
            }
        }
        match gate.with_replay(|replay| replay.next_alternate(&key)) {
            Some(next) => call.address = next,
            None => break false,
        }
    };
    let now = gate.hub.clock.now();
    gate.with_replay(|replay| replay.finish(now, key, served));
}

/// Whether to call back at all, by what this host has.
async fn look(
    looker: &Looker,
    gate: &Gate,
    place: &mut Place,
    (call, key): (&CallBack, &RequestKey),
) -> Result<(), Reason> {
    let mut phase = gate.hub.phase();
    tokio::select! {
        judged = looker.judge(gate, call, key) => judged,
        () = place.evicted() => Err(Reason::Evicted),
        _ = phase.wait_for(|phase| *phase != Phase::Running) => Err(Reason::ShuttingDown),
    }
}

/// Connects, or says what the session is to be told instead.
async fn connect(
    gate: &Gate,
    session: &Session,
    place: &mut Place,
    address: SocketAddr,
) -> Result<TcpStream, Event<'static>> {
    let deadline = gate.hub.clock.instant(session.deadline());
    let mut phase = gate.hub.phase();
    tokio::select! {
        biased;
        connected = TcpStream::connect(address) => {
            let stream = connected.map_err(|error| Event::ConnectFailed(classify(&error)))?;
            // Only speed hangs on it.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        () = place.evicted() => Err(Event::Evicted),
        _ = phase.wait_for(|phase| *phase != Phase::Running) => Err(Event::ShutDown),
        () = tokio::time::sleep_until(deadline.into()) => Err(Event::Tick),
    }
}

fn classify(error: &io::Error) -> ConnectError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ConnectError::Refused,
        _ => ConnectError::Other,
    }
}
