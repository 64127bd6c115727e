//! Changing one domain on one hypervisor: what runs on a worker thread, step by step as
//! [`fence_proto::fencing`] says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use fence_proto::access::{Denied, Grant};
use fence_proto::fencing::{Activity, Answer, Goal, LocalOff, Look, Off, OffStep, Proof, Trouble};
use fence_proto::{DomainIdentity, Moment, Reason, Requester, Uuid};
use tracing::{debug, error, info};

use super::CancelFlag;
use super::connection::{Fault, Found};
use super::host::Common;
use super::lanes::{Place, UnderWay};
use super::pool::Ticket;
use super::role;
use super::watch::Migration;
use super::worker::Worker;
use crate::clock::Clock;

/// How long after the proof of "off" the second half of a reboot may begin, and is tried while its
/// hypervisor can't be reached. Then the domain's turn is given up.
pub(super) const START_WITHIN: Duration = Duration::from_secs(10);

/// Pause between such tries.
pub(super) const START_AGAIN: Duration = Duration::from_millis(500);

/// How old the word on a migration may be when the copy is destroyed: no migration takes less from its beginning
/// to its end.
const FRESH: Duration = Duration::from_millis(100);

/// How often it is asked for, until the answer is fresh.
const ASK_AT_MOST: u8 = 3;

/// An order that changes one domain, as its jobs on the hypervisors share it.
pub(super) struct Change {
    pub uuid: Uuid,
    pub goal: Goal,
    /// Who lets it be done.
    pub authority: Authority,
    /// Reads what brings a transient domain back before it is destroyed.
    pub keep_definition: bool,
    pub seqno: u32,
    pub start_by: Moment,
    pub deadline: Moment,
    pub clock: Clock,
    pub common: Arc<Common>,
    pub cancelled: CancelFlag,
    pub begun: OnceLock<Result<(), Reason>>,
    /// The domain's turn. Jobs hold it from their first change to their end: the next order waits
    /// for what was begun, and not for a hypervisor that never answered.
    pub place: Weak<Place>,
    /// Signs that a copy was migrating when it was destroyed. Looked for in the cluster only.
    pub migrated: AtomicBool,
}

/// Who lets a change be made.
pub(super) enum Authority {
    /// The groups that apply to who asks.
    Groups(Requester),
    /// The cluster: the host that has the agent's session has asked the groups.
    Cluster,
}

impl Change {
    /// Whether the first change may be made. Asked right before it, decided once for all
    /// hypervisors: an order that has begun is not torn in half.
    fn may_begin(&self) -> Result<(), Reason> {
        *self.begun.get_or_init(|| {
            if self.common.is_closed() {
                Err(Reason::ShuttingDown)
            } else if self.cancelled.is_cancelled() {
                Err(Reason::RequesterGone)
            } else if self.clock.now() > self.start_by {
                Err(Reason::OrderExpired)
            } else {
                Ok(())
            }
        })
    }

    /// The order's first change at one hypervisor: from here on the job holds the domain.
    fn begin(&self, ticket: &Ticket) -> Option<Arc<Place>> {
        let place = self.place.upgrade()?;
        (self.may_begin().is_ok() && ticket.begin()).then_some(place)
    }

    fn grant(&self, identity: &DomainIdentity) -> Result<Grant, Denied> {
        match &self.authority {
            Authority::Groups(requester) => requester.check(identity.clone()),
            Authority::Cluster => Ok(Grant::for_the_cluster(identity.clone())),
        }
    }
}

/// One hypervisor's part of "off".
#[derive(Debug, Clone)]
pub(super) struct OffReport {
    pub local: LocalOff,
    /// The domain's name there.
    pub name: Option<String>,
    /// What brings a transient domain back.
    pub definition: Option<String>,
}

impl OffReport {
    /// What brings the domain back, if it is not there while it is off.
    pub(super) fn transient(self) -> Option<Transient> {
        Some(Transient {
            name: self.name?,
            definition: self.definition?,
        })
    }
}

/// Makes sure that the domain is off on this worker's hypervisor.
pub(super) fn make_off(worker: &mut Worker, ticket: &Ticket, change: &Change) -> Answer<OffReport> {
    let mut job = OffJob {
        machine: Off::new(change.goal, change.deadline),
        found: None,
        place: None,
        definition: None,
    };
    let mut step = OffStep::Look;
    let local = loop {
        step = match step {
            OffStep::Look => job.look(worker, change),
            OffStep::Destroy => match job.destroy(worker, ticket, change) {
                Ok(step) => step,
                Err(local) => break local,
            },
            OffStep::Pause(pause) => {
                thread::sleep(pause);
                OffStep::Look
            }
            OffStep::Proven(proof) => {
                job.log_proof(worker, change, proof);
                break LocalOff::Proven(proof);
            }
            OffStep::WasOff => {
                let uri = worker.host.name();
                change
                    .cancelled
                    .prove(&format!("off already, by the word of {uri}"));
                break LocalOff::WasOff;
            }
            OffStep::Absent => break LocalOff::Absent,
            OffStep::Unreachable => return Answer::Down,
            OffStep::GiveUp => {
                let (uri, uuid) = (worker.host.name(), change.uuid);
                error!(uri, %uuid, seqno = change.seqno, "the domain is not proven off");
                break LocalOff::Failed;
            }
        };
    };
    Answer::Got(OffReport {
        local,
        name: job.found.map(|found| found.copy.identity.name),
        definition: job.definition,
    })
}

struct OffJob {
    machine: Off,
    found: Option<Found>,
    /// Held from the first destroy on.
    place: Option<Arc<Place>>,
    definition: Option<String>,
}

impl OffJob {
    fn look(&mut self, worker: &mut Worker, change: &Change) -> OffStep {
        let looked = look(worker, change.uuid);
        let now = change.clock.now();
        let look = match looked {
            Ok(None) => Look::Absent,
            Ok(Some(found)) => {
                let known = self.found.as_ref();
                if known.is_some_and(|known| !Arc::ptr_eq(&known.connection, &found.connection)) {
                    self.machine.changed_connection();
                }
                let instance = found.instance;
                let activity = found.copy.activity;
                if activity == Activity::Off && self.place.is_some() {
                    note_where_it_went(change, &found);
                }
                self.found = Some(found);
                match activity {
                    Activity::Off => Look::Off,
                    Activity::On => Look::On { instance },
                }
            }
            Err(fault) => {
                worker.log_fault(&change.uuid, &fault);
                Look::Failed(fault.trouble)
            }
        };
        self.machine.looked(now, look)
    }

    fn destroy(
        &mut self,
        worker: &mut Worker,
        ticket: &Ticket,
        change: &Change,
    ) -> Result<OffStep, LocalOff> {
        let Some(found) = &self.found else {
            return Ok(OffStep::GiveUp);
        };
        let Ok(grant) = change.grant(&found.copy.identity) else {
            return Err(LocalOff::Denied);
        };
        if self.place.is_none() {
            if change.keep_definition {
                self.definition = read_definition(worker, found);
            }
            self.place = Some(change.begin(ticket).ok_or(LocalOff::NotBegun)?);
        }
        if matches!(change.authority, Authority::Cluster) {
            look_for_migration(change, found, &mut self.definition);
        }
        let destroyed = worker.change(found, |connection| connection.destroy(&grant, found));
        if let Err(fault) = &destroyed {
            let (uri, uuid) = (worker.host.name(), change.uuid);
            let domain = &found.copy.identity.name;
            error!(uri, domain, %uuid, seqno = change.seqno, "destroying the domain failed: {fault}");
        }
        let result = destroyed.map_err(|fault| fault.trouble);
        Ok(self.machine.destroyed(change.clock.now(), result))
    }

    fn log_proof(&self, worker: &Worker, change: &Change, proof: Proof) {
        let domain = self.found.as_ref().map(|found| &*found.copy.identity.name);
        let (uri, uuid) = (worker.host.name(), change.uuid);
        let late = change.clock.now() > change.deadline;
        let how = match proof {
            Proof::Destroyed => "destroyed, and off by the word of",
            Proof::Vanished => "went off by itself, by the word of",
            Proof::Replaced => "the run that was is over, by the word of",
        };
        change.cancelled.prove(&format!("{how} {uri}"));
        // Who answers logs it, unless the answer was given already or another host gives it.
        if late || matches!(change.authority, Authority::Cluster) {
            info!(uri, domain, %uuid, seqno = change.seqno, ?proof, late, "the domain is proven off");
        } else {
            debug!(uri, domain, %uuid, seqno = change.seqno, ?proof, "the domain is proven off");
        }
    }
}

/// The copy is off. If it is so because a migration was completed, it runs elsewhere.
fn note_where_it_went(change: &Change, found: &Found) {
    let migrated = (
        virt_sys::VIR_DOMAIN_SHUTOFF,
        virt_sys::VIR_DOMAIN_SHUTOFF_MIGRATED,
    );
    let state = found
        .state()
        .map(|(state, why)| (state, why.unsigned_abs()));
    if state.is_ok_and(|state| state == migrated) {
        change.migrated.store(true, Ordering::Release);
    }
}

/// A copy that is being migrated may be running elsewhere when it is gone here. Not knowing is a sign, too, and so
/// is an answer that may be old: the copy is destroyed right after this.
fn look_for_migration(change: &Change, found: &Found, definition: &mut Option<String>) {
    match fresh(|| change.clock.now(), || role::ask(&change.common, found)).flatten() {
        Some(Migration::None) => {}
        Some(Migration::Incoming) => {
            // What would come back never ran here.
            *definition = None;
            change.migrated.store(true, Ordering::Release);
        }
        Some(Migration::Outgoing) | None => change.migrated.store(true, Ordering::Release),
    }
}

/// Asks until there is an answer that is fresh, a few times.
fn fresh<T>(mut now: impl FnMut() -> Moment, mut ask: impl FnMut() -> T) -> Option<T> {
    (0..ASK_AT_MOST).find_map(|_| {
        let asked = now();
        let answer = ask();
        (now() <= asked + FRESH).then_some(answer)
    })
}

fn look(worker: &mut Worker, uuid: Uuid) -> Result<Option<Found>, Fault> {
    let found = worker.ask(|connection| connection.look(uuid))?;
    if worker.host.common.several {
        let (mut sightings, host) = (worker.host.common.sightings(), worker.host.index);
        match &found {
            Some(found) => sightings.saw(host, uuid, found.copy.activity),
            None => sightings.missed(host, uuid),
        }
    }
    Ok(found)
}

/// Fencing goes before coming back: a definition that can't be read is logged and done without.
fn read_definition(worker: &Worker, found: &Found) -> Option<String> {
    found.connection.definition(found).unwrap_or_else(|fault| {
        let (uri, domain) = (worker.host.name(), &found.copy.identity.name);
        error!(
            uri,
            domain,
            "the definition can't be read, so a transient domain can't be started again: {fault}"
        );
        None
    })
}

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// It is on.
    On,
    /// It is not, as far as anybody knows; the cause is logged.
    Failed,
    /// The groups do not allow it.
    Denied,
    /// Nothing was begun.
    NotBegun,
}

/// How a domain is started.
pub(super) enum Start {
    /// For `on`: the order is not begun yet.
    Ordered(Arc<Ticket>, Option<Transient>),
    /// The second half of a reboot.
    Again {
        /// Who takes it decides: the job, or the one who counts it as failed because it was not
        /// taken up in time.
        ticket: Arc<Ticket>,
        /// The domain's turn, held to the end.
        place: Arc<Place>,
        /// For a domain that is not there while it is off.
        transient: Option<Transient>,
    },
}

/// What brings a transient domain back.
#[derive(Debug, Clone)]
pub(super) struct Transient {
    /// Its name, for the permission.
    pub name: String,
    /// Its XML.
    pub definition: String,
}

impl Start {
    /// Who takes it decides whether it is begun.
    pub(super) const fn ticket(&self) -> &Arc<Ticket> {
        let (Self::Ordered(ticket, _) | Self::Again { ticket, .. }) = self;
        ticket
    }

    const fn transient(&self) -> Option<&Transient> {
        let (Self::Ordered(_, transient) | Self::Again { transient, .. }) = self;
        transient.as_ref()
    }
}

/// Starts the domain on this worker's hypervisor, and makes sure that it is on.
pub(super) fn start(worker: &mut Worker, change: &Change, how: &Start) -> Started {
    let give_up = change.clock.now() + START_WITHIN;
    let mut starting = Starting {
        created: false,
        repeated: false,
        place: match how {
            Start::Ordered(..) => None,
            Start::Again { place, .. } => Some(Arc::clone(place)),
        },
        under_way: None,
    };
    loop {
        let fault = match try_start(worker, change, how, &mut starting) {
            Ok(started) => return started,
            Err(fault) => fault,
        };
        let (uri, uuid, seqno) = (worker.host.name(), change.uuid, change.seqno);
        let in_time = match how {
            Start::Ordered(..) => change.clock.now() < change.deadline,
            Start::Again { .. } => change.clock.now() < give_up,
        };
        // libvirt 9 may take the end of the process that was destroyed for the end of the new one,
        // and kill that while it starts: a start that failed once may well do the second time.
        let once_more = matches!(how, Start::Again { .. })
            && fault.trouble == Trouble::Other
            && !fault.no_domain
            && !starting.created
            && !starting.repeated;
        starting.repeated |= once_more;
        if !(fault.is_lost() || once_more) || !in_time {
            error!(uri, %uuid, seqno, "starting the domain failed: {fault}");
            return Started::Failed;
        }
        debug!(uri, %uuid, seqno, "starting the domain is tried again: {fault}");
        thread::sleep(START_AGAIN);
    }
}

struct Starting {
    created: bool,
    /// Whether a start that libvirt failed was tried again.
    repeated: bool,
    place: Option<Arc<Place>>,
    /// From the first call that creates to the end.
    under_way: Option<UnderWay>,
}

impl Starting {
    /// Whether a call that creates may be made: asked right before each.
    fn may_create(&mut self, change: &Change, how: &Start) -> bool {
        if let (Start::Ordered(ticket, _), None) = (how, &self.place) {
            self.place = change.begin(ticket);
        }
        let Some(place) = &self.place else {
            return false;
        };
        if self.under_way.is_none() {
            self.under_way = place.begin_start();
        }
        self.under_way.is_some() && place.has_turn()
    }
}

/// One try: look, create unless it is on, look again.
fn try_start(
    worker: &mut Worker,
    change: &Change,
    how: &Start,
    starting: &mut Starting,
) -> Result<Started, Fault> {
    for _ in 0..2 {
        let found = look(worker, change.uuid)?;
        if let Some(found) = &found
            && found.copy.activity == Activity::On
        {
            log_start(worker, change, &found.copy.identity.name);
            return Ok(Started::On);
        }
        if starting.created {
            return Err(Fault {
                trouble: Trouble::Other,
                no_domain: found.is_none(),
                message: "libvirt started the domain, and it is off again".to_owned(),
            });
        }
        let result = match create(worker, change, (how, starting), found.as_ref()) {
            Ok(result) => result,
            Err(refused) => return Ok(refused),
        };
        // Something else may have started it meanwhile: the next look tells.
        match result {
            Err(fault) if fault.trouble != Trouble::NothingToDo || fault.no_domain => {
                return Err(fault);
            }
            _ => starting.created = true,
        }
    }
    Err(Fault {
        trouble: Trouble::Other,
        no_domain: false,
        message: "the domain is not on".to_owned(),
    })
}

fn create(
    worker: &mut Worker,
    change: &Change,
    (how, starting): (&Start, &mut Starting),
    found: Option<&Found>,
) -> Result<Result<(), Fault>, Started> {
    let identity = match (found, how.transient()) {
        (Some(found), _) => found.copy.identity.clone(),
        (None, Some(transient)) => DomainIdentity {
            name: transient.name.clone(),
            uuid: change.uuid,
        },
        (None, None) => return Ok(Err(gone())),
    };
    let grant = change.grant(&identity).map_err(|_| Started::Denied)?;
    if !starting.may_create(change, how) {
        return Err(Started::NotBegun);
    }
    Ok(match (found, how.transient()) {
        (Some(found), _) => worker.change(found, |connection| connection.create(&grant, found)),
        (None, Some(Transient { definition, .. })) => {
            worker.change_on_any(|connection| connection.create_transient(&grant, definition))
        }
        (None, None) => Err(gone()),
    })
}

fn gone() -> Fault {
    Fault {
        trouble: Trouble::Other,
        no_domain: true,
        message: "the domain is no longer defined".to_owned(),
    }
}

fn log_start(worker: &Worker, change: &Change, domain: &str) {
    let (uri, uuid) = (worker.host.name(), change.uuid);
    change.cancelled.prove(&format!("on by the word of {uri}"));
    if matches!(change.authority, Authority::Cluster) {
        info!(uri, domain, %uuid, seqno = change.seqno, "the domain is on");
    } else {
        debug!(uri, domain, %uuid, seqno = change.seqno, "the domain is on");
    }
}

/// Counts and logs a reboot whose second half failed.
pub(super) fn count_failed_start(common: &Common, uuid: Uuid, seqno: u32, why: &str) {
    common.tally.failed_starts.fetch_add(1, Ordering::Relaxed);
    error!(%uuid, seqno, "the domain is fenced, but does not come back: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_that_may_be_old_is_asked_for_again_and_at_last_not_believed() {
        let slow = FRESH + Duration::from_millis(1);
        for (waits, asked, answer) in [
            (vec![FRESH], 1, Some(1)),
            (vec![slow, FRESH], 2, Some(2)),
            (vec![slow; 3], 3, None),
        ] {
            let mut waits = waits.into_iter();
            let mut asks = 0;
            let clock = std::cell::Cell::new(Moment::ZERO);
            let found = fresh(
                || clock.get(),
                || {
                    clock.set(clock.get() + waits.next().unwrap());
                    asks += 1;
                    asks
                },
            );
            assert_eq!((asks, found), (asked, answer));
        }
    }
}
