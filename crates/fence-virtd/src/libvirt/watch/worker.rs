//! The thread that asks, on one connection, until that is lost.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use fence_proto::Uuid;

use super::super::connection::{Connection, Fault};
use super::super::events::{Happened, Registration, Told};
use super::super::pool::STACK;
use super::supervisor::Task;
use super::{Notice, Shared};
use crate::sync::lock;

/// Starts one.
pub(super) fn start(shared: &Arc<Shared>, generation: u64) -> std::io::Result<()> {
    let worker = Worker {
        shared: Arc::clone(shared),
        generation,
        told: HashMap::new(),
    };
    thread::Builder::new()
        .name("virt-watch-ask".to_owned())
        .stack_size(STACK)
        .spawn(move || worker.run())
        .map(drop)
}

/// Why a worker ends.
enum End {
    /// It does not count any more.
    Over,
    /// The hypervisor can't be asked.
    Lost(String),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Lost(fault.message)
    }
}

struct Worker {
    shared: Arc<Shared>,
    generation: u64,
    /// The run of each domain, as last told.
    told: HashMap<Uuid, Option<u32>>,
}

/// What libvirt's callbacks hold: weak, so that they keep no watcher alive.
struct Ear {
    shared: Weak<Shared>,
    generation: u64,
}

impl Told for Ear {
    fn happened(&self, domain: Uuid, what: Happened) {
        if let Some(shared) = self.shared.upgrade() {
            shared.event(self.generation, domain, what);
        }
    }

    fn closed(&self, reason: &'static str) {
        if let Some(shared) = self.shared.upgrade() {
            shared.closed(self.generation, reason);
        }
    }
}

impl Worker {
    fn run(mut self) {
        let reason = match self.serve() {
            End::Lost(reason) => Some(reason),
            End::Over => None,
        };
        self.shared.worker_ended(self.generation, reason);
    }

    /// A blocking call whose length the supervisor watches.
    fn call<T>(&self, call: impl FnOnce() -> Result<T, Fault>) -> Result<T, End> {
        if !self.shared.mark(self.generation, Some(Instant::now())) {
            return Err(End::Over);
        }
        let result = call();
        if !self.shared.mark(self.generation, None) {
            return Err(End::Over);
        }
        result.map_err(End::from)
    }

    /// Until the end, which is never a good one.
    fn serve(&mut self) -> End {
        let connection = match self.call(|| (self.shared.connect)()) {
            Ok(connection) => connection,
            Err(end) => return end,
        };
        connection.keep_alive();
        let ear = Ear {
            shared: Arc::downgrade(&self.shared),
            generation: self.generation,
        };
        let told: Arc<dyn Told> = Arc::new(ear);
        // Before anything is listed, so that nothing falls between.
        let registration = match self.call(|| Registration::new(&connection, &told)) {
            Ok(registration) => registration,
            Err(end) => return end,
        };
        let end = self.ask(&connection);
        // Closing asks the other side as well, and may hang like any question.
        self.shared.mark(self.generation, Some(Instant::now()));
        drop(registration);
        drop(connection);
        end
    }

    fn ask(&mut self, connection: &Arc<Connection>) -> End {
        let mut resync_at = Instant::now();
        loop {
            let done = match self.shared.next_task(self.generation, resync_at) {
                Task::Resync => {
                    resync_at = Instant::now() + self.shared.settings.resync;
                    self.list(connection)
                }
                Task::Refresh => self.refresh(connection),
                Task::Look(uuid) => self.look(connection, uuid),
                Task::Ping => self.call(|| connection.ping()),
                Task::Closed(reason) => Err(End::Lost(reason.to_owned())),
                Task::Over => Err(End::Over),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn list(&mut self, connection: &Arc<Connection>) -> Result<(), End> {
        let began = Instant::now();
        let handles = self.call(|| connection.all())?;
        let mut domains = Vec::with_capacity(handles.len());
        for handle in &handles {
            let domain = self.call(|| connection.watched(handle, &self.shared.settings))?;
            domains.extend(domain);
        }
        lock(&self.shared.state).roles.keep_only(&domains);
        self.shared.roles_of(&mut domains);
        let told = domains.iter();
        self.told = told.map(|domain| (domain.uuid, domain.instance)).collect();
        self.shared.tell(self.generation, Notice::Snapshot(domains));
        self.shared.tell(self.generation, Notice::Current(began));
        Ok(())
    }

    /// Asks for the domains of which a start or stop may not be told yet.
    fn refresh(&mut self, connection: &Arc<Connection>) -> Result<(), End> {
        let began = Instant::now();
        let on: HashMap<_, _> = self.call(|| connection.runs())?.into_iter().collect();
        let on_now = |uuid: &Uuid| on.get(uuid).copied();
        let stopped = self.told.iter();
        let stopped = stopped.filter(|(uuid, run)| run.is_some() && **run != on_now(uuid));
        let started = on.iter();
        let started = started.filter(|(uuid, run)| self.told.get(*uuid) != Some(&Some(**run)));
        let changed = stopped.map(|(uuid, _)| *uuid);
        let changed: HashSet<_> = changed.chain(started.map(|(uuid, _)| *uuid)).collect();
        for uuid in changed {
            self.look(connection, uuid)?;
        }
        self.shared.tell(self.generation, Notice::Current(began));
        Ok(())
    }

    fn look(&mut self, connection: &Arc<Connection>, uuid: Uuid) -> Result<(), End> {
        let found = self.call(|| {
            let handle = connection.handle(uuid)?;
            let domain = handle.map(|handle| connection.watched(&handle, &self.shared.settings));
            domain.transpose().map(Option::flatten)
        })?;
        let migrated = lock(&self.shared.state).was_migrated(uuid);
        let notice = match found {
            Some(domain) => {
                self.told.insert(uuid, domain.instance);
                let mut domain = [domain];
                self.shared.roles_of(&mut domain);
                let [domain] = domain;
                Notice::Changed(domain)
            }
            None => {
                self.told.remove(&uuid);
                lock(&self.shared.state).roles.forget(uuid);
                if migrated {
                    Notice::MigratedAway(uuid)
                } else {
                    Notice::Gone(uuid)
                }
            }
        };
        self.shared.tell(self.generation, notice);
        Ok(())
    }
}
