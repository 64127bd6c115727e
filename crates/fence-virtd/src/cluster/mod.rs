//! The cluster backend: orders are carried out by the hosts of a corosync cluster together.
//!
//! What is decided is decided in the crate `fence-cluster`, from events in agreed order. One task, the
//! [`owner`], holds that core, feeds it, and has done what it says: by corosync ([`crate::corosync`]), by this
//! host's hypervisors ([`crate::libvirt::jobs`]), by whoever can prove that a host was fenced
//! ([`crate::proof`]). docs/cluster.md has the rules.

mod condition;
mod core;
mod hosts;
mod inventory;
mod notes;
mod owner;
mod shutdown;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fence_cluster::seam::{Request, Ticket};
use fence_proto::host::Answer;
use fence_proto::{Order, Reason, Reply};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::owner::Owner;
use crate::backend::{
    Answering, Backend, BackendError, CancelFlag, Examining, Identifying, Leaving, Starting,
};
use crate::clock::Clock;
use crate::config::CpgSettings;
use crate::corosync::{Calls, Corosync};
use crate::libvirt::LibvirtBackend;
use crate::libvirt::jobs::Jobs;
use crate::proof::Prover;
use crate::sync::lock;

/// Orders that may wait for the owner.
const MAX_COMMANDS: usize = 1024;

/// The answer is given so long before it is due, whatever the core does.
const MARGIN: Duration = Duration::from_millis(50);

/// How long the owner may take to say that it is there: it never waits for anything.
const PING_WITHIN: Duration = Duration::from_secs(5);

/// How long `ready` waits for the group to be joined: it takes a tenth of a second where corosync runs.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// The backend.
pub struct CpgBackend {
    libvirt: LibvirtBackend,
    commands: mpsc::Sender<Command>,
    calls: Calls,
    obstacle: watch::Receiver<Option<String>>,
    facts: Arc<Facts>,
    tickets: AtomicU64,
    /// Whether the whole host is shutting down, once that is asked for.
    host_ends: Mutex<Option<watch::Receiver<bool>>>,
    clock: Clock,
}

/// What others may know of the owner's state.
#[derive(Debug, Default)]
struct Facts {
    summary: Mutex<String>,
    /// Who is in the group, and whether there is quorum.
    condition: watch::Sender<String>,
}

/// What the owner is asked for.
enum Command {
    /// An order.
    Request {
        ticket: Ticket,
        request: Request,
        reply: oneshot::Sender<(Answer, Option<String>)>,
    },
    /// Say that you are there.
    Ping(oneshot::Sender<()>),
    /// Nobody waits for it any more.
    Abandoned(Ticket),
    /// Leave the group, and say when that is done.
    Leave {
        /// The whole host is shutting down: nothing is started on it any more.
        host_ends: bool,
        left: oneshot::Sender<()>,
    },
}

impl CpgBackend {
    /// Begins to connect to the hypervisors, to corosync and to watch domains. Needs a runtime.
    ///
    /// # Errors
    /// If the system has no thread or descriptor for it.
    pub fn start(settings: CpgSettings, libvirt: LibvirtBackend, clock: Clock) -> io::Result<Self> {
        let corosync = Corosync::start(&settings.group)?;
        let (obstacle, calls) = (corosync.obstacle(), corosync.calls());
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let facts = Arc::new(Facts::default());
        let prover = Prover::new(settings.fence_proof.as_ref());
        let owner = Owner::new(
            (settings, clock),
            (corosync, receiver),
            Jobs::new(libvirt.clone()),
            prover,
            Arc::clone(&facts),
        );
        tokio::spawn(owner.run());
        Ok(Self {
            libvirt,
            commands,
            calls,
            obstacle,
            facts,
            tickets: AtomicU64::new(1),
            host_ends: Mutex::default(),
            clock,
        })
    }

    /// Waits until the group is joined, for a few seconds.
    async fn joined(&self) -> Result<(), BackendError> {
        let mut obstacle = self.obstacle.clone();
        let joined = timeout(READY_WITHIN, obstacle.wait_for(Option::is_none)).await;
        if joined.is_ok_and(|joined| joined.is_ok()) {
            return Ok(());
        }
        let why = self.obstacle.borrow().clone();
        Err(BackendError::NoCluster(
            why.unwrap_or_else(|| "no answer".to_owned()),
        ))
    }

    fn ask(&self, order: &Order, cancelled: CancelFlag) -> Result<Answering, Answer> {
        if cancelled.is_cancelled() {
            return Err(Answer::NotStarted(Reason::RequesterGone));
        }
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let command = Command::Request {
            ticket,
            request: Request {
                action: order.action(),
                domain: order.domain().clone(),
                requester: order.requester().clone(),
                start_by: order.start_by(),
                answer_by: order.answer_by(),
            },
            reply,
        };
        if self.commands.try_send(command).is_err() {
            tracing::error!("refused: too many orders are waiting");
            return Err(Answer::Reply(Reply::Failure));
        }
        let due = Instant::from_std(self.clock.instant(order.answer_by()));
        let due = due.checked_sub(MARGIN).unwrap_or(due);
        let (commands, order) = (self.commands.clone(), cancelled.clone());
        // On a task of its own: that nobody waits any more must be told, whoever polls.
        let waiting = tokio::spawn(async move {
            let mut answer = answer;
            let told = async {
                tokio::select! {
                    answer = &mut answer => return answer.ok(),
                    () = cancelled.cancelled() => {}
                }
                let _ = commands.send(Command::Abandoned(ticket)).await;
                (&mut answer).await.ok()
            };
            let (answer, why) = tokio::select! {
                answer = told => answer?,
                () = sleep_until(due) => return None,
            };
            if let Some(why) = why {
                order.prove(&why);
            }
            Some(answer)
        });
        Ok(Box::pin(async move {
            let answer = waiting.await.ok().flatten();
            answer.unwrap_or(Answer::Reply(Reply::Failure))
        }))
    }
}

impl fmt::Debug for CpgBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CpgBackend").field(&self.libvirt).finish()
    }
}

impl Backend for CpgBackend {
    fn ready(&self) -> Starting<'_> {
        Box::pin(async {
            Backend::ready(&self.libvirt).await?;
            self.joined().await
        })
    }

    fn execute(&self, order: Order, cancelled: CancelFlag) -> Answering {
        self.ask(&order, cancelled)
            .unwrap_or_else(|answer| Box::pin(std::future::ready(answer)))
    }

    fn expect_guests(&self) {
        self.libvirt.expect_guests();
    }

    fn identify(&self, cid: u32) -> Identifying {
        self.libvirt.identify(cid)
    }

    fn summary(&self) -> String {
        format!("{} {}", lock(&self.facts.summary), self.libvirt.summary())
    }

    fn condition(&self) -> Option<watch::Receiver<String>> {
        Some(self.facts.condition.subscribe())
    }

    fn wedged(&self) -> Examining<'_> {
        Box::pin(async {
            if let Some(wedged) = self.calls.wedged().await {
                return Some(wedged);
            }
            let (sender, answer) = oneshot::channel();
            let asked = async {
                self.commands.send(Command::Ping(sender)).await.ok()?;
                answer.await.ok()
            };
            let silent = !matches!(timeout(PING_WITHIN, asked).await, Ok(Some(())));
            silent.then(|| "the task that holds the cluster's state does not answer".to_owned())
        })
    }

    fn shut_down(&self) {
        self.libvirt.shutdown();
        let (sender, ending) = watch::channel(false);
        *lock(&self.host_ends) = Some(ending);
        // It has an answer long before the group is left.
        tokio::spawn(async move { sender.send_replace(shutdown::is_under_way().await) });
    }

    fn leave(&self) -> Leaving<'_> {
        Box::pin(async {
            let ending = lock(&self.host_ends).clone();
            let host_ends = ending.is_some_and(|ending| *ending.borrow());
            let (sender, left) = oneshot::channel();
            let command = Command::Leave {
                host_ends,
                left: sender,
            };
            if self.commands.send(command).await.is_ok() {
                // If the owner is gone there is nothing to leave.
                let _ = left.await;
            }
        })
    }
}
