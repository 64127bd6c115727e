//! The host's shell: datagrams, call-backs, connections and a backend around the real core.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fence_proto::host::{
    Admission, CallBack, ConnectError, Datagram, Event, Limits, Output, Party, Policy, Replay,
    RequestKey, Session, SessionId, Timing, datagram,
};
use fence_proto::{Access, HashAlgorithm, Key, Moment, Reason, Source};

use crate::domains::Pace;
use crate::link::{End, Item, Node};
use crate::orders::Running;
use crate::world::{Happening, World};

/// A session and what belongs to it.
#[derive(Debug)]
struct Task {
    /// Multicast: what is remembered of the request, and where to call back.
    request: Option<(RequestKey, CallBack)>,
    random: [u8; 32],
    session: Session,
    place: SessionId,
    connection: usize,
    end: End,
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    policy: Arc<Policy>,
    replay: Replay,
    admission: Admission,
    party: Party,
    limits: Limits,
    pub(crate) pace: Pace,
    tasks: BTreeMap<u64, Task>,
    pub(crate) orders: BTreeMap<u64, Running>,
    next_task: u64,
    /// What happened while the host's process was stopped.
    frozen: Option<Vec<(Moment, Happening)>>,
    pub(crate) drops: BTreeMap<Reason, u32>,
    /// Frames that reached the core, to be replayed.
    pub(crate) heard: BTreeSet<(SocketAddr, Vec<u8>)>,
}

impl Host {
    pub(crate) fn new(hash: HashAlgorithm, key: &[u8], limits: Limits) -> Self {
        let key = Key::from_bytes(key).unwrap();
        let access = Arc::new(Access::unrestricted());
        let policy = Policy::new(Some(key), (hash, hash), access, Timing::default()).unwrap();
        let mut admission = Admission::new(limits);
        let party = admission.join();
        Self {
            policy: Arc::new(policy),
            replay: Replay::new(),
            admission,
            party,
            limits,
            pace: Pace::QUICK,
            tasks: BTreeMap::new(),
            orders: BTreeMap::new(),
            next_task: 0,
            frozen: None,
            drops: BTreeMap::new(),
            heard: BTreeSet::new(),
        }
    }

    /// Nothing is left of any request but its memory.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.admission.is_empty() && self.replay.in_progress() == 0
    }

    pub(crate) fn dropped(&self, reason: Reason) -> u32 {
        self.drops.get(&reason).copied().unwrap_or(0)
    }

    fn count(&mut self, reason: Reason) {
        *self.drops.entry(reason).or_default() += 1;
    }

    fn check_bounds(&self) {
        assert!(self.admission.len() <= self.limits.total);
        assert!(self.replay.in_progress() <= self.limits.total);
        assert_eq!(self.tasks.len(), self.admission.len());
    }

    fn task_of(&self, connection: usize) -> Option<u64> {
        let mut tasks = self.tasks.iter();
        tasks.find_map(|(id, task)| (task.connection == connection).then_some(*id))
    }
}

impl World {
    pub(crate) fn freeze(&mut self, host: usize) {
        self.hosts[host].frozen.get_or_insert_default();
    }

    /// What waited is worked off, in the order that does most harm: threads of the backend start
    /// what they have, then sockets are read, and only then is it noticed what time it is.
    pub(crate) fn resume(&mut self, host: usize) {
        let mut waiting = self.hosts[host].frozen.take().unwrap_or_default();
        waiting.sort_by_key(|(_, happening)| match happening {
            Happening::OrderStarts { .. } => 0,
            Happening::Readable { .. } => 2,
            Happening::HostTick { .. } => 3,
            _ => 1,
        });
        for (arrived, happening) in waiting {
            self.at_host(host, arrived, happening);
        }
    }

    /// Something happens to a host, now or (if it was frozen) some time ago.
    pub(crate) fn at_host(&mut self, index: usize, arrived: Moment, happening: Happening) {
        let host = &mut self.hosts[index];
        if let Some(waiting) = &mut host.frozen {
            waiting.push((arrived, happening));
            return;
        }
        match happening {
            Happening::Datagram { from, bytes, .. } => {
                self.host_hears(index, (from, &bytes), arrived);
            }
            Happening::Accepting { connection } => self.host_accepts(index, connection),
            Happening::Connected { connection } => {
                self.host_event(index, connection, Event::Connected);
            }
            Happening::Refused { connection } => {
                let refused = Event::ConnectFailed(ConnectError::Refused);
                self.host_event(index, connection, refused);
            }
            Happening::Readable { connection, end } => self.host_reads(index, connection, end),
            Happening::HostTick { task, .. } => self.tell_host(index, task, Event::Tick),
            Happening::OrderStarts { task, .. } => self.start_order(index, task),
            Happening::OrderDone { task, .. } => self.order_done(index, task),
            other => panic!("{other:?} does not happen to hosts"),
        }
        self.hosts[index].check_bounds();
    }

    fn host_hears(&mut self, index: usize, (from, bytes): (SocketAddr, &[u8]), arrived: Moment) {
        let (now, random) = (self.now, self.rng.bytes());
        let host = &mut self.hosts[index];
        let age = now.since(arrived);
        let call = match datagram(&host.policy, now, Datagram { bytes, from, age }) {
            Ok(call) => call,
            Err(reason) => return host.count(reason),
        };
        host.heard.insert((from, bytes.to_vec()));
        let key = match host.replay.begin(now, &call.frame, call.address) {
            Ok(key) => key,
            Err(reason) => return host.count(reason),
        };
        let Some(place) = self.admit(index, call.address.ip()) else {
            return self.hosts[index].replay.finish(now, key, false);
        };
        let connection = self.open_connection(Node::Host(index));
        let policy = Arc::clone(&self.hosts[index].policy);
        let session = Session::calling_back(policy, call.clone(), random, now);
        let address = call.address;
        let task = Task {
            request: Some((key, call)),
            random,
            session,
            place,
            connection,
            end: End::Connector,
        };
        self.add_task(index, task);
        self.send_to_address(connection, address);
    }

    fn host_accepts(&mut self, index: usize, connection: usize) {
        let (now, random) = (self.now, self.rng.bytes());
        let from = IpAddr::from([10, 0, 9, 9]);
        let Some(place) = self.admit(index, from) else {
            return self.close(connection, End::Acceptor);
        };
        let policy = Arc::clone(&self.hosts[index].policy);
        let session = Session::accepted(policy, Source::Ip(from), random, now);
        let task = Task {
            request: None,
            random,
            session,
            place,
            connection,
            end: End::Acceptor,
        };
        self.add_task(index, task);
    }

    fn add_task(&mut self, index: usize, task: Task) {
        let deadline = task.session.deadline();
        let host = &mut self.hosts[index];
        let id = host.next_task;
        host.next_task += 1;
        host.tasks.insert(id, task);
        self.schedule(
            deadline,
            Happening::HostTick {
                host: index,
                task: id,
            },
        );
    }

    fn admit(&mut self, index: usize, from: IpAddr) -> Option<SessionId> {
        let host = &mut self.hosts[index];
        let admitted = match host.admission.admit(host.party, Source::Ip(from)) {
            Ok(admitted) => admitted,
            Err(reason) => {
                host.count(reason);
                return None;
            }
        };
        let victim = admitted.evicted.and_then(|evicted| {
            let mut tasks = host.tasks.iter();
            tasks.find_map(|(id, task)| (task.place == evicted).then_some(*id))
        });
        if let Some(victim) = victim {
            self.tell_host(index, victim, Event::Evicted);
        }
        Some(admitted.id)
    }

    fn host_event(&mut self, index: usize, connection: usize, event: Event<'_>) {
        if let Some(task) = self.hosts[index].task_of(connection) {
            self.tell_host(index, task, event);
        }
    }

    fn host_reads(&mut self, index: usize, connection: usize, end: End) {
        while let Some(item) = self.connections[connection].take(end) {
            match item {
                Item::Bytes(bytes) => self.host_event(index, connection, Event::Received(&bytes)),
                Item::Closed => self.host_event(index, connection, Event::PeerClosed),
            }
        }
    }

    pub(crate) fn tell_host(&mut self, index: usize, id: u64, event: Event<'_>) {
        let now = self.now;
        let host = &mut self.hosts[index];
        let Some(task) = host.tasks.get_mut(&id) else {
            return;
        };
        let before = task.session.deadline();
        let output = task.session.handle(now, event, &mut host.replay);
        let deadline = task.session.deadline();
        if deadline != before && !task.session.is_over() {
            self.schedule(
                deadline,
                Happening::HostTick {
                    host: index,
                    task: id,
                },
            );
        }
        self.perform_for_host(index, id, output);
    }

    fn perform_for_host(&mut self, index: usize, id: u64, output: Output) {
        let task = &self.hosts[index].tasks[&id];
        let (connection, end) = (task.connection, task.end);
        match output {
            Output::Wait => {}
            Output::Send(bytes) => self.send(connection, end, bytes),
            Output::Identify(cid) => panic!("CID {cid}: nobody comes by vsock here"),
            Output::Execute(order) => {
                let place = task.place;
                self.hosts[index].admission.proven(place);
                // A peer that has already left orders nothing.
                let cancelled = self.connections[connection].shows_end(end);
                let execution = None;
                let running = Running {
                    order,
                    cancelled,
                    execution,
                };
                self.take_order(index, id, running);
            }
            Output::Cancel => {
                if let Some(running) = self.hosts[index].orders.get_mut(&id) {
                    running.cancelled = true;
                }
            }
            Output::Finish(bytes, reason) => {
                if let Some(reason) = reason {
                    self.hosts[index].count(reason);
                }
                self.send(connection, end, bytes);
                self.end_task(index, id);
            }
            Output::Drop(reason) => {
                self.hosts[index].count(reason);
                let unreached = matches!(reason, Reason::CallbackRefused | Reason::CallbackFailed);
                if !(unreached && self.try_alternate(index, id)) {
                    self.end_task(index, id);
                }
            }
        }
    }

    /// Calls back at the next address that the request named.
    fn try_alternate(&mut self, index: usize, id: u64) -> bool {
        let Host { tasks, replay, .. } = &mut self.hosts[index];
        let request = tasks.get_mut(&id).and_then(|task| task.request.as_mut());
        let Some(address) = request.and_then(|(key, call)| {
            call.address = replay.next_alternate(key)?;
            Some(call.address)
        }) else {
            return false;
        };
        let connection = self.open_connection(Node::Host(index));
        let now = self.now;
        let host = &mut self.hosts[index];
        let policy = Arc::clone(&host.policy);
        let task = host.tasks.get_mut(&id).unwrap();
        let (_, call) = task.request.as_ref().unwrap();
        task.session = Session::calling_back(policy, call.clone(), task.random, now);
        let given_up = core::mem::replace(&mut task.connection, connection);
        let deadline = task.session.deadline();
        let tick = Happening::HostTick {
            host: index,
            task: id,
        };
        self.schedule(deadline, tick);
        self.close(given_up, End::Connector);
        self.send_to_address(connection, address);
        true
    }

    fn end_task(&mut self, index: usize, id: u64) {
        let now = self.now;
        let host = &mut self.hosts[index];
        let Some(task) = host.tasks.remove(&id) else {
            return;
        };
        host.admission.release(task.place);
        if let Some((key, _)) = task.request {
            host.replay.finish(now, key, task.session.served());
        }
        let execution = host.orders.get(&id).and_then(|running| running.execution);
        if let Some(execution) = execution {
            self.executions[execution].session_over = Some(now);
        }
        self.close(task.connection, task.end);
    }
}
