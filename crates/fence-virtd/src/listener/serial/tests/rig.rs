//! A listener, the libvirtd that it watches, and a backend that does as it is told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fence_proto::host::{Answer, Limits, Policy, Timing};
use fence_proto::{Access, Action, HashAlgorithm, Order, Reason, Reply, Source, Uuid};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use virt::connect::Connect;
use virt::domain::Domain;

use super::super::Serial;
use crate::backend::{Answering, Backend, CancelFlag, Identifying, Starting};
use crate::clock::Clock;
use crate::config::{SerialMode, SerialSettings};
use crate::gate::Gate;
use crate::hub::Hub;
use crate::libvirt::tests::libvirtd::Libvirtd;
use crate::libvirt::tests::{domain_in, eventually};
use crate::listener::ListenerError;
use crate::scratch::Scratch;

/// What the backend was ordered.
pub(super) type Ordered = (Action, String, Source);

/// When the backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// At once.
    Now,
    /// Not yet.
    Told,
}

/// Answers success, or with a list, at once or when it is told to.
#[derive(Debug)]
pub(super) struct Fake {
    ordered: Mutex<Vec<Ordered>>,
    until: watch::Sender<Until>,
    list: Vec<fence_proto::host_list::Entry>,
}

impl Fake {
    pub(super) fn new(until: Until, listed: u8) -> Arc<Self> {
        let entry = |number| fence_proto::host_list::Entry {
            name: format!("vm{number}"),
            uuid: Uuid([number; 16]),
            state: 1,
        };
        let list = (0..listed).flat_map(|_| (0..255).map(entry)).collect();
        Arc::new(Self {
            ordered: Mutex::default(),
            until: watch::Sender::new(until),
            list,
        })
    }

    pub(super) fn answer(&self) {
        self.until.send_replace(Until::Now);
    }

    pub(super) fn ordered(&self) -> Vec<Ordered> {
        self.ordered.lock().unwrap().clone()
    }

    /// The deeds: what was ordered and is no question.
    pub(super) fn deeds(&self) -> Vec<Ordered> {
        let mut ordered = self.ordered();
        ordered.retain(|(action, ..)| action.changes_state());
        ordered
    }
}

impl Backend for Fake {
    fn ready(&self) -> Starting<'_> {
        Box::pin(async { Ok(()) })
    }

    fn execute(&self, order: Order, cancelled: CancelFlag) -> Answering {
        let source = order.requester().source();
        let what = (order.action(), order.domain().to_string(), source);
        self.ordered.lock().unwrap().push(what);
        let mut until = self.until.subscribe();
        let answer = match order.action() {
            Action::List => Answer::List(self.list.clone()),
            _ => Answer::Reply(Reply::Success),
        };
        Box::pin(async move {
            until.wait_for(|until| *until == Until::Now).await.unwrap();
            if cancelled.is_cancelled() {
                return Answer::NotStarted(Reason::RequesterGone);
            }
            answer
        })
    }

    fn expect_guests(&self) {}

    fn identify(&self, _cid: u32) -> Identifying {
        Box::pin(async { None })
    }

    fn summary(&self) -> String {
        String::new()
    }

    fn shut_down(&self) {}
}

/// The whole.
pub(super) struct Rig {
    pub libvirtd: Libvirtd,
    pub admin: Connect,
    pub hub: Arc<Hub>,
    pub listener: JoinHandle<Result<(), ListenerError>>,
    scratch: Scratch,
}

impl Rig {
    pub(super) async fn new(backend: Arc<dyn Backend>) -> Self {
        Self::with(backend, SerialMode::Serial, Access::unrestricted()).await
    }

    pub(super) async fn with(backend: Arc<dyn Backend>, mode: SerialMode, access: Access) -> Self {
        let libvirtd = Libvirtd::start().await;
        let scratch = Scratch::new();
        let hub = Hub::new(Clock::start(), backend, Limits::default());
        let uri = libvirtd.uri();
        let listener = serve(&hub, access, settings(&uri, &scratch, mode)).await;
        Self {
            admin: Connect::open(Some(&uri)).unwrap(),
            libvirtd,
            hub,
            listener: tokio::spawn(listener.unwrap().serve()),
            scratch,
        }
    }

    /// A path for a socket where the listener looks for them.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// Starts a domain whose lines are these sockets.
    pub(super) fn start(&self, name: &str, uuid: Uuid, sockets: &[PathBuf]) -> Domain {
        let xml = domain_in(name, uuid, 1, &serial(sockets));
        Domain::create_xml(&self.admin, &xml, 0).unwrap()
    }

    /// The listener's end, as at SIGTERM.
    pub(super) async fn stop(&mut self) {
        self.listener.abort();
        let _ = (&mut self.listener).await;
    }

    /// Somebody who may do things at libvirtd after it was started again.
    pub(super) fn reconnect(&mut self) {
        self.admin = Connect::open(Some(&self.libvirtd.uri())).unwrap();
    }
}

pub(super) fn settings(uri: &str, scratch: &Scratch, mode: SerialMode) -> SerialSettings {
    SerialSettings {
        uri: Some(uri.to_owned()),
        path: Some(scratch.path("")),
        mode,
    }
}

pub(super) fn gate(hub: &Arc<Hub>, access: Access) -> Arc<Gate> {
    let none = HashAlgorithm::None;
    let policy = Policy::new(None, (none, none), Arc::new(access), Timing::default());
    Gate::new(hub, "serial", Arc::new(policy.unwrap()))
}

pub(super) async fn serve(
    hub: &Arc<Hub>,
    access: Access,
    settings: SerialSettings,
) -> Result<Serial, ListenerError> {
    Serial::bind(&settings, gate(hub, access)).await
}

/// Devices of a domain.
pub(super) fn serial(sockets: &[PathBuf]) -> String {
    let lines = sockets.iter().enumerate().map(|(port, path)| {
        format!(
            "<serial type='unix'><source mode='bind' path='{}'/><target port='{port}'/></serial>",
            path.display()
        )
    });
    format!("<devices>{}</devices>", lines.collect::<String>())
}

/// Waits until the backend has been ordered as many deeds.
pub(super) async fn until_deeds(backend: &Fake, count: usize) {
    eventually(async || backend.deeds().len() >= count).await;
}
