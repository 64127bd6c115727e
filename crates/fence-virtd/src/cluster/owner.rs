//! The task that holds the cluster's core.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fence_cluster::seam::{
    Event, JobId, Level, NodeId, Now, Outcome, Output, Proof, Request, Ticket, WallTime,
};
use fence_proto::host::Answer;
use fence_proto::{Action, DomainRef};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::condition::Condition;
use super::core::Core;
use super::hosts::Hosts;
use super::inventory::{Inventory, News};
use super::notes::Allowance;
use super::{Command, Facts};
use crate::clock::Clock;
use crate::config::CpgSettings;
use crate::corosync::{Corosync, Happening};
use crate::libvirt::jobs::Jobs;
use crate::members::Teller;
use crate::proof::Prover;
use crate::sync::lock;

/// How long the core's time waits for everything that corosync has for us: a look ahead before something is
/// begun. A corosync that hangs must not hold up answers. In steps, of which a daemon that was stopped itself
/// loses one only, so that the thread that talks to corosync, which was stopped as well, has its time.
const LOOK_AHEAD: (u32, Duration) = (10, Duration::from_millis(50));

/// How often what was counted is put where others can see it.
const REPORT: Duration = Duration::from_secs(1);

/// How the backend is while the group is not joined.
const NOT_JOINED: &str = "cluster not joined";

/// What a task of ours has brought.
enum Brought {
    Done(JobId, Outcome),
    Proof {
        node: NodeId,
        since: WallTime,
        proof: Proof,
    },
}

/// An order whose answer is due.
struct Waiting {
    reply: oneshot::Sender<(Answer, Option<String>)>,
    action: Action,
    domain: DomainRef,
    /// What the next core is asked, if this one has not begun it by then.
    again: Option<Request>,
}

/// A look ahead: until this barrier has come, or all steps are over.
struct LookAhead {
    barrier: u64,
    steps: u32,
    next: Instant,
}

/// The owner.
pub(super) struct Owner {
    settings: CpgSettings,
    clock: Clock,
    corosync: Corosync,
    commands: mpsc::Receiver<Command>,
    jobs: Arc<Jobs>,
    prover: Arc<Prover>,
    facts: Arc<Facts>,
    brought: mpsc::UnboundedReceiver<Brought>,
    bringer: mpsc::UnboundedSender<Brought>,
    inventory: Inventory,
    core: Core,
    /// The group was joined under this id, which is not the core's. Until what the core has begun is over nothing more is
    /// heard of the group: what comes of a job must not be told to the next core.
    successor: Option<NodeId>,
    connected: bool,
    waiting: HashMap<Ticket, Waiting>,
    look_ahead: Option<LookAhead>,
    notes: Allowance,
    reported: Instant,
    hosts: Hosts,
    condition: Condition,
    /// Writes down who is in the group.
    teller: Teller,
    outputs: Vec<Output>,
}

impl Owner {
    pub(super) fn new(
        (settings, clock): (CpgSettings, Clock),
        (corosync, commands): (Corosync, mpsc::Receiver<Command>),
        jobs: Jobs,
        prover: Prover,
        facts: Arc<Facts>,
    ) -> Self {
        let (bringer, brought) = mpsc::unbounded_channel();
        // What is to be done without the others is done from the start, under an id that they never hear of.
        let core = Core::new((&settings, prover.is_possible()), None, now(clock));
        facts.condition.send_replace(NOT_JOINED.to_owned());
        Self {
            teller: Teller::of(&settings.group),
            hosts: Hosts::new(settings.hosts.clone()),
            inventory: Inventory::watch(jobs.backend()),
            settings,
            clock,
            corosync,
            commands,
            jobs: Arc::new(jobs),
            prover: Arc::new(prover),
            facts,
            brought,
            bringer,
            core,
            successor: None,
            connected: false,
            waiting: HashMap::new(),
            look_ahead: None,
            notes: Allowance::new(),
            reported: Instant::now(),
            condition: Condition::default(),
            outputs: Vec::new(),
        }
    }

    /// Until the group is left for good or the backend is gone.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.due();
            let hears = self.successor.is_none();
            tokio::select! {
                happening = self.corosync.next(), if hears => self.happened(happening),
                news = self.inventory.next() => self.heard(news),
                Some(brought) = self.brought.recv() => self.take(brought),
                command = self.commands.recv() => match command {
                    Some(Command::Leave { host_ends, left }) => {
                        if host_ends {
                            self.feed(Event::ShuttingDown);
                        }
                        self.corosync.leave().await;
                        let _ = left.send(());
                        return;
                    }
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = at(due) => self.due_now(),
            }
            self.succeed();
            self.report();
        }
    }

    /// When to come back if nothing happens.
    fn due(&self) -> Option<Instant> {
        if let Some(look_ahead) = &self.look_ahead {
            return Some(look_ahead.next);
        }
        let deadline = self.core.cluster.deadline()?;
        Some(Instant::from_std(self.clock.instant(deadline)))
    }

    /// The core's time has come. Before it may act on that it gets everything that corosync has for us, so that
    /// a word that calls something off is heard first, above all by a daemon that was stopped and goes on.
    fn due_now(&mut self) {
        let next = Instant::now() + LOOK_AHEAD.1;
        match &mut self.look_ahead {
            Some(look_ahead) if look_ahead.steps > 0 => {
                look_ahead.steps -= 1;
                look_ahead.next = next;
            }
            None if self.connected => {
                self.look_ahead = Some(LookAhead {
                    barrier: self.corosync.barrier(),
                    steps: LOOK_AHEAD.0,
                    next,
                });
            }
            _ => self.tick(),
        }
    }

    fn tick(&mut self) {
        self.look_ahead = None;
        self.feed(Event::Tick);
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Connected { node } => self.join(node),
            Happening::Disconnected(_) => {
                self.connected = false;
                self.look_ahead = None;
                self.condition.members = 0;
                self.condition.quorate = false;
                self.feed(Event::Disconnected);
            }
            Happening::Membership { members, left } => {
                self.condition.members = members.len();
                for (member, why) in &left {
                    info!(%member, ?why, "left the cluster's group");
                }
                self.feed(Event::Membership { members, left });
            }
            Happening::Delivered { from, bytes } => self.feed(Event::Delivered {
                from,
                bytes: &bytes,
            }),
            Happening::Quorum(quorate) => {
                self.condition.quorate = quorate;
                self.feed(Event::Quorum(quorate));
            }
            Happening::Nodes(nodes) => self.feed(Event::Nodes(nodes)),
            Happening::Hosts(hosts) => {
                let hosts = self.hosts.of_interest(hosts);
                // Without any, nothing is claimed.
                if !hosts.is_empty() {
                    self.feed(Event::Hosts(hosts));
                }
            }
            Happening::Barrier(barrier) => {
                let awaited = self.look_ahead.as_ref();
                if awaited.is_some_and(|awaited| awaited.barrier == barrier) {
                    self.tick();
                }
            }
        }
        self.tell_condition();
    }

    /// The group is joined, for the first time or again.
    fn join(&mut self, node: NodeId) {
        match self.core.node {
            Some(known) if known == node => self.connected = true,
            Some(before) => {
                error!(%before, now = %node, "corosync's id of this host has changed: orders under way fail, everything is learnt anew");
                self.successor = Some(node);
            }
            None => self.successor = Some(node),
        }
    }

    /// A new core takes over once nothing that the old one has begun is open.
    fn succeed(&mut self) {
        let Some(node) = self.successor else { return };
        let now = now(self.clock);
        if self.core.is_busy(now) {
            return;
        }
        self.successor = None;
        self.connected = true;
        self.look_ahead = None;
        let settings = (&self.settings, self.prover.is_possible());
        self.core = Core::new(settings, Some(node), now);
        if let Some(domains) = self.inventory.all() {
            self.feed(Event::Inventory(domains));
        }
        // Whoever is not taken along gets a failure.
        for (ticket, waiting) in std::mem::take(&mut self.waiting) {
            if let Some(request) = waiting.again {
                self.request(ticket, request, waiting.reply);
            }
        }
    }

    fn heard(&mut self, news: News) {
        self.condition.count(&news);
        self.tell_condition();
        match news {
            News::Inventory(domains) => {
                debug!(domains = domains.len(), "this host's domains are known");
                self.feed(Event::Inventory(domains));
            }
            News::Changed(domain) => self.feed(Event::Changed(domain)),
            News::Gone(uuid) => self.feed(Event::Gone(uuid)),
            News::MigratedAway(domain) => {
                let uuid = domain.identity.uuid;
                self.feed(Event::Changed(domain));
                self.feed(Event::Gone(uuid));
            }
            News::Lost => self.feed(Event::InventoryLost),
        }
    }

    fn take(&mut self, brought: Brought) {
        match brought {
            Brought::Done(job, outcome) => {
                debug!(job = job.0, ?outcome, "a job is done");
                self.core.jobs = self.core.jobs.saturating_sub(1);
                self.feed(Event::Done(job, outcome));
            }
            Brought::Proof { node, since, proof } => {
                self.feed(Event::Proof { node, since, proof });
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Request {
                ticket,
                request,
                reply,
            } => self.request(ticket, request, reply),
            Command::Abandoned(ticket) => {
                self.feed(Event::Abandoned(ticket));
                if let Some(waiting) = self.waiting.get_mut(&ticket) {
                    waiting.again = None;
                }
            }
            Command::Ping(answer) => {
                // Who has given up waiting asks again.
                let _ = answer.send(());
            }
            Command::Leave { .. } => {}
        }
    }

    fn request(
        &mut self,
        ticket: Ticket,
        request: Request,
        reply: oneshot::Sender<(Answer, Option<String>)>,
    ) {
        // One that has joined keeps its requests to their end.
        let passes_on = self.successor.is_some() || self.core.node.is_none();
        let waiting = Waiting {
            reply,
            action: request.action,
            domain: request.domain.clone(),
            again: passes_on.then(|| request.clone()),
        };
        self.waiting.insert(ticket, waiting);
        if self.successor.is_none() {
            self.feed(Event::Request(ticket, request));
        }
    }

    fn feed(&mut self, event: Event<'_>) {
        let now = now(self.clock);
        let mut outputs = std::mem::take(&mut self.outputs);
        self.core.cluster.handle(now, event, &mut outputs);
        for output in outputs.drain(..) {
            self.perform(output);
        }
        self.outputs = outputs;
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send(bytes) => self.corosync.send(bytes),
            Output::Do(id, job) => {
                debug!(job = id.0, ?job, "a job is given");
                self.core.jobs += 1;
                let (jobs, bringer) = (Arc::clone(&self.jobs), self.bringer.clone());
                tokio::spawn(async move {
                    let outcome = jobs.execute(job).await;
                    // Without the owner nobody wants it.
                    let _ = bringer.send(Brought::Done(id, outcome));
                });
            }
            Output::AskProof { node, name, since } => {
                let (prover, bringer) = (Arc::clone(&self.prover), self.bringer.clone());
                tokio::spawn(async move {
                    let proof = prover.ask(node, name.as_deref(), since).await;
                    let _ = bringer.send(Brought::Proof { node, since, proof });
                });
            }
            Output::Reply(ticket, answer, why) => self.reply(ticket, answer, why),
            Output::Note(level, text) => self.note(level, &text),
        }
    }

    fn reply(&mut self, ticket: Ticket, answer: Answer, why: Option<String>) {
        let Some(waiting) = self.waiting.remove(&ticket) else {
            return;
        };
        let (action, domain) = (waiting.action, &waiting.domain);
        let success = matches!(&answer, Answer::Reply(fence_proto::Reply::Success));
        if let Some(why) = &why {
            // Of a deed the session says why, in the line that it logs of it.
            if action.changes_state() {
                debug!(%action, ?domain, ?answer, "{why}");
            } else if success {
                info!(%action, ?domain, "{why}");
            } else {
                warn!(%action, ?domain, ?answer, "{why}");
            }
        }
        let why = why.or_else(|| {
            let proven = success && action.changes_state();
            proven.then(|| "by the word of every host that had it".to_owned())
        });
        if let Err((answer, why)) = waiting.reply.send((answer, why)) {
            // It came too late for the requester.
            info!(%action, ?domain, ?answer, why, "answered nobody");
        }
    }

    fn note(&mut self, level: Level, text: &str) {
        let Some(missed) = self.notes.allow() else {
            return;
        };
        if missed > 0 {
            warn!(missed, "lines about the cluster were not logged");
        }
        match level {
            Level::Warn => warn!("{text}"),
            Level::Info => info!("{text}"),
            Level::Debug => debug!("{text}"),
        }
    }

    /// Who is there: for the log, the counters and the service manager.
    fn tell_condition(&mut self) {
        let Some(words) = self.condition.in_words(self.connected) else {
            return;
        };
        self.facts.condition.send_if_modified(|told| {
            let changed = *told != words;
            *told = words;
            changed
        });
    }

    fn report(&mut self) {
        if self.reported.elapsed() < REPORT {
            return;
        }
        self.reported = Instant::now();
        if self.core.node.is_some() {
            self.teller.tell(self.core.cluster.members());
        }
        let core = self.core.cluster.summary();
        let condition = self.facts.condition.borrow().clone();
        let summary = format!("{condition}; {core}");
        *lock(&self.facts.summary) = summary;
    }
}

/// Resolves then, or never.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn now(clock: Clock) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall = wall.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    Now {
        moment: clock.now(),
        wall: WallTime(wall),
    }
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
