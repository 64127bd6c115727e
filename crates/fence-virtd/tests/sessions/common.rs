//! A backend that does as it is told, and the agent's half of the protocol in a few lines.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fence_proto::domain::DomainRef;
use fence_proto::frame::{RequestFrame, RequestId, Signature};
use fence_proto::host::{Answer, Limits, Policy, Presence, Timing};
use fence_proto::{
    Access, Action, DomainIdentity, HashAlgorithm, Key, Moment, Order, Reason, Reply, Requester,
    Uuid,
};
use fence_virtd::backend::{Answering, Backend, CancelFlag, Identifying, Looking, Starting};
use fence_virtd::clock::Clock;
use fence_virtd::gate::Gate;
use fence_virtd::hub::Hub;
use tokio::sync::watch;

pub(crate) const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn key() -> Key {
    Key::from_bytes(&[7; 4096]).unwrap()
}

/// The CID of the only guest that the backend knows, `node1`.
pub(crate) const GUEST_CID: u32 = 7;

/// Answers success once the gate is open; counts what it was given.
#[derive(Debug)]
pub(crate) struct FakeBackend {
    pub(crate) executed: AtomicUsize,
    pub(crate) identified: AtomicUsize,
    pub(crate) looks: AtomicUsize,
    /// Where the domains are; `None` for one of which libvirt never says.
    pub(crate) domains: Mutex<HashMap<&'static str, Option<Presence>>>,
    gate: watch::Sender<bool>,
    pub(crate) flags: Mutex<Vec<CancelFlag>>,
    requesters: Mutex<Vec<Requester>>,
}

impl FakeBackend {
    pub(crate) fn new(open: bool) -> Arc<Self> {
        let gate = watch::Sender::new(open);
        Arc::new(Self {
            executed: AtomicUsize::new(0),
            identified: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            domains: Mutex::default(),
            gate,
            flags: Mutex::default(),
            requesters: Mutex::default(),
        })
    }

    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    pub(crate) fn requesters(&self) -> Vec<Requester> {
        self.requesters.lock().unwrap().clone()
    }

    pub(crate) fn executed(&self) -> usize {
        self.executed.load(Ordering::SeqCst)
    }
}

impl Backend for FakeBackend {
    fn ready(&self) -> Starting<'_> {
        Box::pin(async { Ok(()) })
    }

    fn execute(&self, order: Order, cancelled: CancelFlag) -> Answering {
        self.executed.fetch_add(1, Ordering::SeqCst);
        let requester = order.requester().clone();
        self.requesters.lock().unwrap().push(requester);
        self.flags.lock().unwrap().push(cancelled.clone());
        let mut gate = self.gate.subscribe();
        Box::pin(async move {
            gate.wait_for(|open| *open).await.unwrap();
            if cancelled.is_cancelled() {
                return Answer::NotStarted(Reason::RequesterGone);
            }
            Answer::Reply(Reply::Success)
        })
    }

    fn presence(&self, domain: &DomainRef, _by: Moment) -> Looking {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let known = self.domains.lock().unwrap();
        match known.get(domain.as_str()) {
            Some(None) => Box::pin(std::future::pending()),
            Some(Some(presence)) => Box::pin(std::future::ready(*presence)),
            None => Box::pin(std::future::ready(Presence::Absent)),
        }
    }

    fn expect_guests(&self) {}

    fn identify(&self, cid: u32) -> Identifying {
        self.identified.fetch_add(1, Ordering::SeqCst);
        let guest = (cid == GUEST_CID).then(|| DomainIdentity {
            name: "node1".to_owned(),
            uuid: Uuid([1; 16]),
        });
        let mut gate = self.gate.subscribe();
        Box::pin(async move {
            gate.wait_for(|open| *open).await.unwrap();
            guest
        })
    }

    fn summary(&self) -> String {
        String::new()
    }

    fn shut_down(&self) {}
}

pub(crate) fn policy(access: Access, timing: Timing) -> Arc<Policy> {
    let hashes = (SHA256, SHA256);
    Arc::new(Policy::new(Some(key()), hashes, Arc::new(access), timing).unwrap())
}

pub(crate) fn gate(hub: &Arc<Hub>, timing: Timing) -> Arc<Gate> {
    Gate::new(hub, "test", policy(Access::unrestricted(), timing))
}

pub(crate) fn hub(backend: &Arc<FakeBackend>, limits: Limits) -> Arc<Hub> {
    Hub::new(
        Clock::start(),
        Arc::clone(backend) as Arc<dyn Backend>,
        limits,
    )
}

static SEQNO: AtomicU32 = AtomicU32::new(1);

pub(crate) fn request(callback: Option<SocketAddr>) -> RequestFrame {
    let seqno = SEQNO.fetch_add(1, Ordering::SeqCst);
    RequestFrame {
        action: Action::Off,
        domain: DomainRef::new("vm").unwrap(),
        uuid_flag: false,
        callback,
        id: RequestId {
            random: [1; 6],
            seqno,
        },
    }
}

pub(crate) fn sign(request: &RequestFrame) -> [u8; 176] {
    request.encode(Signature::Keyed(&key(), SHA256))
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The handshake of a C agent; `None` if the host closes.
pub(crate) fn authenticate(stream: &mut (impl Read + Write)) -> Option<()> {
    authenticate_with(&key(), stream)
}

/// The same with another key.
pub(crate) fn authenticate_with(key: &Key, stream: &mut (impl Read + Write)) -> Option<()> {
    let own = [9; 64];
    stream.write_all(&own).ok()?;
    let mut bytes = [0; 128];
    stream.read_exact(&mut bytes).ok()?;
    let (answer, challenge) = bytes.split_at(64);
    assert_eq!(answer, key.digest(SHA256, &own), "the host's answer");
    stream.write_all(&key.digest(SHA256, challenge)).ok()
}

/// The reply byte; `None` if the host closes without one.
pub(crate) fn reply(stream: &mut impl Read) -> Option<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    Some(byte[0])
}

/// A whole request over TCP.
pub(crate) fn ask(address: SocketAddr) -> Option<u8> {
    let mut stream = connect(address);
    stream.write_all(&sign(&request(None))).ok()?;
    authenticate(&mut stream)?;
    reply(&mut stream)
}

/// Waits for a condition; says which one never came.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs on a thread what the daemon runs as its event loop; `make` is called where sockets may be
/// made for it.
pub(crate) fn start<F>(make: impl FnOnce() -> F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let guard = runtime.enter();
    let future = make();
    drop(guard);
    std::thread::spawn(move || runtime.block_on(future))
}
