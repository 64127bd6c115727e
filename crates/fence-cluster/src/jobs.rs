//! The jobs that the shell was given: what each is for, and that no two for one domain are out at a
//! time.

use std::collections::{BTreeMap, VecDeque};

use fence_proto::{Moment, Uuid};

use crate::cx::Cx;
use crate::limits::{MAX_JOBS, MAX_PURPOSES};
use crate::seam::{Job, JobId, Output};
use crate::turns::What;
use crate::wire::message::Key;

/// Who wants to know what came of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// A look for a request that changes the domain, in this round.
    Round(Key, u16),
    /// A look for a question, in this round, with the names that the groups were asked about.
    Question(Key, u16, Vec<String>),
    /// A look, destroy or sign of life for a request of this member's own, without the others.
    Case(u64),
    /// What was announced in a request.
    Act(Key, What),
    /// A search for a request.
    Find(Key),
    /// A look at what became of a start.
    Settle,
    /// Nobody.
    Nothing,
}

/// A job that is out or waits for its domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Order {
    pub(crate) job: Job,
    pub(crate) purposes: Vec<Purpose>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Jobs {
    out: BTreeMap<JobId, Order>,
    waiting: BTreeMap<JobId, Order>,
    busy: BTreeMap<Uuid, JobId>,
    queues: BTreeMap<Uuid, VecDeque<JobId>>,
}

/// There is no room for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The one domain that a job is about.
pub(crate) const fn domain(job: &Job) -> Option<Uuid> {
    match job {
        Job::Look(uuid) | Job::Forget(uuid) => Some(*uuid),
        Job::Off { domain, .. } | Job::Start { domain, .. } => Some(*domain),
        Job::Find(_) | Job::Ping => None,
    }
}

/// Until when a job may be begun.
const fn begin_by(job: &Job) -> Option<Moment> {
    match job {
        Job::Off { begin_by, .. } | Job::Start { begin_by, .. } => Some(*begin_by),
        _ => None,
    }
}

impl Jobs {
    /// Whether a job for the domain is out.
    pub(crate) fn is_busy(&self, uuid: Uuid) -> bool {
        self.busy.contains_key(&uuid)
    }

    fn of(&self, uuid: Uuid) -> impl Iterator<Item = &Order> {
        let out = self.busy.get(&uuid).and_then(|id| self.out.get(id));
        let queue = self.queues.get(&uuid).into_iter().flatten();
        let waiting = queue.filter_map(|id| self.waiting.get(id));
        out.into_iter().chain(waiting)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        let all = self.out.values_mut().chain(self.waiting.values_mut());
        all.map(|order| &mut order.job)
    }

    /// Whether a start of the domain is out or waits.
    pub(crate) fn is_starting(&self, uuid: Uuid) -> bool {
        let start = |order: &Order| matches!(order.job, Job::Start { .. });
        self.of(uuid).any(start)
    }

    /// Whether anything that changes the domain is out or waits.
    pub(crate) fn is_acting(&self, uuid: Uuid) -> bool {
        let acts = |order: &Order| matches!(order.job, Job::Off { .. } | Job::Start { .. });
        self.of(uuid).any(acts)
    }

    /// Has a job done: at once, or when its domain is free. A look that has not been given yet
    /// serves whoever wants another one.
    pub(crate) fn submit(
        &mut self,
        cx: &mut Cx<'_>,
        job: Job,
        purpose: Purpose,
    ) -> Result<JobId, Full> {
        if let Job::Look(uuid) = job {
            let queue = self.queues.get(&uuid).into_iter().flatten();
            for id in queue {
                if let Some(order) = self.waiting.get_mut(id).filter(|order| order.job == job) {
                    if order.purposes.len() >= MAX_PURPOSES {
                        return Err(Full);
                    }
                    order.purposes.push(purpose);
                    return Ok(*id);
                }
            }
        }
        if self.out.len().saturating_add(self.waiting.len()) >= MAX_JOBS {
            return Err(Full);
        }
        let id = self.free_id();
        let order = Order {
            job,
            purposes: vec![purpose],
        };
        match domain(&order.job) {
            Some(uuid) if self.is_busy(uuid) => {
                self.queues.entry(uuid).or_default().push_back(id);
                self.waiting.insert(id, order);
            }
            _ => self.give(cx, id, order),
        }
        Ok(id)
    }

    /// The lowest number that is not in use: the numbers do not grow with time.
    fn free_id(&self) -> JobId {
        let taken = |id: &JobId| self.out.contains_key(id) || self.waiting.contains_key(id);
        (0..).map(JobId).find(|id| !taken(id)).unwrap_or(JobId(0))
    }

    fn give(&mut self, cx: &mut Cx<'_>, id: JobId, order: Order) {
        if let Some(uuid) = domain(&order.job) {
            self.busy.insert(uuid, id);
        }
        cx.out.push(Output::Do(id, order.job.clone()));
        self.out.insert(id, order);
    }

    /// A job is over: what it was for, and those that were dropped now because their time is over.
    pub(crate) fn done(&mut self, cx: &mut Cx<'_>, id: JobId) -> Option<(Order, Vec<Order>)> {
        let order = self.out.remove(&id)?;
        let mut late = Vec::new();
        if let Some(uuid) = domain(&order.job) {
            self.busy.remove(&uuid);
            self.next(cx, uuid, &mut late);
        }
        Some((order, late))
    }

    fn next(&mut self, cx: &mut Cx<'_>, uuid: Uuid, late: &mut Vec<Order>) {
        while let Some(queue) = self.queues.get_mut(&uuid) {
            let id = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&uuid);
            }
            let Some((id, order)) = id.and_then(|id| Some((id, self.waiting.remove(&id)?))) else {
                continue;
            };
            if begin_by(&order.job).is_some_and(|by| cx.now > by) {
                late.push(order);
                continue;
            }
            return self.give(cx, id, order);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::seam::{Now, WallTime};

    const UUID: Uuid = Uuid([1; 16]);

    fn now(seconds: u64) -> Now {
        Now {
            moment: Moment::from_epoch(Duration::from_secs(seconds)),
            wall: WallTime(0),
        }
    }

    fn off(by: u64) -> Job {
        Job::Off {
            domain: UUID,
            keep_definition: false,
            begin_by: now(by).moment,
            end_by: now(by).moment,
        }
    }

    #[test]
    fn jobs_for_one_domain_are_given_one_after_another() {
        let mut jobs = Jobs::default();
        let mut out = Vec::new();
        let mut cx = Cx::new(now(0), &mut out);
        let first = jobs.submit(&mut cx, Job::Look(UUID), Purpose::Case(1));
        let second = jobs.submit(&mut cx, off(5), Purpose::Case(2));
        let other = jobs.submit(&mut cx, Job::Look(Uuid([2; 16])), Purpose::Case(3));
        let [first, second, other] = [first, second, other].map(Result::unwrap);
        assert!(jobs.is_busy(UUID));
        let (order, late) = jobs.done(&mut cx, first).unwrap();
        assert_eq!((order.purposes, late), (vec![Purpose::Case(1)], vec![]));
        let given = [
            Output::Do(first, Job::Look(UUID)),
            Output::Do(other, Job::Look(Uuid([2; 16]))),
            Output::Do(second, off(5)),
        ];
        assert_eq!(out, given);
    }

    #[test]
    fn job_whose_time_is_over_is_not_given() {
        let mut jobs = Jobs::default();
        let mut out = Vec::new();
        let first = jobs
            .submit(&mut Cx::new(now(0), &mut out), off(5), Purpose::Case(1))
            .unwrap();
        let mut cx = Cx::new(now(0), &mut out);
        jobs.submit(&mut cx, off(6), Purpose::Case(2)).unwrap();
        jobs.submit(&mut cx, Job::Look(UUID), Purpose::Case(3))
            .unwrap();
        let (_, late) = jobs.done(&mut Cx::new(now(7), &mut out), first).unwrap();
        assert_eq!(late.len(), 1);
        assert_eq!(out.len(), 2);
        assert!(matches!(out[1], Output::Do(_, Job::Look(_))));
    }

    #[test]
    fn look_that_has_not_begun_serves_everybody_and_one_that_has_does_not() {
        let mut jobs = Jobs::default();
        let mut out = Vec::new();
        let mut cx = Cx::new(now(0), &mut out);
        let ids = [1, 2, 3].map(|case| {
            jobs.submit(&mut cx, Job::Look(UUID), Purpose::Case(case))
                .unwrap()
        });
        assert!(ids[0] != ids[1] && ids[1] == ids[2]);
        jobs.done(&mut cx, ids[0]).unwrap();
        let (order, _) = jobs.done(&mut cx, ids[1]).unwrap();
        assert_eq!(order.purposes, [Purpose::Case(2), Purpose::Case(3)]);
    }

    #[test]
    fn number_of_a_job_that_is_over_is_used_again_and_done_twice_is_nothing() {
        let mut jobs = Jobs::default();
        let mut out = Vec::new();
        let mut cx = Cx::new(now(0), &mut out);
        let id = jobs.submit(&mut cx, Job::Ping, Purpose::Case(1)).unwrap();
        assert!(jobs.done(&mut cx, id).is_some());
        assert_eq!(jobs.done(&mut cx, id), None);
        assert_eq!(jobs.submit(&mut cx, Job::Ping, Purpose::Case(1)), Ok(id));
    }

    #[test]
    fn only_so_many_requests_wait_for_the_same_look() {
        let mut jobs = Jobs::default();
        let mut out = Vec::new();
        let mut cx = Cx::new(now(0), &mut out);
        let mut look = |uuid| jobs.submit(&mut cx, Job::Look(uuid), Purpose::Nothing);
        look(UUID).unwrap();
        for _ in 0..MAX_PURPOSES {
            look(UUID).unwrap();
        }
        assert_eq!(look(UUID), Err(Full));
        look(Uuid([2; 16])).unwrap();
    }

    #[test]
    fn jobs_are_bounded() {
        let mut jobs = Jobs::default();
        let mut out = Vec::new();
        let mut cx = Cx::new(now(0), &mut out);
        jobs.submit(&mut cx, off(1), Purpose::Nothing).unwrap();
        for _ in 1..MAX_JOBS {
            // Not quick to search, so all but one are of one domain.
            let id = JobId(u64::try_from(jobs.waiting.len() + 1).unwrap());
            jobs.waiting.insert(
                id,
                Order {
                    job: off(1),
                    purposes: vec![],
                },
            );
        }
        assert_eq!(jobs.submit(&mut cx, off(1), Purpose::Nothing), Err(Full));
    }
}
