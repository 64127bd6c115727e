//! What libvirt makes of the daemons' jobs.

use fence_cluster::seam::{Job, Outcome};

use crate::claims::Flaw;
use crate::rules::Rules;
use crate::truth::{self, Destroyed};
use crate::world::{Libvirt, Local, Running, World};

impl<R: Rules> World<R> {
    /// A job of a daemon takes effect in libvirt.
    pub(crate) fn take_effect(&mut self, host: usize, index: usize) {
        let Some(daemon) = &mut self.hosts[host].daemon else {
            return;
        };
        let running = daemon.jobs.remove(index);
        let outcome = if self.begun_too_late(&running) {
            Outcome::NotBegun
        } else {
            self.effect(host, &running.job)
        };
        self.note(|| format!("      {:?} -> {outcome:?}", running.job));
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.done.push_back((running.id, outcome));
        }
        // What only looks is known at once; what a deed came to may be long in coming.
        if !matches!(running.job, Job::Off { .. } | Job::Start { .. }) {
            self.take_done(host);
        }
    }

    fn begun_too_late(&self, running: &Running) -> bool {
        match running.job {
            Job::Off { begin_by, .. } | Job::Start { begin_by, .. } => {
                Self::moment(self.now) > begin_by
            }
            _ => false,
        }
    }

    /// What libvirt makes of a job.
    pub(crate) fn effect(&mut self, host: usize, job: &Job) -> Outcome {
        match job {
            Job::Look(uuid) => {
                let index = truth::index(*uuid);
                let seen = self.truth.get(index).and_then(|d| d.seen_at(host, index));
                Outcome::Found(seen.into_iter().collect())
            }
            Job::Find(text) => {
                let all = self.truth.iter().enumerate();
                let named = all.filter(|(index, _)| {
                    let identity = truth::identity(*index);
                    text.as_uuid().map_or_else(
                        || identity.name.eq_ignore_ascii_case(text.as_str()),
                        |uuid| uuid == identity.uuid,
                    )
                });
                Outcome::Found(named.filter_map(|(i, d)| d.seen_at(host, i)).collect())
            }
            Job::Off {
                domain,
                keep_definition,
                ..
            } => {
                let index = truth::index(*domain);
                if *keep_definition {
                    self.keep(host, index);
                }
                self.destroy(host, index)
            }
            Job::Start { domain, .. } => self.start(host, truth::index(*domain)),
            Job::Forget(_) | Job::Ping => Outcome::Alive,
        }
    }

    /// The daemon reads the definition of what it is about to destroy.
    fn keep(&mut self, host: usize, index: usize) {
        let active = self.truth[index].copies[host].is_some();
        if let Some(daemon) = &mut self.hosts[host].daemon
            && active
            && !daemon.kept.contains(&index)
        {
            daemon.kept.push(index);
        }
    }

    fn destroy(&mut self, host: usize, index: usize) -> Outcome {
        let (destroyed, changed) = self.truth[index].destroy(host);
        self.touch(index, &changed);
        match destroyed {
            Destroyed::Active { migrating } => Outcome::Off {
                migrating,
                vanished: false,
            },
            Destroyed::WasOff => Outcome::WasOff,
            Destroyed::WasAbsent => Outcome::WasAbsent,
        }
    }

    /// A start by our doing.
    fn start(&mut self, host: usize, index: usize) -> Outcome {
        let domain = &self.truth[index];
        if domain.copies[host].is_some() {
            return Outcome::Failed("it is active".to_owned());
        }
        let daemon = self.daemon(host);
        let kept = daemon.is_some_and(|daemon| daemon.kept.contains(&index));
        if !kept && !domain.defined[host] {
            return Outcome::Failed("it has no definition".to_owned());
        }
        if !domain.is_off() {
            self.flaw(Flaw::TwoCopies);
        }
        self.truth[index].start(host);
        self.touch(index, &[host]);
        Outcome::Started
    }

    /// A call to a hung libvirt is given up; what it asked for may still be done.
    pub(crate) fn time_out(&mut self, host: usize, index: usize) {
        let Some(daemon) = &mut self.hosts[host].daemon else {
            return;
        };
        let running = daemon.jobs.remove(index);
        daemon.done.push_back((running.id, Outcome::Silent));
        if !daemon.local.contains(&Local::Lost) {
            daemon.local.push_back(Local::Lost);
        }
        if matches!(running.job, Job::Off { .. } | Job::Start { .. }) {
            self.hosts[host].late.push(running.job);
        }
    }

    pub(crate) fn libvirt_answers(&self, host: usize) -> bool {
        self.hosts[host].libvirt == Libvirt::Fine
    }
}
