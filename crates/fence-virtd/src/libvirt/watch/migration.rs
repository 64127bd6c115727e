//! Which half of a migration a domain is.
//!
//! The state shows it only at the ends of a migration. In between the domain's job has to be asked for,
//! and that call waits for whatever else is done to the domain: half a minute if its hypervisor process
//! hangs. So it has threads and connections of its own, and what it finds is told later, as a change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fence_proto::Uuid;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};

use super::super::connection::{Connection, Fault};
use super::super::events::job_operation;
use super::super::pool::STACK;
use super::supervisor::State;
use super::{Migration, Shared, WatchedDomain};
use crate::sync::lock;

/// A question that takes longer no longer keeps the others waiting: another thread takes over.
const LONG: Duration = Duration::from_secs(2);

/// Threads at most, of which all but one may be stuck.
const MAX_THREADS: usize = 5;

/// A domain in a migration is asked for again after this time: not every end of one is an event.
const AGAIN: Duration = Duration::from_secs(2);

/// What is known of the domains' present runs, and what is being asked.
#[derive(Debug, Default)]
pub(super) struct Roles {
    known: HashMap<Uuid, Known>,
    wanted: BTreeSet<Uuid>,
    asking: HashMap<Uuid, Instant>,
    threads: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// The number of the run that it is known of.
    instance: u32,
    role: Migration,
    asked: Instant,
}

impl Roles {
    /// How long until one of the questions under way has taken too long.
    pub(super) fn next_look(&self) -> Option<Duration> {
        (!self.asking.is_empty()).then_some(LONG)
    }

    /// Whether another thread is needed for what is wanted.
    fn lacks_thread(&self) -> bool {
        let waits = self
            .wanted
            .iter()
            .any(|uuid| !self.asking.contains_key(uuid));
        waits && self.threads < self.allowed() && self.asking.len() >= self.threads
    }

    /// One thread, and one more for each that is stuck.
    fn allowed(&self) -> usize {
        let stuck = self.asking.values().filter(|since| since.elapsed() > LONG);
        stuck.count().saturating_add(1).min(MAX_THREADS)
    }

    /// What a domain is, as far as it was asked.
    fn role(&self, domain: &WatchedDomain) -> Option<Migration> {
        let known = self.known.get(&domain.uuid)?;
        (Some(known.instance) == domain.instance).then_some(known.role)
    }

    /// The next domain to ask for; else how long to wait.
    fn next(&mut self) -> Result<Uuid, Option<Duration>> {
        let in_migration = self.known.iter();
        let in_migration = in_migration.filter(|(_, known)| known.role != Migration::None);
        let again =
            in_migration.map(|(uuid, known)| (AGAIN.saturating_sub(known.asked.elapsed()), *uuid));
        let again: Vec<_> = again.collect();
        let due = again.iter().filter(|(left, _)| left.is_zero());
        self.wanted.extend(due.map(|(_, uuid)| *uuid));
        let free = self
            .wanted
            .iter()
            .find(|uuid| !self.asking.contains_key(uuid));
        if let Some(uuid) = free.copied() {
            self.wanted.remove(&uuid);
            self.asking.insert(uuid, Instant::now());
            return Ok(uuid);
        }
        let waits = again.iter().map(|(left, _)| *left);
        Err(waits.filter(|left| !left.is_zero()).min())
    }

    /// Nothing is known of domains that are not among these.
    pub(super) fn keep_only(&mut self, domains: &[WatchedDomain]) {
        let there: HashSet<_> = domains.iter().map(|domain| domain.uuid).collect();
        self.known.retain(|uuid, _| there.contains(uuid));
    }

    /// The domain is gone.
    pub(super) fn forget(&mut self, domain: Uuid) {
        self.known.remove(&domain);
    }

    /// Whether the answer is news.
    fn answered(&mut self, uuid: Uuid, answer: Option<(u32, Migration)>) -> bool {
        self.asking.remove(&uuid);
        let Some((instance, role)) = answer else {
            return self
                .known
                .remove(&uuid)
                .is_some_and(|known| known.role != Migration::None);
        };
        let now = Known {
            instance,
            role,
            asked: Instant::now(),
        };
        let before = self.known.insert(uuid, now);
        let before = before.filter(|known| known.instance == instance);
        before.map(|known| known.role) != Some(role)
    }
}

/// As far as the state shows it; `None` where only the job tells.
pub(in super::super) const fn by_state(state: u32, reason: i32) -> Option<Migration> {
    match (state, reason.unsigned_abs()) {
        // The source is paused for good when the destination runs.
        (
            virt_sys::VIR_DOMAIN_PAUSED,
            virt_sys::VIR_DOMAIN_PAUSED_POSTCOPY | virt_sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
        ) => Some(Migration::Outgoing),
        (
            virt_sys::VIR_DOMAIN_RUNNING,
            virt_sys::VIR_DOMAIN_RUNNING_POSTCOPY | virt_sys::VIR_DOMAIN_RUNNING_POSTCOPY_FAILED,
        ) => Some(Migration::Incoming),
        // It was here until a migration took it elsewhere.
        (virt_sys::VIR_DOMAIN_SHUTOFF, virt_sys::VIR_DOMAIN_SHUTOFF_MIGRATED) => {
            Some(Migration::Outgoing)
        }
        (virt_sys::VIR_DOMAIN_RUNNING, _)
        | (virt_sys::VIR_DOMAIN_PAUSED, virt_sys::VIR_DOMAIN_PAUSED_MIGRATION) => None,
        _ => Some(Migration::None),
    }
}

/// What to take it for while the job is not known. One that is paused by a migration is the source only for
/// moments, and the destination for as long as it lasts.
pub(in super::super) const fn presumed(state: u32) -> Migration {
    if state == virt_sys::VIR_DOMAIN_PAUSED {
        Migration::Incoming
    } else {
        Migration::None
    }
}

impl Shared {
    /// Fills in what the domain's job told, where its state does not show it, and has it asked for anew.
    pub(super) fn roles_of(&self, domains: &mut [WatchedDomain]) {
        if !self.settings.migration {
            return;
        }
        let mut state = lock(&self.state);
        for domain in domains {
            if by_state(u32::from(domain.state), domain.reason).is_some() {
                continue;
            }
            state.roles.wanted.insert(domain.uuid);
            if let Some(role) = state.roles.role(domain) {
                domain.migration = role;
            }
        }
        self.wake.notify_all();
    }

    /// Starts a thread if one is needed. Called by the supervisor.
    pub(super) fn relieve_askers(self: &Arc<Self>, generation: u64, state: &mut State) {
        if !state.counts(generation) || !state.roles.lacks_thread() {
            return;
        }
        let shared = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("virt-watch-job".to_owned())
            .stack_size(STACK)
            .spawn(move || shared.ask_for_jobs(generation));
        match thread {
            Ok(_) => state.roles.threads = state.roles.threads.saturating_add(1),
            Err(error) => tracing::error!("no thread to ask for migrations: {error}"),
        }
    }

    fn ask_for_jobs(self: &Arc<Self>, generation: u64) {
        let mut connection = None;
        while let Some(uuid) = self.next_job(generation) {
            let answer = self.ask_for_job(&mut connection, uuid);
            if let Err(fault) = &answer {
                tracing::debug!(uri = self.name(), %uuid, "its job can't be asked for: {fault}");
                connection = None;
            }
            let mut state = lock(&self.state);
            if !state.counts(generation) {
                return;
            }
            let news = match answer {
                Ok(answer) => state.roles.answered(uuid, answer),
                Err(_) => {
                    state.roles.asking.remove(&uuid);
                    false
                }
            };
            if news {
                state.is_dirty(uuid);
            }
            self.wake.notify_all();
        }
    }

    /// Waits for a domain to ask for; `None` when the thread is to end.
    fn next_job(&self, generation: u64) -> Option<Uuid> {
        let mut state = lock(&self.state);
        loop {
            if !state.counts(generation) {
                return None;
            }
            let idle = state.roles.threads.saturating_sub(state.roles.asking.len());
            if idle > 1 && state.roles.threads > state.roles.allowed() {
                state.roles.threads = state.roles.threads.saturating_sub(1);
                return None;
            }
            let wait = match state.roles.next() {
                Ok(uuid) => return Some(uuid),
                Err(wait) => wait.unwrap_or(AGAIN),
            };
            let waited = self.wake.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ask_for_job(
        &self,
        connection: &mut Option<Arc<Connection>>,
        uuid: Uuid,
    ) -> Result<Option<(u32, Migration)>, Fault> {
        let connection = match connection {
            Some(connection) => connection,
            None => {
                let opened = (self.connect)()?;
                opened.keep_alive();
                connection.insert(opened)
            }
        };
        let Some(domain) = connection.handle(uuid)? else {
            return Ok(None);
        };
        match by_job(&domain) {
            Ok(role) => Ok(domain.get_id().zip(role)),
            Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
            Err(error) => Err(connection.fault(&error)),
        }
    }
}

/// As libvirt says now; `None` if the domain is off. The call waits as [`job_operation`] does.
pub(in super::super) fn by_job(domain: &Domain) -> Result<Option<Migration>, Error> {
    match job_operation(domain) {
        Ok(Some(virt_sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)) => Ok(Some(Migration::Outgoing)),
        Ok(Some(virt_sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)) => Ok(Some(Migration::Incoming)),
        Ok(operation) => {
            let (state, reason) = domain.get_state()?;
            let otherwise = match operation {
                // Not every driver says what its job is: it may be a migration.
                Some(virt_sys::VIR_DOMAIN_JOB_OPERATION_UNKNOWN) => Migration::Outgoing,
                // Paused by a migration that nobody carries on: whoever knows better may resume it.
                _ => presumed(state),
            };
            Ok(Some(by_state(state, reason).unwrap_or(otherwise)))
        }
        // "Migration statistics are available only on the source host": what the destination answers, as an
        // operation that is not supported (seen with libvirt 9.0) or not valid. One that is off by now answers
        // with the latter too.
        Err(error) if is_refused(error.code()) => {
            Ok(domain.is_active()?.then_some(Migration::Incoming))
        }
        // Drivers without jobs have no migration either.
        Err(error) if error.code() == ErrorNumber::NoSupport => Ok(Some(Migration::None)),
        Err(error) => Err(error),
    }
}

const fn is_refused(code: ErrorNumber) -> bool {
    matches!(
        code,
        ErrorNumber::OperationInvalid | ErrorNumber::OperationUnsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(number: u8) -> Uuid {
        Uuid([number; 16])
    }

    fn domain(instance: u32) -> WatchedDomain {
        WatchedDomain {
            uuid: uuid(1),
            name: "vm".to_owned(),
            state: 1,
            reason: 1,
            instance: Some(instance),
            persistent: true,
            migration: Migration::None,
            devices: None,
        }
    }

    #[test]
    fn states_at_the_ends_of_a_migration_tell_the_half() {
        use Migration::{Incoming, None as No, Outgoing};
        for (state, reason, role) in [
            (1, 1, None),            // running
            (1, 10, Some(Incoming)), // running, post-copy
            (3, 12, Some(Outgoing)), // paused, post-copy
            (3, 2, None),            // paused, migration
            (3, 1, Some(No)),        // paused by a user
            (5, 4, Some(Outgoing)),  // shut off, migrated
            (5, 2, Some(No)),        // shut off, destroyed
            (6, 1, Some(No)),        // crashed
        ] {
            assert_eq!(by_state(state, reason), role, "{state} {reason}");
        }
        assert_eq!(presumed(3), Incoming);
        assert_eq!(presumed(1), No);
    }

    #[test]
    fn role_belongs_to_one_run() {
        let mut roles = Roles::default();
        assert!(roles.answered(uuid(1), Some((7, Migration::Outgoing))));
        assert!(!roles.answered(uuid(1), Some((7, Migration::Outgoing))));
        assert_eq!(roles.role(&domain(7)), Some(Migration::Outgoing));
        assert_eq!(roles.role(&domain(8)), None);
        assert!(roles.answered(uuid(1), Some((8, Migration::None))));
        assert!(!roles.answered(uuid(1), None));
    }

    #[test]
    fn question_that_is_stuck_keeps_no_other_waiting_and_is_not_doubled() {
        let mut roles = Roles::default();
        roles.wanted.extend((1..=9).map(uuid));
        let long_ago = Instant::now().checked_sub(2 * LONG).unwrap();
        for threads in 0..MAX_THREADS {
            assert!(roles.lacks_thread());
            roles.threads += 1;
            let asked = roles.next().unwrap();
            assert!(!roles.lacks_thread(), "{threads}");
            roles.asking.insert(asked, long_ago);
            roles.wanted.insert(asked);
        }
        assert!(!roles.lacks_thread());
        assert_eq!(roles.next(), Ok(uuid(6)));
    }
}
