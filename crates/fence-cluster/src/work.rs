//! What came of the shell's jobs: first what they say of this host's domains, then who asked.

use fence_proto::Uuid;

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::jobs::{Order, Purpose, domain};
use crate::limits::KEPT;
use crate::parts::{finding_of, foremost};
use crate::reason::Reason;
use crate::seam::{Job, JobId, LocalDomain, Migration, Outcome};
use crate::turns::What;
use crate::wire::message::Key;

/// libvirt's number for a domain that runs, and for one that is shut off.
const RUNNING: u8 = 1;
const SHUT_OFF: u8 = 5;

impl Cluster {
    pub(crate) fn job_done(&mut self, cx: &mut Cx<'_>, id: JobId, outcome: &Outcome) {
        let Some((order, late)) = self.jobs.done(cx, id) else {
            self.counters.count(Reason::Over);
            return;
        };
        self.finish(cx, order, outcome);
        for order in late {
            self.counters.count(Reason::TooLate);
            self.finish(cx, order, &Outcome::NotBegun);
        }
    }

    fn finish(&mut self, cx: &mut Cx<'_>, order: Order, outcome: &Outcome) {
        if let Some(uuid) = domain(&order.job) {
            self.learn(cx, &order.job, uuid, outcome);
        }
        for purpose in order.purposes {
            match purpose {
                Purpose::Round(key, round) => self.looked(cx, (key, round), outcome),
                Purpose::Question(key, round, names) => {
                    if let Some(uuid) = domain(&order.job) {
                        let finding = finding_of(outcome, uuid, &names);
                        self.send_result(cx, key, round, finding);
                    }
                }
                Purpose::Case(number) => self.case_job_done(cx, number, &order.job, outcome),
                Purpose::Act(key, what) => {
                    self.keep(cx, (key, what), &order.job, outcome);
                    self.acted(cx, (key, what), outcome);
                }
                Purpose::Find(key) => self.searched(cx, key, outcome),
                Purpose::Settle | Purpose::Nothing => {}
            }
        }
    }

    /// What a job says of a domain here goes to the group before anything that is said with it.
    fn learn(&mut self, cx: &mut Cx<'_>, job: &Job, uuid: Uuid, outcome: &Outcome) {
        let settled = !self.jobs.is_starting(uuid) && !self.turns.starts(uuid);
        match (job, outcome) {
            (Job::Look(_), Outcome::Found(found)) => match foremost(found, uuid) {
                Some(domain) => self.observe(cx, domain, settled),
                None => self.observe_gone(cx, uuid, settled),
            },
            (
                Job::Off { .. },
                Outcome::Off {
                    migrating,
                    vanished,
                },
            ) => {
                let left = self
                    .local
                    .domains
                    .get(&uuid)
                    .is_some_and(|record| *vanished && record.migration == Migration::Outgoing);
                let migration = if *migrating || left {
                    Migration::Outgoing
                } else {
                    Migration::None
                };
                self.learn_state(cx, uuid, (false, migration));
            }
            (Job::Off { .. }, Outcome::WasOff) => {
                self.learn_state(cx, uuid, (false, Migration::None));
            }
            (Job::Off { .. }, Outcome::WasAbsent) => self.observe_gone(cx, uuid, settled),
            (Job::Start { .. }, Outcome::Started) => {
                self.learn_state(cx, uuid, (true, Migration::None));
            }
            // Whether it runs after all, libvirt says.
            (Job::Start { .. }, _) => self.settle(cx, uuid),
            _ => {}
        }
    }

    fn learn_state(&mut self, cx: &mut Cx<'_>, uuid: Uuid, (active, migration): (bool, Migration)) {
        let Some(record) = self.local.domains.get(&uuid) else {
            return;
        };
        let domain = LocalDomain {
            identity: record.identity(uuid),
            active,
            state: if active { RUNNING } else { SHUT_OFF },
            migration,
        };
        self.observe(cx, &domain, true);
    }

    /// Looks what became of a start.
    pub(crate) fn settle(&mut self, cx: &mut Cx<'_>, uuid: Uuid) {
        if self
            .jobs
            .submit(cx, Job::Look(uuid), Purpose::Settle)
            .is_err()
        {
            self.counters.count(Reason::Full);
        }
    }

    /// The definition that the shell keeps belongs to a request, until that is over.
    fn keep(&mut self, cx: &Cx<'_>, (key, what): (Key, What), job: &Job, outcome: &Outcome) {
        let Some(uuid) = domain(job) else {
            return;
        };
        match (what, job, outcome) {
            (
                What::Off(_),
                Job::Off {
                    keep_definition: true,
                    ..
                },
                Outcome::Off { .. },
            ) => {
                self.kept.insert(uuid, (key, cx.now + KEPT));
            }
            (What::Start(_), _, Outcome::Started) => {
                self.kept.remove(&uuid);
            }
            _ => {}
        }
    }

    /// The request is over: what was kept for it is not needed.
    pub(crate) fn forget_kept(&mut self, cx: &mut Cx<'_>, key: Key) {
        let kept = self.kept.iter().filter(|(_, (of, _))| *of == key);
        let kept: Vec<_> = kept.map(|(uuid, _)| *uuid).collect();
        for uuid in kept {
            self.kept.remove(&uuid);
            if self
                .jobs
                .submit(cx, Job::Forget(uuid), Purpose::Nothing)
                .is_err()
            {
                self.counters.count(Reason::Full);
            }
        }
    }

    /// A request whose end was never heard of does not need it for ever.
    pub(crate) fn forget_what_is_old(&mut self, cx: &mut Cx<'_>) {
        let old = self.kept.values().filter(|(_, until)| cx.now >= *until);
        let old: Vec<_> = old.map(|(key, _)| *key).collect();
        for key in old {
            if self.turns.find(key).is_none() {
                self.forget_kept(cx, key);
            }
        }
    }
}
