//! Threads for blocking calls: a few per hypervisor, started when needed, ended when idle.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::host::Host;
use super::worker::Worker;
use crate::sync::lock;

/// Stack of a worker: libvirt's calls use some 30 KiB, its XML parser more.
pub(super) const STACK: usize = 256 * 1024;

/// Jobs that may wait in one pool.
const MAX_QUEUE: usize = 1_024;

/// Threads beyond the usual number that may be stuck in calls before the pool fails fast.
const MAX_STUCK: usize = 16;

/// A thread that had nothing to do for so long ends; the pool's last one stays if it is to.
const IDLE: Duration = Duration::from_secs(30);

/// What a worker does.
pub(super) type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Too much is waiting.
    Busy,
    /// The threads are stuck in calls that do not return.
    Stuck,
}

/// How a pool behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Threads at most, beside stuck ones.
    pub threads: usize,
    /// Whether one thread stays for ever, and with it its connection.
    pub keeps_one: bool,
    /// A job that takes longer is taken for stuck; `None` where long calls are normal.
    pub stuck_after: Option<Duration>,
    /// A job that takes longer no longer counts against the number of threads, where calls that
    /// never return say nothing of the hypervisor as a whole.
    pub replaced_after: Option<Duration>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
    threads: usize,
    /// When each job that is running was started.
    running: Vec<Instant>,
    /// The same for jobs that hang on although the hypervisor answers others again.
    written_off: Vec<Instant>,
    /// What threads of the runtime worked with, for the next one.
    spare: Vec<Worker>,
}

/// The pool.
pub(super) struct Pool {
    shape: Shape,
    state: Mutex<State>,
    wake: Condvar,
}

impl Pool {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Queues a job. `host` is the one that this pool belongs to.
    pub(super) fn submit(&self, host: &Arc<Host>, lane: Lane, job: Job) -> Result<(), NotTaken> {
        let mut state = self.state();
        self.replace_long(&mut state);
        let full = self.shape.stuck_after.is_some() && state.written_off.len() >= MAX_STUCK;
        if full || self.has_stuck(&state) {
            return Err(NotTaken::Stuck);
        }
        if state.queue.len() >= MAX_QUEUE {
            return Err(NotTaken::Busy);
        }
        state.queue.push_back(job);
        let wanted = state.queue.len() > state.idle;
        let allowed = self.shape.threads.saturating_add(state.written_off.len());
        if !wanted {
            self.wake.notify_one();
        } else if state.threads < allowed {
            match spawn(host, lane) {
                Ok(()) => state.threads += 1,
                Err(error) => {
                    tracing::error!("no thread for calls to libvirt: {error}");
                    if state.threads == 0 {
                        state.queue.pop_back();
                        return Err(NotTaken::Busy);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether what waits in the queue waits for calls that do not return.
    pub(super) fn is_stuck(&self) -> bool {
        self.has_stuck(&self.state())
    }

    /// Runs a job on the calling thread of the runtime while another thread takes over the event
    /// loop: waking a thread of the pool and being woken by it takes longer than most questions.
    /// Without a free place, or on a runtime that has no other thread, the job is queued.
    pub(super) fn run_here(&self, host: &Arc<Host>, lane: Lane, job: Job) -> Result<(), NotTaken> {
        let several_threads = Handle::try_current()
            .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        let mut state = self.state();
        let allowed = self.shape.threads.saturating_add(state.written_off.len());
        let stuck = self.shape.stuck_after.is_some() && state.written_off.len() >= MAX_STUCK;
        let full = stuck || !state.queue.is_empty() || state.threads >= allowed;
        if !several_threads || full || self.has_stuck(&state) {
            drop(state);
            return self.submit(host, lane, job);
        }
        state.threads += 1;
        let started = Instant::now();
        state.running.push(started);
        let worker = state.spare.pop();
        drop(state);
        let mut worker = worker.unwrap_or_else(|| Worker::new(Arc::clone(host)));
        tokio::spawn(async move {
            block_in_place(|| job(&mut worker));
            let host = Arc::clone(&worker.host);
            host.pool(lane).finished(started);
            host.pool(lane).leave(worker, lane);
        });
        Ok(())
    }

    /// A thread of the runtime is done with its job. Who came meanwhile waits in the queue.
    fn leave(&self, worker: Worker, lane: Lane) {
        let host = Arc::clone(&worker.host);
        let mut state = self.state();
        state.threads -= 1;
        state.spare.push(worker);
        if state.queue.len() > state.idle && spawn(&host, lane).is_ok() {
            state.threads += 1;
        }
    }

    /// Another thread for what waits, where those at work hang.
    pub(super) fn relieve(&self, host: &Arc<Host>, lane: Lane) {
        let mut state = self.state();
        self.replace_long(&mut state);
        let allowed = self.shape.threads.saturating_add(state.written_off.len());
        let wanted = state.queue.len() > state.idle && state.threads < allowed;
        if wanted && spawn(host, lane).is_ok() {
            state.threads += 1;
        }
    }

    fn replace_long(&self, state: &mut State) {
        let Some(limit) = self.shape.replaced_after else {
            return;
        };
        while state.written_off.len() < MAX_STUCK {
            let Some(long) = state.running.iter().position(|at| at.elapsed() > limit) else {
                return;
            };
            let started = state.running.swap_remove(long);
            state.written_off.push(started);
        }
    }

    fn has_stuck(&self, state: &State) -> bool {
        if let Some(limit) = self.shape.replaced_after {
            // Those that came in place of the stuck ones are stuck as well.
            return state.written_off.len() >= MAX_STUCK
                && state.running.len() >= self.shape.threads
                && state.running.iter().all(|at| at.elapsed() > limit);
        }
        let oldest = state.running.iter().min();
        self.shape
            .stuck_after
            .zip(oldest)
            .is_some_and(|(limit, oldest)| oldest.elapsed() > limit)
    }

    /// The hypervisor answers again: calls that still hang, on connections of before, no longer
    /// count against it.
    pub(super) fn write_off_stuck(&self) {
        let Some(limit) = self.shape.stuck_after else {
            return;
        };
        let mut state = self.state();
        let running = std::mem::take(&mut state.running);
        let (stuck, running) = running.into_iter().partition(|at| at.elapsed() > limit);
        state.running = running;
        let stuck: Vec<_> = stuck;
        state.written_off.extend(stuck);
    }

    /// The next job; `None` when the thread is to end.
    fn next(&self) -> Option<(Job, Instant)> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                let started = Instant::now();
                state.running.push(started);
                return Some((job, started));
            }
            state.idle += 1;
            let waited = self.wake.wait_timeout(state, IDLE);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            let spare = state.threads > 1 || !self.shape.keeps_one;
            if timeout.timed_out() && state.queue.is_empty() && spare {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn finished(&self, started: Instant) {
        let state = &mut *self.state();
        for list in [&mut state.running, &mut state.written_off] {
            if let Some(index) = list.iter().position(|other| *other == started) {
                list.swap_remove(index);
                return;
            }
        }
    }
}

/// Which of a hypervisor's pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Questions, which are quick: one that takes seconds tells that the hypervisor hangs.
    Ask,
    /// What changes domains and may take long.
    Act,
}

fn spawn(host: &Arc<Host>, lane: Lane) -> std::io::Result<()> {
    let host = Arc::clone(host);
    let name = match lane {
        Lane::Ask => "virt-ask",
        Lane::Act => "virt-act",
    };
    let builder = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK);
    builder
        .spawn(move || {
            let mut worker = Worker::new(Arc::clone(&host));
            while let Some((job, started)) = host.pool(lane).next() {
                job(&mut worker);
                host.pool(lane).finished(started);
            }
        })
        .map(drop)
}

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const ACTING: u8 = 2;
const CLOSED: u8 = 3;

/// What a job and the one who waits for it know of each other. Whoever stops waiting closes it, and
/// a job that is closed never begins to change anything.
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

impl Ticket {
    fn step(&self, from: u8, to: u8) -> bool {
        let swapped = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        swapped.is_ok()
    }

    /// The worker takes it up; false if nobody waits any more.
    pub(super) fn take(&self) -> bool {
        self.step(QUEUED, RUNNING)
    }

    /// From here on the job changes a domain's state; false if nobody waits any more.
    pub(super) fn begin(&self) -> bool {
        self.step(RUNNING, ACTING)
    }

    /// Nobody waits any more. What has begun goes on.
    pub(super) fn close(&self) {
        let _ = self.step(QUEUED, CLOSED) || self.step(RUNNING, CLOSED);
    }

    pub(super) fn is_queued(&self) -> bool {
        self.0.load(Ordering::Acquire) == QUEUED
    }

    pub(super) fn is_acting(&self) -> bool {
        self.0.load(Ordering::Acquire) == ACTING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_hang_are_replaced_up_to_a_bound() {
        let pool = Pool::new(Shape {
            threads: 2,
            keeps_one: false,
            stuck_after: None,
            replaced_after: Some(Duration::ZERO),
        });
        let mut state = pool.state();
        let hang = |state: &mut State| {
            state.running.push(Instant::now());
            thread::sleep(Duration::from_millis(1));
            pool.replace_long(state);
        };
        for replaced in 1..=MAX_STUCK {
            hang(&mut state);
            assert_eq!(
                (state.running.len(), state.written_off.len()),
                (0, replaced)
            );
        }
        hang(&mut state);
        assert!(!pool.has_stuck(&state));
        hang(&mut state);
        assert_eq!(
            (state.running.len(), state.written_off.len()),
            (2, MAX_STUCK)
        );
        assert!(pool.has_stuck(&state));
    }

    #[test]
    fn closed_ticket_never_begins() {
        let ticket = Ticket::default();
        assert!(ticket.is_queued() && ticket.take());
        ticket.close();
        assert!(!ticket.begin());

        let waiting = Ticket::default();
        waiting.close();
        assert!(!waiting.take());
    }

    #[test]
    fn what_has_begun_can_not_be_closed() {
        let ticket = Ticket::default();
        assert!(ticket.take() && ticket.begin());
        ticket.close();
        assert!(ticket.is_acting());
    }
}
