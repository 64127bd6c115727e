//! Putting one question to all hypervisors at once and stopping as soon as the answers suffice.

use std::sync::Arc;
use std::time::Duration;

use fence_proto::fencing::{Answer, Stage};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::host::{HUNG_AFTER, Host};
use super::pool::{Lane, NotTaken, Ticket};
use super::worker::Worker;

/// How long a healthy hypervisor is waited for when another one's answer would do.
const GRACE: Duration = Duration::from_secs(2);

/// How long a hypervisor that can't be reached or does not answer is waited for when nothing else
/// can give the answer: longer than libvirtd takes to restart.
const PATIENCE: Duration = HUNG_AFTER;

/// Pause before one that can't be reached is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// When the waiting changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    grace: Instant,
    patience: Instant,
    /// The end in any case.
    pub deadline: Instant,
}

impl Timing {
    /// For a question asked now.
    pub(super) fn until(deadline: Instant) -> Self {
        let now = Instant::now();
        Self {
            grace: (now + GRACE).min(deadline),
            patience: (now + PATIENCE).min(deadline),
            deadline,
        }
    }

    fn stage(&self, now: Instant) -> Stage {
        if now >= self.patience {
            Stage::Over
        } else if now >= self.grace {
            Stage::Patience
        } else {
            Stage::Grace
        }
    }

    fn next_change(&self, now: Instant) -> Instant {
        if now < self.grace {
            self.grace
        } else if now < self.patience {
            self.patience
        } else {
            self.deadline
        }
    }
}

/// The work at each hypervisor. It answers [`Answer::Got`] or [`Answer::Down`].
pub(super) type Work<T> = dyn Fn(&mut Worker, &Ticket, &dyn Fn(Answer<T>)) + Send + Sync;

/// A question under way.
pub(super) struct Survey<T> {
    hosts: Vec<Arc<Host>>,
    lane: Lane,
    work: Arc<Work<T>>,
    answers: Vec<Answer<T>>,
    tickets: Vec<Option<Arc<Ticket>>>,
    sender: mpsc::UnboundedSender<(usize, Answer<T>)>,
    receiver: mpsc::UnboundedReceiver<(usize, Answer<T>)>,
}

impl<T: Send + 'static> Survey<T> {
    /// Asks every hypervisor, but those that `leave_out` names: they count as silent.
    pub(super) fn begin(
        hosts: &[Arc<Host>],
        lane: Lane,
        leave_out: &[bool],
        work: Arc<Work<T>>,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut survey = Self {
            hosts: hosts.to_vec(),
            lane,
            work,
            answers: Vec::new(),
            tickets: Vec::new(),
            sender,
            receiver,
        };
        for index in 0..hosts.len() {
            survey.tickets.push(None);
            survey.answers.push(Answer::Hung);
            if !leave_out.get(index).copied().unwrap_or(false) {
                survey.put(index);
            }
        }
        survey
    }

    /// Puts the question to one hypervisor. One that is known to be down is tried, but not counted
    /// upon.
    fn put(&mut self, index: usize) {
        let (Some(host), Some(answer), Some(slot)) = (
            self.hosts.get(index),
            self.answers.get_mut(index),
            self.tickets.get_mut(index),
        ) else {
            return;
        };
        let ticket = Arc::new(Ticket::default());
        let (theirs, work, sender) = (
            Arc::clone(&ticket),
            Arc::clone(&self.work),
            self.sender.clone(),
        );
        let known_down = host.is_down();
        let taken = host.submit(
            self.lane,
            Box::new(move |worker| {
                if theirs.take() {
                    work(worker, &theirs, &|answer| {
                        let _ = sender.send((index, answer));
                    });
                }
            }),
        );
        *answer = match taken {
            Ok(()) if known_down => Answer::Down,
            Ok(()) => Answer::Pending,
            Err(NotTaken::Busy | NotTaken::Stuck) => Answer::Hung,
        };
        *slot = taken.is_ok().then_some(ticket);
    }

    /// Waits until `judge` has seen enough; `None` if it never has before the deadline.
    pub(super) async fn judged<V>(
        &mut self,
        timing: Timing,
        mut judge: impl FnMut(&[Answer<T>], Stage) -> Option<V>,
    ) -> Option<V> {
        let mut ask_again = Instant::now() + ASK_AGAIN;
        loop {
            while let Ok((index, answer)) = self.receiver.try_recv() {
                self.note(index, answer);
            }
            let now = Instant::now();
            let stage = timing.stage(now);
            self.look_at_tickets(stage);
            if let Some(verdict) = judge(&self.answers, stage) {
                return Some(verdict);
            }
            if now >= timing.deadline {
                return None;
            }
            if now >= ask_again {
                self.put_again();
                ask_again = now + ASK_AGAIN;
            }
            let mut wake = timing.next_change(now);
            if self
                .answers
                .iter()
                .any(|answer| matches!(answer, Answer::Down | Answer::Acting))
            {
                wake = wake.min(ask_again);
            }
            if let Ok(Some((index, answer))) = timeout_at(wake, self.receiver.recv()).await {
                self.note(index, answer);
            }
        }
    }

    /// The answers that came, for the taking.
    pub(super) fn take_answers(&mut self) -> impl Iterator<Item = T> {
        let answers = std::mem::take(&mut self.answers);
        answers.into_iter().filter_map(|answer| match answer {
            Answer::Got(value) => Some(value),
            Answer::Pending | Answer::Acting | Answer::Down | Answer::Hung => None,
        })
    }

    fn note(&mut self, index: usize, answer: Answer<T>) {
        if let (Some(known), Some(ticket)) =
            (self.answers.get_mut(index), self.tickets.get_mut(index))
        {
            *known = answer;
            *ticket = None;
        }
    }

    /// Those that could not be reached and are not being asked are asked again.
    fn put_again(&mut self) {
        for index in 0..self.hosts.len() {
            let down = matches!(self.answers.get(index), Some(Answer::Down));
            if down && matches!(self.tickets.get(index), Some(None)) {
                self.put(index);
            }
        }
    }

    /// A job that has begun, or that waits for a thread in our own queue, is no silence of its
    /// hypervisor, unless the threads are stuck there. A question that is out for too long is one.
    fn look_at_tickets(&mut self, stage: Stage) {
        let all = self.hosts.iter().zip(&mut self.answers).zip(&self.tickets);
        for ((host, answer), ticket) in all {
            let Some(ticket) = ticket else { continue };
            if ticket.is_queued() {
                host.pool(self.lane).relieve(host, self.lane);
            }
            if ticket.is_queued() && host.is_stuck(self.lane) {
                *answer = Answer::Hung;
            } else if ticket.is_acting() || (stage > Stage::Grace && ticket.is_queued()) {
                *answer = Answer::Acting;
            } else if stage == Stage::Over && matches!(answer, Answer::Pending) {
                host.hangs();
                *answer = Answer::Hung;
            }
        }
    }
}

impl<T> Drop for Survey<T> {
    fn drop(&mut self) {
        for ticket in self.tickets.iter().flatten() {
            ticket.close();
        }
    }
}
