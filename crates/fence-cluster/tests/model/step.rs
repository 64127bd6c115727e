//! One step of a state: what it is called, and doing it. Here are the steps of the daemons and of
//! time; those of everything around them are in `environment`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fence_cluster::seam::{
    Event, Job, JobId, MemberId, NodeId, Output, Proof, Request, Ticket, WallTime,
};
use fence_proto::{Access, DomainRef, Moment, Requester, Source};

use crate::claims::{Asked, PATIENCE};
use crate::happening::Happening;
use crate::net::What;
use crate::rules::Rules;
use crate::truth;
use crate::world::{Local, Running, Told, World, host_of, node};

/// What a daemon takes its next event from. Each is a queue of its own, and may be held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Messages and membership changes.
    Inbox,
    /// Corosync's word on quorum, which is not ordered with messages.
    Quorum,
    /// libvirt's events.
    Local,
    /// What came of jobs.
    Done,
    /// The jobs themselves, on their way to libvirt.
    Jobs,
    /// Questions about fencing.
    Proofs,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// This host's daemon takes the next of a lane; of its jobs, the one with that number takes effect.
    Take(usize, Lane, usize),
    /// A call to libvirt times out.
    Silent(usize, usize),
    /// A daemon's deadline has come.
    Tick(usize),
    /// Corosync notices who has vanished.
    Notice,
    /// Time passes until something is due.
    Advance(u64),
    /// A lane is held up from now on.
    Stall(usize, Lane),
    /// It no longer is.
    Unstall(usize, Lane),
    /// The next request arrives.
    Ask,
    /// Something happens to the hosts or the domains.
    Happens(Happening),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Take(host, lane, 0) => write!(f, "{}: {lane:?}", node(*host)),
            Self::Take(host, lane, index) => write!(f, "{}: {lane:?} {index}", node(*host)),
            Self::Silent(host, _) => write!(f, "{}: a call to libvirt times out", node(*host)),
            Self::Tick(host) => write!(f, "{}: tick", node(*host)),
            Self::Notice => f.write_str("corosync notices who is gone"),
            Self::Advance(to) => write!(f, "time goes on to {to}"),
            Self::Stall(host, lane) => write!(f, "{}: {lane:?} is held up", node(*host)),
            Self::Unstall(host, lane) => write!(f, "{}: {lane:?} goes on", node(*host)),
            Self::Ask => f.write_str("a request arrives"),
            Self::Happens(what) => what.fmt(f),
        }
    }
}

impl<R: Rules> World<R> {
    /// Does a step that is possible.
    pub(crate) fn apply(&mut self, step: &Step) {
        self.do_step(step);
    }

    fn do_step(&mut self, step: &Step) {
        let now = self.now;
        self.note(|| format!("{now:6} ms  {step}"));
        match step {
            Step::Take(host, Lane::Inbox, _) => self.take_item(*host),
            Step::Take(host, Lane::Quorum, _) => self.take_quorum(*host),
            Step::Take(host, Lane::Local, _) => self.take_local(*host),
            Step::Take(host, Lane::Done, _) => self.take_done(*host),
            Step::Take(host, Lane::Jobs, index) => self.take_effect(*host, *index),
            Step::Take(host, Lane::Proofs, index) => self.take_proof(*host, *index),
            Step::Silent(host, index) => self.time_out(*host, *index),
            Step::Tick(host) => self.tick(*host),
            Step::Notice => self.notice(),
            Step::Advance(to) => {
                self.judge_overdue();
                self.now = *to;
            }
            Step::Stall(host, lane) => {
                self.stalls -= 1;
                self.stalled.push((*host, *lane));
            }
            Step::Unstall(host, lane) => self.stalled.retain(|held| held != &(*host, *lane)),
            Step::Ask => self.ask(),
            Step::Happens(happening) => self.happen(*happening),
        }
    }

    pub(crate) fn moment(at: u64) -> Moment {
        Moment::from_epoch(Duration::from_millis(at))
    }

    /// Gives an event to a host's rules and does what they say.
    pub(crate) fn feed(&mut self, host: usize, event: Event<'_>) {
        let clock = self.clock();
        let Some(daemon) = &mut self.hosts[host].daemon else {
            return;
        };
        daemon.idle_at = None;
        let rules = Arc::make_mut(&mut daemon.rules);
        let mut outputs = Vec::new();
        rules.handle(clock, event, &mut outputs);
        daemon.digest = (rules.digest(clock), self.now);
        let id = daemon.id;
        for output in outputs {
            self.output(host, id, output);
        }
    }

    fn output(&mut self, host: usize, id: MemberId, output: Output) {
        match output {
            Output::Send(bytes) => {
                self.note(|| format!("      {id} sends {}", R::explain(&bytes)));
                self.order(id, Arc::from(bytes));
            }
            Output::Do(job_id, job) => self.take_up(host, job_id, job),
            Output::AskProof { node, since, .. } => {
                self.note(|| format!("      {id} asks for proof that {node} was fenced"));
                if let Some(daemon) = &mut self.hosts[host].daemon
                    && !daemon.proofs.contains(&(node, since))
                {
                    daemon.proofs.push((node, since));
                }
            }
            Output::Reply(ticket, answer, why) => {
                self.note(|| format!("      {id} REPLIES {answer:?} {}", why.unwrap_or_default()));
                self.judge(usize::try_from(ticket.0).unwrap(), &answer);
            }
            Output::Note(level, text) => self.note(|| format!("      {id} {level:?}: {text}")),
        }
    }

    fn take_up(&mut self, host: usize, id: JobId, job: Job) {
        self.note(|| format!("      {} does {id:?}: {job:?}", node(host)));
        self.judge_deed(host, &job);
        let since = self.now;
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.jobs.push(Running { id, job, since });
        }
    }

    fn take_item(&mut self, host: usize) {
        let daemon = self.hosts[host].daemon.as_mut();
        let Some(item) = daemon.and_then(|daemon| daemon.inbox.pop_front()) else {
            return;
        };
        match item.what {
            What::Membership { members, left } => {
                self.note(|| {
                    format!(
                        "      members now {}, left {left:?}",
                        members
                            .iter()
                            .map(ToString::to_string)
                            .collect::<Vec<_>>()
                            .join(" ")
                    )
                });
                self.part(host, &members);
                self.feed(host, Event::Membership { members, left });
            }
            What::Message { from, bytes } => {
                self.note(|| format!("      from {from}: {}", R::explain(&bytes)));
                self.hear(host, from, &bytes);
                let bytes = &bytes[..];
                self.feed(host, Event::Delivered { from, bytes });
            }
            What::Disconnected => self.feed(host, Event::Disconnected),
        }
    }

    fn take_quorum(&mut self, host: usize) {
        let daemon = self.hosts[host].daemon.as_mut();
        if let Some(told) = daemon.and_then(|daemon| daemon.quorum.pop_front()) {
            self.note(|| format!("      {told:?}"));
            let event = match told {
                Told::Quorum(quorate) => Event::Quorum(quorate),
                Told::Nodes(nodes) => Event::Nodes(nodes),
            };
            self.feed(host, event);
        }
    }

    fn take_local(&mut self, host: usize) {
        let daemon = self.hosts[host].daemon.as_mut();
        let Some(local) = daemon.and_then(|daemon| daemon.local.pop_front()) else {
            return;
        };
        self.note(|| format!("      {local:?}"));
        let event = match local {
            Local::Inventory(all) => Event::Inventory(all),
            Local::Changed(domain) => Event::Changed(domain),
            Local::Gone(uuid) => Event::Gone(uuid),
            Local::Lost => Event::InventoryLost,
        };
        self.feed(host, event);
    }

    pub(crate) fn take_done(&mut self, host: usize) {
        let daemon = self.hosts[host].daemon.as_mut();
        if let Some((id, outcome)) = daemon.and_then(|daemon| daemon.done.pop_front()) {
            self.note(|| format!("      {id:?}: {outcome:?}"));
            self.feed(host, Event::Done(id, outcome));
        }
    }

    fn take_proof(&mut self, host: usize, index: usize) {
        let Some(daemon) = &mut self.hosts[host].daemon else {
            return;
        };
        let (node, since) = daemon.proofs.remove(index);
        let proof = self.proof(node, since);
        self.note(|| format!("      of {node} since {since:?}: {proof:?}"));
        self.feed(host, Event::Proof { node, since, proof });
    }

    /// What the fencer knows, to the second.
    fn proof(&self, node: NodeId, since: WallTime) -> Proof {
        let fenced = self.hosts[host_of(node)].fenced_at;
        let at = fenced.map(|at| Self::wall_at(at - at % 1000));
        at.filter(|at| *at >= since)
            .map_or(Proof::NotFenced, |at| Proof::Fenced {
                at,
                by: "the model".to_owned(),
            })
    }

    fn tick(&mut self, host: usize) {
        let clock = self.clock();
        let before = self.daemon(host).map(|daemon| daemon.rules.digest(clock));
        self.feed(host, Event::Tick);
        let now = self.now;
        if let Some(daemon) = &mut self.hosts[host].daemon
            && Some(daemon.digest.0) == before
        {
            daemon.idle_at = Some(now);
        }
    }

    fn ask(&mut self) {
        let number = self.asked.len();
        let ask = self.plan.asks[number];
        let Some(daemon) = &self.hosts[ask.host].daemon else {
            return;
        };
        let domain = &self.truth[ask.domain];
        self.asked.push(Asked {
            by: daemon.id,
            host: ask.host,
            action: ask.action,
            domain: ask.domain,
            at: self.now,
            runs: domain.next_run,
            was_off: domain.is_off(),
            was_active: domain.is_active(),
            reply: None,
            orphaned: false,
            over_at: None,
        });
        let by_name = truth::identity(ask.domain).name;
        let request = Request {
            action: ask.action,
            domain: DomainRef::new(&by_name).unwrap(),
            requester: Requester::new(Source::Cid(3), Arc::new(Access::unrestricted())),
            start_by: Self::moment(self.now + PATIENCE),
            answer_by: Self::moment(self.now + PATIENCE),
        };
        let ticket = Ticket(u64::try_from(number).unwrap());
        self.note(|| {
            format!(
                "      {:?} vm{} at {}",
                ask.action,
                ask.domain,
                node(ask.host)
            )
        });
        self.feed(ask.host, Event::Request(ticket, request));
    }
}
