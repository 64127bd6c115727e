//! What the cluster's core has this host's hypervisors do: look, make off, start. The core decides, with what
//! the other hosts say; here it is only done, with proof and within its time.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fence_cluster::seam::{self, Job, LocalDomain, Outcome};
use fence_proto::fencing::{
    Acted, Activity, Answer, DomainCopy, Goal, RoundVerdict, Verdict, resolve,
};
use fence_proto::{DomainRef, Moment, Uuid};
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::act::{Authority, Change, OffReport, Start, Started, Transient};
use super::changes::{NoProof, TURN_KEPT};
use super::connection::{Fault, Found};
use super::lanes::Place;
use super::pool::{Lane, Ticket};
use super::survey::{Survey, Timing, Work};
use super::watch::Migration;
use super::watch::migration::{by_state, presumed};
use super::worker::Worker;
use super::{CancelFlag, Inner, LibvirtBackend, role};
use crate::sync::lock;

/// How long a question may take: a hypervisor that does not answer is known to after five seconds.
const QUESTION: Duration = Duration::from_secs(6);

/// Domains that an `Off` kept something of. The core forgets them; this is for one that does not.
const MAX_KEPT: usize = 1024;

/// Executes the core's jobs.
#[derive(Debug)]
pub struct Jobs {
    backend: LibvirtBackend,
    kept: Mutex<HashMap<Uuid, Kept>>,
}

/// What starts a domain again where it was.
#[derive(Debug, Clone)]
struct Kept {
    host: usize,
    transient: Option<Transient>,
}

/// The times of a job that changes something.
#[derive(Debug, Clone, Copy)]
struct Times {
    begin_by: Moment,
    end_by: Moment,
}

/// Which domain is asked for.
#[derive(Debug)]
enum Wanted {
    /// The one with this UUID.
    Is(Uuid),
    /// Those that may be meant by this text.
    IsCalled(DomainRef),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(uuid) => write!(f, "{uuid}"),
            Self::IsCalled(text) => write!(f, "{text}"),
        }
    }
}

/// A domain as one hypervisor has it.
#[derive(Debug, Clone)]
struct Seen {
    copy: DomainCopy,
    state: u8,
    migration: Migration,
}

impl Jobs {
    /// Jobs for the hypervisors of `backend`.
    #[must_use]
    pub fn new(backend: LibvirtBackend) -> Self {
        Self {
            backend,
            kept: Mutex::default(),
        }
    }

    /// Where the jobs are done.
    #[must_use]
    pub const fn backend(&self) -> &LibvirtBackend {
        &self.backend
    }

    /// Does a job, to its end.
    pub async fn execute(&self, job: Job) -> Outcome {
        match job {
            // What is seen now may be undone by a call that has not returned.
            Job::Look(uuid) | Job::Off { domain: uuid, .. } | Job::Start { domain: uuid, .. }
                if self.inner().lanes.is_stuck(uuid) =>
            {
                Outcome::Silent
            }
            Job::Look(uuid) => self.find(Wanted::Is(uuid)).await,
            Job::Find(text) => self.find(Wanted::IsCalled(text)).await,
            Job::Ping => self.ping().await,
            Job::Forget(uuid) => {
                lock(&self.kept).remove(&uuid);
                Outcome::Alive
            }
            Job::Off {
                domain,
                keep_definition,
                begin_by,
                end_by,
            } => {
                self.off(domain, keep_definition, Times { begin_by, end_by })
                    .await
            }
            Job::Start {
                domain,
                begin_by,
                end_by,
            } => self.start(domain, Times { begin_by, end_by }).await,
        }
    }

    fn inner(&self) -> &Inner {
        &self.backend.0
    }

    async fn ping(&self) -> Outcome {
        let timing = Timing::until(Instant::now() + QUESTION);
        match self.inner().monitor(timing).await {
            fence_proto::Reply::Success => Outcome::Alive,
            _ => Outcome::Silent,
        }
    }

    async fn find(&self, wanted: Wanted) -> Outcome {
        let deadline = Instant::now() + QUESTION;
        let inner = self.inner();
        match inner.survey(wanted, deadline).await {
            Some((Verdict::Known { .. } | Verdict::Ambiguous(_), answers)) => {
                let found = together(answers);
                let stuck = |it: &LocalDomain| inner.lanes.is_stuck(it.identity.uuid);
                if found.iter().any(stuck) {
                    return Outcome::Silent;
                }
                Outcome::Found(found)
            }
            Some((Verdict::Unknown, _)) => Outcome::Found(Vec::new()),
            _ => Outcome::Silent,
        }
    }

    async fn off(&self, domain: Uuid, keep: bool, times: Times) -> Outcome {
        let inner = self.inner();
        let (change, deadline) = match inner.job_change(domain, keep, times).await {
            Ok(change) => change,
            Err(outcome) => return outcome,
        };
        let (change, place) = change;
        let off = inner.off_for_good(&change, deadline).await;
        if off.is_err() && gave_up_a_call(&place) {
            error!(uuid = %domain, "nobody knows whether the domain is off: a call to libvirt does not return");
            return Outcome::Silent;
        }
        match off {
            Ok(None) => Outcome::WasOff,
            Ok(Some((acted, report))) => {
                if keep {
                    self.keep(domain, acted, report);
                }
                Outcome::Off {
                    migrating: change.migrated.load(Ordering::Acquire),
                    vanished: !acted.by_us,
                }
            }
            Err(doubt) => no_proof(domain, &doubt),
        }
    }

    fn keep(&self, domain: Uuid, acted: Acted, report: OffReport) {
        let kept = Kept {
            host: acted.host,
            transient: report.transient(),
        };
        let mut all = lock(&self.kept);
        if all.len() < MAX_KEPT || all.contains_key(&domain) {
            all.insert(domain, kept);
        } else {
            error!(uuid = %domain, "too much is kept of fenced domains: this one can be started again only if it is defined");
        }
    }

    async fn start(&self, domain: Uuid, times: Times) -> Outcome {
        let inner = self.inner();
        let ((change, place), deadline) = match inner.job_change(domain, false, times).await {
            Ok(change) => change,
            Err(outcome) => return outcome,
        };
        let kept = lock(&self.kept).get(&domain).cloned();
        let (verdict, answers) = match inner.survey(Wanted::Is(domain), deadline).await {
            Some(found) => found,
            None => return Outcome::Silent,
        };
        match verdict {
            Verdict::Known {
                activity: Activity::On,
                ..
            } => on_already(answers),
            Verdict::Known { .. } => {
                let has =
                    |answer: &Answer<Vec<Seen>>| answer.got().is_some_and(|it| !it.is_empty());
                let defined = answers.iter().position(has);
                let was = kept.map(|kept| kept.host);
                let was = was.filter(|host| answers.get(*host).is_some_and(has));
                let host = was.or(defined);
                inner
                    .job_start((&change, &place), (host, None), deadline)
                    .await
            }
            Verdict::Unknown => match kept {
                Some(Kept {
                    host,
                    transient: Some(transient),
                }) => {
                    let what = (Some(host), Some(transient));
                    inner.job_start((&change, &place), what, deadline).await
                }
                _ => Outcome::Failed("it is no longer defined here".to_owned()),
            },
            Verdict::Ambiguous(_) | Verdict::Doubt(_) | Verdict::Wait => Outcome::Silent,
        }
    }
}

/// A domain that is active is not started. Whether that is what was wanted depends on why it is.
fn on_already(answers: Vec<Answer<Vec<Seen>>>) -> Outcome {
    match together(answers).first() {
        Some(found) if found.migration == seam::Migration::Incoming => {
            Outcome::Failed("a migration is bringing it here".to_owned())
        }
        _ => Outcome::Started,
    }
}

fn no_proof(domain: Uuid, doubt: &NoProof) -> Outcome {
    let failed = |why: &str| {
        error!(uuid = %domain, "the domain is not proven off here: {why}");
        Outcome::Failed(why.to_owned())
    };
    match doubt {
        NoProof::Verdict(RoundVerdict::Unknown) => Outcome::WasAbsent,
        NoProof::Verdict(RoundVerdict::NotBegun) => Outcome::NotBegun,
        NoProof::Verdict(RoundVerdict::Doubt(doubt)) => {
            error!(uuid = %domain, "nobody knows whether the domain is on here: {doubt}");
            Outcome::Silent
        }
        NoProof::Verdict(_) => failed("it is not off in time"),
        NoProof::Starting => failed("a start of it does not return"),
    }
}

/// Whether a call for this domain is out whose end is not waited for. From here on the domain counts as one
/// of which nothing is known, until that call returns.
fn gave_up_a_call(place: &Arc<Place>) -> bool {
    // Besides the job that waits, only a worker that has begun holds it.
    let out = Arc::strong_count(place) > 1;
    if out {
        place.give_up();
    }
    out
}

impl Inner {
    /// Takes the domain's turn for a job.
    async fn job_change(
        &self,
        uuid: Uuid,
        keep_definition: bool,
        times: Times,
    ) -> Result<((Arc<Change>, Arc<Place>), Instant), Outcome> {
        let deadline = Instant::from_std(self.clock.instant(times.end_by));
        let begin_by = Instant::from_std(self.clock.instant(times.begin_by)).min(deadline);
        if self.common.is_closed() {
            return Err(Outcome::NotBegun);
        }
        let place = match timeout_at(begin_by, self.lanes.enter(uuid)).await {
            Ok(Ok(place)) => Arc::new(place),
            Ok(Err(crowded)) => return Err(Outcome::Failed(crowded.to_string())),
            Err(_) => return Err(Outcome::NotBegun),
        };
        place.keep_until(deadline + TURN_KEPT);
        let change = Arc::new(Change {
            uuid,
            goal: Goal::StayOff,
            authority: Authority::Cluster,
            keep_definition,
            seqno: 0,
            start_by: times.begin_by,
            deadline: times.end_by,
            clock: self.clock,
            common: Arc::clone(&self.common),
            cancelled: CancelFlag::new(),
            begun: OnceLock::new(),
            place: Arc::downgrade(&place),
            migrated: AtomicBool::new(false),
        });
        Ok(((change, place), deadline))
    }

    async fn job_start(
        &self,
        (change, place): (&Arc<Change>, &Arc<Place>),
        (host, transient): (Option<usize>, Option<Transient>),
        deadline: Instant,
    ) -> Outcome {
        let ticket = Arc::new(Ticket::default());
        let how = Start::Ordered(Arc::clone(&ticket), transient);
        let started = host.and_then(|host| self.submit_start(change, host, how));
        let Some(receiver) = started else {
            return Outcome::Failed("its hypervisor takes no calls".to_owned());
        };
        let started = timeout_at(deadline, receiver).await;
        ticket.close();
        match started {
            Ok(Ok(Started::On)) => Outcome::Started,
            Ok(Ok(Started::NotBegun)) => Outcome::NotBegun,
            Ok(Ok(Started::Failed | Started::Denied) | Err(_)) => {
                Outcome::Failed("it could not be started".to_owned())
            }
            Err(_) if gave_up_a_call(place) => Outcome::Silent,
            // It was not taken up, and now never is.
            Err(_) => Outcome::NotBegun,
        }
    }

    /// What there is of a domain on this host, and what that means. `None` if there is no telling in time.
    async fn survey(
        &self,
        wanted: Wanted,
        deadline: Instant,
    ) -> Option<(Verdict, Vec<Answer<Vec<Seen>>>)> {
        let work: Arc<Work<Vec<Seen>>> = Arc::new(move |worker, _, report| {
            report(match see(worker, &wanted) {
                Ok(seen) => Answer::Got(seen),
                Err(fault) => {
                    worker.log_fault(&wanted, &fault);
                    Answer::Down
                }
            });
        });
        let mut survey = Survey::begin(&self.hosts, Lane::Ask, &[], work);
        let judged = survey.judged(Timing::until(deadline), |answers, stage| {
            let copies = |seen: &Vec<Seen>| seen.iter().map(|seen| seen.copy.clone()).collect();
            let all: Vec<_> = answers.iter().map(|answer| answer.map(copies)).collect();
            let now = self.clock.now();
            match resolve(&all, stage, &self.common.sightings(), now) {
                Verdict::Wait => None,
                verdict => Some((verdict, answers.to_vec())),
            }
        });
        judged.await
    }
}

fn see(worker: &mut Worker, wanted: &Wanted) -> Result<Vec<Seen>, Fault> {
    let common = Arc::clone(&worker.host.common);
    let seen: Vec<Seen> = worker.ask(|connection| {
        let found = match wanted {
            Wanted::Is(uuid) => connection.look(*uuid)?.into_iter().collect(),
            Wanted::IsCalled(text) => connection.find(text)?,
        };
        let seen = found.iter().map(|found| describe(&common, found));
        seen.collect()
    })?;
    if common.several {
        let mut sightings = common.sightings();
        for Seen { copy, .. } in &seen {
            sightings.saw(worker.host.index, copy.identity.uuid, copy.activity);
        }
    }
    Ok(seen)
}

fn describe(common: &Arc<super::host::Common>, found: &Found) -> Result<Seen, Fault> {
    let (state, reason) = match found.state() {
        Ok(state) => state,
        // It went between two questions: gone, and as good as off.
        Err(fault) if fault.no_domain => (virt_sys::VIR_DOMAIN_SHUTOFF, 0),
        Err(fault) => return Err(fault),
    };
    let migration = match (found.copy.activity, by_state(state, reason)) {
        (Activity::Off, half) => half.unwrap_or(Migration::None),
        (Activity::On, Some(half @ (Migration::Incoming | Migration::Outgoing))) => half,
        (Activity::On, _) => role::ask(common, found).unwrap_or_else(|| presumed(state)),
    };
    Ok(Seen {
        copy: found.copy.clone(),
        state: u8::try_from(state).unwrap_or(0),
        migration,
    })
}

/// Each domain once, with the copy that matters most.
fn together(answers: Vec<Answer<Vec<Seen>>>) -> Vec<LocalDomain> {
    let mut all: Vec<LocalDomain> = Vec::new();
    let seen = answers.iter().filter_map(Answer::got).flatten();
    for seen in seen {
        let domain = local(seen);
        let known = all
            .iter_mut()
            .find(|known| known.identity.uuid == domain.identity.uuid);
        match known {
            Some(known) if weight(&domain) > weight(known) => *known = domain,
            Some(_) => {}
            None => all.push(domain),
        }
    }
    all
}

/// Which of two copies of one domain on one host speaks for both: an active one before one that a migration
/// brings, that before one that a migration took away, and that before one that is shut off.
#[must_use]
pub const fn weight(domain: &LocalDomain) -> u8 {
    match (domain.active, domain.migration) {
        (true, seam::Migration::None | seam::Migration::Outgoing) => 3,
        (true, seam::Migration::Incoming) => 2,
        (false, seam::Migration::Outgoing) => 1,
        (false, _) => 0,
    }
}

fn local(seen: &Seen) -> LocalDomain {
    LocalDomain {
        identity: seen.copy.identity.clone(),
        active: seen.copy.activity == Activity::On,
        state: seen.state,
        migration: seen.migration.into(),
    }
}

impl From<Migration> for seam::Migration {
    fn from(migration: Migration) -> Self {
        match migration {
            Migration::None => Self::None,
            Migration::Incoming => Self::Incoming,
            Migration::Outgoing => Self::Outgoing,
        }
    }
}
